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

	"hv/block/blockopts"
	"hv/block/formats"
	"hv/block/graph"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// openMemory is what opening an image takes at most, in bytes.
const openMemory = 2 << 20

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

// large makes an image of 1 TiB.
func large(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "large")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "1T")
	return path
}

// TestOpenLarge opens an image of 1 TiB in the memory that is promised.
func TestOpenLarge(t *testing.T) {
	path := large(t)
	memory := uint64(1 << 40)
	for range 5 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c, done := opened(t, path, "")
		runtime.ReadMemStats(&after)
		if size := c.Size(); size != 1<<40 {
			t.Fatal(size)
		}
		done()
		memory = min(memory, after.TotalAlloc-before.TotalAlloc)
	}
	if memory > openMemory {
		t.Errorf("opening 1 TiB takes %d bytes", memory)
	}
}

// BenchmarkOpenLarge opens and closes an image of 1 TiB: 10 ms are promised.
func BenchmarkOpenLarge(b *testing.B) {
	path := large(b)
	for b.Loop() {
		_, done := opened(b, path, "")
		done()
	}
}

// BenchmarkChain reads through no and through ten overlays, with all caches warm: at most
// 1.2 times as long is promised.
func BenchmarkChain(b *testing.B) {
	const size = 8
	for _, n := range []int{0, 10} {
		b.Run(fmt.Sprintf("overlays=%d", n), func(b *testing.B) {
			c, done := opened(b, filled(b, size, n), "")
			defer done()
			v := [][]byte{make([]byte, 4096)}
			b.ReportAllocs()
			for off := int64(0); b.Loop(); off = (off + 4096) % (size << 20) {
				if err := c.Readv(off, v); err != nil {
					b.Fatal(err)
				}
			}
		})
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
