package filedrv

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"hv/block/graph"
)

// TestSparse tells holes from data, as far as the file system does, and as qemu-img does.
func TestSparse(t *testing.T) {
	for _, threads := range []bool{false, true} {
		path := file(t, nil)
		if err := os.Truncate(path, 1<<20); err != nil {
			t.Fatal(err)
		}
		d := open(t, Config{Path: path, Threads: threads, Options: graph.Options{Discard: true}})
		data := [][]byte{bytes.Repeat([]byte{1}, 64<<10)}
		wants(t, errors.Join(d.Writev(128<<10, data, 0), d.Writev(512<<10, data, 0)), "")
		wants(t, d.Flush(), "")
		if got, want := runs(t, d), "zero 131072, data 65536, zero 327680, data 65536, zero 458752"; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		if n := d.Allocated(); n != 128<<10 {
			t.Errorf("%d bytes are allocated", n)
		}
		wants(t, d.Discard(512<<10, 64<<10), "")
		wants(t, d.WriteZeroes(128<<10, 32<<10, graph.MayUnmap), "")
		if got, want := runs(t, d), "zero 163840, data 32768, zero 851968"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if n := d.Allocated(); n != 32<<10 {
			t.Errorf("%d bytes are allocated", n)
		}
		out, err := qemu(t, "qemu-img", "map", "-U", "-f", "raw", "--output=json", path)
		if err != nil || !strings.Contains(out, `"start": 163840, "length": 32768`) {
			t.Errorf("%v, qemu-img sees %s", err, out)
		}
		wants(t, d.WriteZeroes(160<<10, 32<<10, 0), "") // which keeps its place
		if n := d.Allocated(); n != 32<<10 {
			t.Errorf("zeroes that may not be unmapped leave %d bytes allocated", n)
		}
		got := make([]byte, 1<<20)
		if err := d.Readv(0, [][]byte{got}); err != nil || !bytes.Equal(got, make([]byte, len(got))) {
			t.Errorf("%v: there is something left", err)
		}
	}
}

// runs describes what BlockStatus says of a file.
func runs(t *testing.T, d *Driver) string {
	t.Helper()
	var l []string
	last, sum := "", int64(0)
	for off := int64(0); off < d.Size(); {
		e, err := d.BlockStatus(off, d.Size()-off)
		if err != nil || e.N < 1 || e.Offset != off || e.Status&(graph.Allocated|graph.OffsetValid) != graph.Allocated|graph.OffsetValid {
			t.Fatalf("at %d: %+v, %v", off, e, err)
		}
		kind := "data"
		if e.Status&graph.Zero != 0 {
			kind = "zero"
		}
		if kind != last && last != "" {
			l, sum = append(l, last+" "+strconv.FormatInt(sum, 10)), 0
		}
		last, sum, off = kind, sum+e.N, off+e.N
	}
	return strings.Join(append(l, last+" "+strconv.FormatInt(sum, 10)), ", ")
}

// TestTruncate has a file grow and shrink, and its new end be zeroes.
func TestTruncate(t *testing.T) {
	path := file(t, bytes.Repeat([]byte{1}, 1000))
	d := open(t, Config{Path: path})
	for _, size := range []int64{5000, 300, 2000, 0, 1} {
		wants(t, d.Truncate(size), "")
		st, err := os.Stat(path)
		if err != nil || st.Size() != size || d.Size() != size {
			t.Errorf("%v: %d bytes, and %d, want %d", err, st.Size(), d.Size(), size)
		}
	}
	wants(t, d.Truncate(2000), "")
	got := make([]byte, 2000)
	if err := d.Readv(0, [][]byte{got}); err != nil || !bytes.Equal(got, make([]byte, 2000)) {
		t.Errorf("%v: what was cut off is back", err)
	}
	if d.Truncate(-1) == nil || d.Size() != 2000 {
		t.Error("a negative size")
	}
	ro := open(t, Config{Path: path, Options: graph.Options{ReadOnly: true}})
	if ro.Truncate(100) == nil || ro.Size() != 2000 {
		t.Error("a file for reading is cut")
	}
	// A write past the end makes the file longer.
	wants(t, d.Writev(3000, [][]byte{{1, 2}}, 0), "")
	if d.Size() != 3002 {
		t.Errorf("%d bytes", d.Size())
	}
}

// TestRequestErrors has a file fail that is for the other direction.
func TestRequestErrors(t *testing.T) {
	for _, threads := range []bool{false, true} {
		d := open(t, Config{Path: file(t, make([]byte, 4096)), Threads: threads, Options: graph.Options{ReadOnly: true, Discard: true}})
		v := [][]byte{make([]byte, 512)}
		for what, err := range map[string]error{"write": d.Writev(0, v, 0), "zeroes": d.WriteZeroes(0, 512, 0),
			"unmap": d.WriteZeroes(0, 512, graph.MayUnmap), "discard": d.Discard(0, 512)} {
			if err == nil {
				t.Errorf("%s on a file for reading", what)
			}
		}
		wants(t, d.Readv(0, v), "")
	}
}

// TestCreate makes files with each preallocation.
func TestCreate(t *testing.T) {
	stop := errors.New("stopped")
	for _, x := range []struct {
		kind      Preallocation
		size      uint64
		allocated bool
		point     error
		want      string
	}{
		{kind: Sparse, size: 0},
		{kind: Sparse, size: 100},
		{kind: Sparse, size: 3 << 20},
		{kind: Reserve, size: 1 << 20, allocated: true},
		{kind: Fill, size: 1<<20 + 3000, allocated: true},
		{kind: Fill, size: 1 << 20, point: stop, want: "stopped"},
		{kind: Sparse, size: 1 << 63, want: "Failed to resize file: File too large"},
	} {
		path := file(t, bytes.Repeat([]byte{5}, 8192)) // which is emptied
		err := Create(Creation{Path: path, Size: x.size, Preallocation: x.kind, NoCOW: true, OpenFile: os.OpenFile}, func() error { return x.point })
		if wants(t, err, x.want); x.want != "" {
			continue
		}
		d := open(t, Config{Path: path})
		got := make([]byte, x.size)
		if err := d.Readv(0, [][]byte{got}); err != nil || d.Size() != int64(x.size) || !bytes.Equal(got, make([]byte, x.size)) {
			t.Errorf("%+v: %v, %d bytes", x, err, d.Size())
		}
		if full := d.Allocated() >= int64(x.size); x.size > 8192 && full != x.allocated {
			t.Errorf("%+v: %d bytes are allocated", x, d.Allocated())
		}
	}
	err := Create(Creation{Path: filepath.Join(t.TempDir(), "no", "f"), OpenFile: os.OpenFile}, nil)
	wants(t, err, "/no/f': No such file or directory")
}

// TestCreateInUse does not empty a file that somebody has.
func TestCreateInUse(t *testing.T) {
	path := file(t, []byte("precious"))
	d := open(t, Config{Path: path})
	for shared, want := range map[graph.Perm]string{
		graph.ConsistentRead:           `Failed to get "write" lock`,
		graph.AllPerms &^ graph.Resize: `Failed to get "resize" lock`,
	} {
		wants(t, d.Permit(graph.ConsistentRead, shared), "")
		wants(t, Create(Creation{Path: path, Size: 1, OpenFile: os.OpenFile}, nil), want)
		if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
			t.Fatalf("%v: %q", err, b)
		}
	}
	wants(t, d.Permit(graph.Resize, graph.AllPerms), "")
	if Create(Creation{Path: path, Size: 1, OpenFile: os.OpenFile}, nil) == nil {
		t.Error("a file is made anew that another may resize")
	}
}

// TestReopen goes over to other options and back, with locks held all the time.
func TestReopen(t *testing.T) {
	path := file(t, make([]byte, 512))
	other := open(t, Config{Path: path})
	for _, commit := range []bool{true, false} {
		d := open(t, Config{Path: path})
		before := descriptors(t)
		wants(t, d.Permit(rw, graph.ConsistentRead), "")
		final, undo, err := d.Reopen(graph.Options{ReadOnly: true}, AutoReadOnly(false))
		wants(t, err, "")
		wants(t, other.Permit(graph.Write, graph.AllPerms), `Failed to get "write" lock`)
		if commit {
			wants(t, final(), "")
		} else {
			undo()
		}
		if ro := d.Writev(0, [][]byte{{1}}, 0) != nil; ro != commit || d.cfg.Options.ReadOnly != commit {
			t.Errorf("committed %v, but read-only %v", commit, ro)
		}
		wants(t, other.Permit(graph.Write, graph.AllPerms), `Failed to get "write" lock`)
		if n := descriptors(t); n != before {
			t.Errorf("%d files are open, and were %d", n, before)
		}
		wants(t, d.Close(), "")
		wants(t, other.Permit(graph.Write, graph.AllPerms), "")
		wants(t, other.Permit(0, graph.AllPerms), "")
	}
}

// TestReopenTakenBack takes a reopening back after users changed what they do in between, as
// when another part of a transaction fails.
func TestReopenTakenBack(t *testing.T) {
	path := file(t, make([]byte, 512))
	d := open(t, Config{Path: path, AutoReadOnly: true})
	other := open(t, Config{Path: path, AutoReadOnly: true})
	before := descriptors(t)
	wants(t, d.Permit(graph.ConsistentRead, graph.ConsistentRead), "")
	_, undo, err := d.Reopen(graph.Options{}, nil)
	wants(t, err, "")
	wants(t, d.Permit(rw, graph.ConsistentRead), "") // opened for writing
	wants(t, d.Permit(graph.ConsistentRead, graph.ConsistentRead), "")
	undo()
	if n := descriptors(t); n != before {
		t.Errorf("%d files are open, and were %d", n, before)
	}
	wants(t, d.Readv(0, [][]byte{make([]byte, 1)}), "")
	wants(t, other.Permit(graph.Write, graph.AllPerms), `Failed to get "write" lock`)
	wants(t, d.Permit(0, graph.AllPerms), "")
	wants(t, other.Permit(graph.Write, graph.AllPerms), "")
}

// TestReopenFails leaves all as it was.
func TestReopenFails(t *testing.T) {
	path := file(t, make([]byte, 512))
	d := open(t, Config{Path: path})
	before := descriptors(t)
	wants(t, d.Permit(rw, graph.AllPerms), "")
	if err := os.Rename(path, path+".gone"); err != nil {
		t.Fatal(err)
	}
	_, _, err := d.Reopen(graph.Options{ReadOnly: true}, nil)
	wants(t, err, "Could not open '"+path+"': No such file or directory")
	wants(t, d.Writev(0, [][]byte{{1}}, 0), "")
	// Another file in its place, which somebody else has.
	if err := os.WriteFile(path, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	other := open(t, Config{Path: path})
	wants(t, other.Permit(0, graph.ConsistentRead), "")
	_, _, err = d.Reopen(graph.Options{Direct: false}, nil)
	wants(t, err, `Failed to get "write" lock`)
	if held, _ := d.file.Locks(); graph.Perm(held) != rw || descriptors(t) != before+1 {
		t.Errorf("locked for %q, %d files more", graph.Perm(held), descriptors(t)-before)
	}
	wants(t, d.Writev(0, [][]byte{{1}}, 0), "")
}
