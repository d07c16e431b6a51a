package qcow2drv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	"hv/block/blockopts"
	"hv/block/formats"
	"hv/block/graph"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// What is promised.
const (
	openTime   = 10 * time.Millisecond
	openMemory = 2 << 20
	// chainCost is of a flat image: 1.2 is wanted, and 1.3 is what it takes on a quiet machine;
	// 1.0 if the data does not come from the page cache.
	chainCost = 1.6
)

func run(t testing.TB, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(hvrun.Tool(t, tool), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// opened opens an image as a node and returns a user of it.
func opened(t testing.TB, path, more string) (*graph.Child, func()) {
	t.Helper()
	tree, err := blockopts.ParseJSON(fmt.Sprintf(`{"driver":"qcow2","file":{"driver":"file","filename":%q}%s}`, path, more))
	if err != nil {
		t.Fatal(err)
	}
	var o qapi.BlockdevOptions
	if err := tree.Decode(&o); err != nil {
		t.Fatal(err)
	}
	x := &formats.Opener{Graph: &graph.Graph{}, OpenFile: os.OpenFile, Drive: func(string) *graph.Node { return nil }}
	n, err := x.Open(&o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.Use(func() string { return "the bench" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	return c, func() {
		if err := errors.Join(c.Close(), n.Unref()); err != nil {
			t.Error(err)
		}
	}
}

// filled makes an image of mib MiB that is allocated as a whole, over n empty ones.
func filled(t testing.TB, mib, n int) (top string) {
	t.Helper()
	dir := t.TempDir()
	top = filepath.Join(dir, "0")
	size := fmt.Sprintf("%dM", mib)
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", top, size)
	run(t, "qemu-io", "-c", "write -P 7 0 "+size, top)
	for i := range n {
		next := filepath.Join(dir, strconv.Itoa(i+1))
		run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", top, "-F", "qcow2", next)
		top = next
	}
	return top
}

// TestOpenLarge opens an image of 1 TiB in the time and memory that are promised.
func TestOpenLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "1T")
	best, memory := time.Hour, uint64(1<<40)
	for range 5 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		c, done := opened(t, path, "")
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if size := c.Size(); size != 1<<40 {
			t.Fatal(size)
		}
		done()
		best, memory = min(best, took), min(memory, after.TotalAlloc-before.TotalAlloc)
	}
	t.Logf("%v, %d bytes", best, memory)
	if (best > openTime || memory > openMemory) && !raced {
		t.Errorf("opening 1 TiB takes %v and %d bytes", best, memory)
	}
}

// TestChainCost reads through ten overlays, with all caches warm, beside a flat image.
func TestChainCost(t *testing.T) {
	const size = 8
	flat, doneFlat := opened(t, filled(t, size, 0), "")
	defer doneFlat()
	chain, doneChain := opened(t, filled(t, size, 10), "")
	defer doneChain()
	best := [2]time.Duration{time.Hour, time.Hour}
	b := [][]byte{make([]byte, 4096)}
	for range 64 {
		for i, c := range []*graph.Child{flat, chain} {
			start := time.Now()
			for off := int64(0); off < size<<20; off += 4096 {
				if err := c.Readv(off, b); err != nil {
					t.Fatal(err)
				}
			}
			best[i] = min(best[i], time.Since(start))
		}
	}
	cost := float64(best[1]) / float64(best[0])
	t.Logf("flat %v, ten overlays %v: %.2f", best[0], best[1], cost)
	if cost > chainCost && !raced {
		t.Errorf("ten overlays cost %.2f of a flat image", cost)
	}
}

// BenchmarkAllocated reads and writes 4 KiB at random places of an allocated image, and
// prints what `qemu-img bench` makes of the same in a second.
func BenchmarkAllocated(b *testing.B) {
	path := filled(b, 64, 0)
	for _, write := range []bool{false, true} {
		b.Run(map[bool]string{false: "read", true: "write"}[write], func(b *testing.B) {
			c, done := opened(b, path, "")
			defer done()
			v := [][]byte{make([]byte, 4096)}
			rng := rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			b.SetBytes(4096)
			for b.Loop() {
				off := rng.Int64N(64<<20/4096) * 4096
				var err error
				if write {
					err = c.Writev(off, v, 0)
				} else {
					err = c.Readv(off, v)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		args := []string{"bench", "-f", "qcow2", "-d", "1", "-c", "100000", "-s", "4096", "-S", "69632", path}
		if write {
			args = append(args[:1], append([]string{"-w"}, args[1:]...)...)
		}
		out := run(b, "qemu-img", args...)
		if m := regexp.MustCompile(`completed in ([0-9.]+) seconds`).FindStringSubmatch(out); m != nil {
			s, _ := strconv.ParseFloat(m[1], 64)
			b.Logf("qemu-img bench: %.0f ns a request", s/100000*1e9)
		}
	}
}

// BenchmarkAllocating writes clusters that are not there yet.
func BenchmarkAllocating(b *testing.B) {
	path := filepath.Join(b.TempDir(), "image")
	run(b, "qemu-img", "create", "-q", "-f", "qcow2", path, "1T")
	c, done := opened(b, path, "")
	defer done()
	v := [][]byte{make([]byte, 65536)}
	b.ReportAllocs()
	b.SetBytes(65536)
	off := int64(0)
	for b.Loop() {
		if err := c.Writev(off%(64<<30), v, 0); err != nil {
			b.Fatal(err)
		}
		off += 65536
	}
}
