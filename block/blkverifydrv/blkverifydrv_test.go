package blkverifydrv

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/blocktest"
	"hv/block/graph"
)

func wants(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

// bed is two nodes in memory that are compared.
type bed struct {
	test, raw *blocktest.Memory
	c         *graph.Child

	mu    sync.Mutex
	heard []string
}

func (b *bed) mismatch(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = append(b.heard, text)
}

// open makes the node; the raw one has as many bytes as the other, and more.
func (b *bed) open(t testing.TB, g *graph.Graph, more int64) *graph.Node {
	t.Helper()
	test, tm := blocktest.Node(t, g, "test", 100000, false, graph.Options{})
	raw, rm := blocktest.Node(t, g, "raw", 100000+more, false, graph.Options{})
	b.test, b.raw = tm, rm
	n, err := g.Open(graph.Spec{Driver: "blkverify", Filename: test.Filename,
		Children: []graph.Edge{{Name: "raw", Role: graph.Filtered, Node: raw}, {Name: "test", Role: graph.Part, Node: test}},
		Open:     func(c []*graph.Child) (graph.Driver, error) { return Open(c[1], c[0], b.mismatch), nil }})
	wants(t, errors.Join(err, test.Unref(), raw.Unref()), "")
	return n
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{}
	var err error
	n := b.open(t, &graph.Graph{}, 0)
	b.c, err = n.Use(func() string { return "the test" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	wants(t, err, "")
	t.Cleanup(func() { wants(t, errors.Join(b.c.Close(), n.Unref()), "") })
	return b
}

func TestConformance(t *testing.T) {
	b := &bed{}
	blocktest.Run(t, blocktest.Subject{Fixed: true, Allocates: true, Open: func(t testing.TB, g *graph.Graph) *graph.Node { return b.open(t, g, 0) }})
	if len(b.heard) != 0 || !bytes.Equal(b.test.Data(), b.raw.Data()) {
		t.Errorf("nodes that are the same differ: %q", b.heard)
	}
}

// TestContent has one byte differ, wherever it is.
func TestContent(t *testing.T) {
	b := newBed(t)
	for at, want := range map[int64]string{
		1000: "blkverify: read offset=1000 bytes=2000 contents mismatch at offset 1000",
		2999: "blkverify: read offset=1000 bytes=2000 contents mismatch at offset 2999",
		999:  "", 3000: "",
	} {
		for _, m := range []*blocktest.Memory{b.test, b.raw} {
			b.heard = nil
			wants(t, m.Writev(at, [][]byte{{1}}, 0), "")
			err := b.c.Readv(1000, [][]byte{make([]byte, 700), nil, make([]byte, 1300)})
			if (err == nil) != (want == "") || strings.Join(b.heard, ",") != want {
				t.Errorf("byte %d differs: %v, heard %q", at, err, b.heard)
			}
			wants(t, m.Writev(at, [][]byte{{0}}, 0), "")
		}
	}
}

// TestResults has one of the nodes fail, or both, in the same way or not.
func TestResults(t *testing.T) {
	b := newBed(t)
	v := [][]byte{make([]byte, 512)}
	for _, x := range []struct {
		test, raw error
		err       error
		heard     string
	}{
		{nil, nil, nil, ""},
		{unix.EIO, unix.EIO, unix.EIO, ""},
		{unix.ENOSPC, unix.ENOSPC, unix.ENOSPC, ""},
		{unix.EIO, nil, unix.EIO, "return value mismatch -5 != 0"},
		{nil, unix.ENOSPC, unix.EIO, "return value mismatch 0 != -28"},
		{unix.EIO, unix.ENOSPC, unix.EIO, "return value mismatch -5 != -28"},
	} {
		b.test.Hook = func(blocktest.Request) error { return x.test }
		b.raw.Hook = func(blocktest.Request) error { return x.raw }
		for what, do := range map[string]func() error{
			"read offset=512 bytes=512 ": func() error { return b.c.Readv(512, v) }, "write offset=512 bytes=512 ": func() error { return b.c.Writev(512, v, 0) },
		} {
			b.heard = nil
			want := ""
			if x.heard != "" {
				want = "blkverify: " + what + x.heard
			}
			if err := do(); !errors.Is(err, x.err) || strings.Join(b.heard, ",") != want {
				t.Errorf("%v and %v: %v, heard %q, want %q", x.test, x.raw, err, b.heard, want)
			}
		}
	}
	b.test.Hook, b.raw.Hook = nil, nil
}

// TestWrites reach both, as they are, and the buffers are not kept.
func TestWrites(t *testing.T) {
	b := newBed(t)
	data := []byte("some text in pieces")
	wants(t, b.c.Writev(77, [][]byte{data[:4], nil, data[4:5], data[5:]}, 0), "")
	clear(data)
	for _, m := range []*blocktest.Memory{b.test, b.raw} {
		if got := string(m.Data()[77:96]); got != "some text in pieces" {
			t.Errorf("%q", got)
		}
	}
	wants(t, b.c.WriteZeroes(80, 5, 0), "")
	if !bytes.Equal(b.test.Data(), b.raw.Data()) || b.test.Data()[82] != 0 {
		t.Error("zeroes come to one of them")
	}
	// Only what is tested is flushed.
	b.test.Taken()
	b.raw.Taken()
	wants(t, b.c.Flush(), "")
	if r, o := b.test.Taken(), b.raw.Taken(); len(r) != 1 || r[0].Op != "flush" || len(o) != 0 {
		t.Errorf("%v and %v", r, o)
	}
}

// TestConcurrent has many requests of different sizes not get in each other's way.
func TestConcurrent(t *testing.T) {
	b := newBed(t)
	var all sync.WaitGroup
	for w := range int64(8) {
		all.Go(func() {
			for i := range int64(100) {
				want := bytes.Repeat([]byte{byte(w + i)}, int(1+(i*37)%5000))
				got := make([]byte, len(want))
				if err := errors.Join(b.c.Writev(w*6000, [][]byte{want}, 0), b.c.Readv(w*6000, [][]byte{got})); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes of %d: %v", len(want), w, err)
				}
			}
		})
	}
	all.Wait()
	if len(b.heard) != 0 {
		t.Errorf("%q", b.heard)
	}
}
