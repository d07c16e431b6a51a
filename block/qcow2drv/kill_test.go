package qcow2drv_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"hv/block/graph"
	"hv/block/qcow2"
	"hv/block/qcow2drv"
	"hv/test/hvrun"
)

// The disk that is written to when the process is killed: each writer has stripes of its own.
const (
	writers    = 4
	stripes    = 64
	stripeSize = 16 << 10
	diskSize   = stripes * stripeSize
	flushEvery = 8 // requests of a writer
)

// childEnv has the test's program be the one that is killed: an image and a seed.
const childEnv = "HV_KILLED_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		killed(path)
		return
	}
	os.Exit(m.Run())
}

// step is one request of a writer.
type step struct {
	kind   string
	stripe int64
	value  uint64 // of each 8 bytes
}

// steps makes the requests of a writer, the same ones for a seed.
type steps struct {
	rng    *rand.Rand
	writer uint64
	n      uint64
}

func newSteps(seed, writer uint64) *steps {
	return &steps{rng: rand.New(rand.NewPCG(seed, writer)), writer: writer}
}

func (s *steps) next() step {
	s.n++
	x := step{stripe: s.rng.Int64N(stripes/writers)*writers + int64(s.writer), value: s.writer<<32 | s.n}
	switch k := s.rng.IntN(10); {
	case s.n%flushEvery == 0:
		x.kind = "flush"
	case k < 6:
		x.kind = "write"
	case k < 8:
		x.kind, x.value = "zero", 0
	default:
		x.kind, x.value = "discard", 0
	}
	return x
}

// killed writes to the image until it is killed, and prints which requests of which writers
// are durable.
func killed(path string) {
	var t fatal
	c, _ := opened(t, path, `,"discard":"unmap","l2-cache-size":4096`)
	var seed uint64
	_, _ = fmt.Sscan(os.Getenv(childEnv+"_SEED"), &seed)
	var all sync.WaitGroup
	for w := range uint64(writers) {
		all.Go(func() { writeSteps(c, newSteps(seed, w)) })
	}
	d, _ := graph.As[*qcow2drv.Driver](c.Node())
	change(d.Image(), rand.New(rand.NewPCG(seed, writers)))
	all.Wait()
}

func writeSteps(c *graph.Child, s *steps) {
	for {
		x := s.next()
		at := x.stripe * stripeSize
		var err error
		switch x.kind {
		case "write":
			b := make([]byte, stripeSize)
			for i := 0; i < len(b); i += 8 {
				binary.BigEndian.PutUint64(b[i:], x.value)
			}
			err = c.Writev(at, [][]byte{b[:5000], b[5000:]}, 0)
		case "zero":
			err = c.WriteZeroes(at, stripeSize, graph.MayUnmap)
		case "discard":
			err = c.Discard(at, stripeSize)
		default:
			if err = c.Flush(); err == nil {
				fmt.Printf("%d %d\n", s.writer, s.n)
			}
		}
		if err != nil {
			panic(err)
		}
	}
}

// change takes and deletes snapshots and resizes, for ever.
func change(im *qcow2.Image, rng *rand.Rand) {
	for i := 0; ; i++ {
		var err error
		switch l := im.Snapshots(); {
		case rng.IntN(3) == 0:
			err = im.Truncate(diskSize+rng.Int64N(64)<<16, qcow2.PreallocOff)
		case im.Header().Version < 3:
			// Nothing says that such an image is dirty while a snapshot is taken.
		case len(l) < 3:
			_, err = im.CreateSnapshot(qcow2.Snapshot{Name: fmt.Sprint(i)})
		default:
			err = im.DeleteSnapshot(l[rng.IntN(len(l))].ID)
		}
		if err != nil {
			panic(err)
		}
	}
}

// fatal is a test outside of tests.
type fatal struct{ testing.TB }

func (fatal) Helper()           {}
func (fatal) Error(args ...any) { panic(fmt.Sprint(args...)) }
func (fatal) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// TestKill kills a process that writes to an image, at random instants: the image is not
// damaged, and what was flushed is there.
func TestKill(t *testing.T) {
	for seed := range uint64(hvrun.Count(12, 2000)) {
		options := []string{"", "lazy_refcounts=on", "cluster_size=4k", "extended_l2=on", "cluster_size=512,refcount_bits=64", "compat=0.10"}[seed%6]
		path := filepath.Join(t.TempDir(), "image")
		args := []string{"create", "-q", "-f", "qcow2", path, fmt.Sprint(diskSize)}
		if options != "" {
			args = append(args, "-o", options)
		}
		run(t, "qemu-img", args...)
		done := killOnce(t, path, seed)
		// An image that says that it is dirty is repaired by whoever opens it for writing.
		run(t, "qemu-io", "-c", "read 0 512", path)
		out, err := exec.Command("qemu-img", "check", path).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) { // 3 is leaks alone
			t.Fatalf("seed %d, %s: %v\n%s", seed, options, err, out)
		}
		compareKilled(t, path, seed, done)
		if t.Failed() {
			t.Fatalf("seed %d, %s", seed, options)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// killOnce runs the writer, and kills it; it returns the last durable request of each.
func killOnce(t *testing.T, path string, seed uint64) (done [writers]uint64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+path, fmt.Sprintf("%s_SEED=%d", childEnv, seed))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Duration(10+seed*7919%90)*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var w, n uint64
		if _, err := fmt.Sscan(lines.Text(), &w, &n); err != nil || w >= writers {
			t.Errorf("%q: %v", lines.Text(), err)
			break
		}
		done[w] = max(done[w], n)
	}
	_ = cmd.Wait() // it was killed
	if state := cmd.ProcessState; state.Exited() {
		t.Errorf("it ended on its own: %v", state)
	}
	return done
}

// compareKilled sets what is in the image against what may be.
func compareKilled(t *testing.T, path string, seed uint64, done [writers]uint64) {
	t.Helper()
	c, finish := opened(t, path, "")
	defer finish()
	var may [stripes][]uint64
	for i := range may {
		may[i] = []uint64{0}
	}
	for w := range uint64(writers) {
		s := newSteps(seed, w)
		for s.n < done[w]+flushEvery {
			x := s.next()
			old := may[x.stripe]
			switch {
			case x.kind == "flush":
			case s.n > done[w] || x.kind == "discard":
				may[x.stripe] = append(slices.Clone(old), x.value)
			default:
				may[x.stripe] = []uint64{x.value}
			}
		}
	}
	b := make([]byte, stripeSize)
	for i := range may {
		if err := c.Readv(int64(i)*stripeSize, [][]byte{b}); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(b); at += 8 {
			if v := binary.BigEndian.Uint64(b[at:]); !slices.Contains(may[i], v) {
				t.Errorf("stripe %d holds %#x at %d, not one of %#x", i, v, at, may[i])
				break
			}
		}
	}
}
