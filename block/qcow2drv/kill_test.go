package qcow2drv_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hv/block/graph"
	"hv/test/hvrun"
)

// TestKill kills a process that writes to an image, at random instants: the image is not
// damaged, and what was flushed is there, in the disk and in the snapshots.
func TestKill(t *testing.T) {
	all := uint64(hvrun.Count(2*len(killKinds), 2000))
	const lanes = 4
	for lane := range uint64(lanes) {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			for seed := lane; seed < all; seed += lanes {
				kill(t, seed)
			}
		})
	}
}

// kill makes an image, has somebody be killed who writes to it, and looks at what is left.
func kill(t *testing.T, seed uint64) {
	t.Helper()
	kind := int(seed) % len(killKinds)
	k := killKinds[kind]
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "image")
	k.create(t, path)
	told := killOnce(t, path, seed, kind)
	if seed/uint64(len(killKinds))%2 == 0 {
		// An image that says that it is dirty is repaired by whoever opens it for writing.
		run(t, "qemu-io", "-c", "read 0 512", path)
	} else {
		_, finish := k.open(t, path, "")
		finish()
	}
	k.check(t, path)
	k.compare(t, path, seed, told)
	if t.Failed() {
		t.Fatalf("seed %d, %+v", seed, k)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// create makes the image that is to be written to.
func (k killKind) create(t *testing.T, path string) {
	t.Helper()
	args := []string{"create", "-q", "-f", "qcow2", path, fmt.Sprint(diskSize)}
	if k.options != "" {
		args = append(args, "-o", strings.ReplaceAll(k.options, "DATA", path+".data"))
	}
	if k.backed {
		b := slices.Repeat([]byte{0xff}, diskSize)
		if err := os.WriteFile(path+".base", b, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-b", path+".base", "-F", "raw")
	}
	run(t, "qemu-img", args...)
	if !k.old {
		run(t, "qemu-img", "bitmap", "--add", "-g", fmt.Sprint(stripeSize), path, "a")
	}
}

// check has qemu-img find no damage. Version 2 cannot say that a snapshot was under way: its
// copied flags may tell then that something is written elsewhere that need not be.
func (k killKind) check(t *testing.T, path string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "check", path).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.As(err, &exit) && exit.ExitCode() == 3: // leaks alone
	case k.old && !strings.Contains(strings.ReplaceAll(string(out), "ERROR OFLAG_COPIED", ""), "ERROR"):
		run(t, "qemu-img", "check", "-q", "-r", "all", path)
	default:
		t.Errorf("%v\n%s", err, out)
	}
}

// told is what the writer said.
type told struct {
	done  [writers]uint64 // the last durable request of each
	snaps map[string][writers][2]uint64
	drop  string // may be gone, or not
}

// killOnce runs the writer, and kills it.
func killOnce(t *testing.T, path string, seed uint64, kind int) *told {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+path, fmt.Sprintf("%s_SEED=%d %d", childEnv, seed, kind))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Duration(10+seed*7919%190)*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	r := &told{snaps: map[string][writers][2]uint64{}}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if err := r.hear(lines.Text()); err != nil {
			t.Errorf("%q: %v", lines.Text(), err)
			break
		}
	}
	_ = cmd.Wait() // it was killed
	if state := cmd.ProcessState; state.Exited() {
		t.Errorf("it ended on its own: %v", state)
	}
	return r
}

func (r *told) hear(line string) error {
	in := strings.NewReader(line)
	var what, name string
	var w, n uint64
	if _, err := fmt.Fscan(in, &what); err != nil {
		return err
	}
	switch what {
	case "flush":
		if _, err := fmt.Fscan(in, &w, &n); err != nil || w >= writers {
			return fmt.Errorf("writer %d: %w", w, err)
		}
		r.done[w] = max(r.done[w], n)
	case "drop":
		delete(r.snaps, r.drop) // that before has ended
		_, err := fmt.Fscan(in, &r.drop)
		return err
	case "snapshot":
		var x [writers][2]uint64
		if _, err := fmt.Fscan(in, &name); err != nil {
			return err
		}
		for i := range x {
			if _, err := fmt.Fscan(in, &x[i][0], &x[i][1]); err != nil {
				return err
			}
		}
		delete(r.snaps, r.drop)
		r.snaps[name], r.drop = x, ""
	}
	return nil
}

// checkBitmap has the bitmap be one that was in use, or have everything that was written.
func (k killKind) checkBitmap(t *testing.T, n *graph.Node, seed uint64, r *told) {
	t.Helper()
	b := n.Bitmap("a")
	switch {
	case k.old || b != nil && b.Inconsistent():
		return
	case b == nil:
		t.Error("the bitmap is gone")
		return
	}
	for w := range uint64(writers) {
		for s := newSteps(k, seed, w); s.n < r.done[w]; {
			x := s.next()
			at := x.stripe * stripeSize
			if start, n, ok := b.Next(at, at+stripeSize); x.kind != "flush" && (!ok || start != at || n < stripeSize) {
				t.Errorf("the bitmap lacks stripe %d", x.stripe)
				return
			}
		}
	}
}

// may is what each stripe may hold.
type may [stripes][]uint64

// after lists what may be there when each writer did requests up to [0] and no more than [1].
func (k killKind) after(seed uint64, did [writers][2]uint64) (m may) {
	for i := range m {
		m[i] = []uint64{0}
		if k.backed {
			m[i] = []uint64{below}
		}
	}
	for w := range uint64(writers) {
		for s := newSteps(k, seed, w); s.n < did[w][1]; {
			x := s.next()
			switch {
			case x.kind == "flush":
			case s.n > did[w][0] || x.kind == "discard":
				m[x.stripe] = append(slices.Clone(m[x.stripe]), x.value)
			default:
				m[x.stripe] = []uint64{x.value}
			}
		}
	}
	return m
}

func (m *may) compare(t *testing.T, what string, r io.Reader) {
	t.Helper()
	b := make([]byte, stripeSize)
	for i := range m {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Error(what, err)
			return
		}
		for at := 0; at < len(b); at += 8 {
			if v := binary.BigEndian.Uint64(b[at:]); !slices.Contains(m[i], v) {
				t.Errorf("%s: stripe %d holds %#x at %d, not one of %#x", what, i, v, at, m[i])
				break
			}
		}
	}
}

// compare sets what is in the image against what may be.
func (k killKind) compare(t *testing.T, path string, seed uint64, r *told) {
	t.Helper()
	var did [writers][2]uint64
	for w, n := range r.done {
		did[w] = [2]uint64{n, n + flushEvery}
	}
	m := k.after(seed, did)
	c, finish := k.open(t, path, "")
	k.checkBitmap(t, c.Node(), seed, r)
	s, _ := graph.As[graph.Snapshotter](c.Node())
	snaps := s.Snapshots()
	m.compare(t, "we", io.NewSectionReader(reader{c}, 0, diskSize))
	finish()
	k.convert(t, path, "QEMU", &m)
	for name, did := range r.snaps {
		there := slices.ContainsFunc(snaps, func(s graph.Snapshot) bool { return s.Name == name })
		if !there && name != r.drop {
			t.Errorf("snapshot %s is gone", name)
		}
		if there {
			m := k.after(seed, did)
			k.convert(t, path, "snapshot "+name, &m, "-l", "snapshot.name="+name)
		}
	}
}

// convert has QEMU read the disk, or a snapshot.
func (k killKind) convert(t *testing.T, path, what string, m *may, more ...string) {
	t.Helper()
	raw := path + ".raw"
	run(t, "qemu-img", append(append([]string{"convert"}, more...), "-O", "raw", path, raw)...)
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m.compare(t, what, f)
}

// reader reads a node.
type reader struct{ c *graph.Child }

func (r reader) ReadAt(b []byte, off int64) (int, error) {
	return len(b), r.c.Readv(off, [][]byte{b})
}
