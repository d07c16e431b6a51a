package formats

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/bitmap"
	"hv/block/blocktest"
	"hv/block/graph"
	"hv/block/throttle"
	"hv/qmp/qapi"
)

// over is an image with a backing file of fives, as what a filter is on.
func over(t testing.TB, dir string) {
	t.Helper()
	tool(t, dir, "qemu-img", "create", "-f", "raw", "base", "200k")
	tool(t, dir, "qemu-io", "-f", "raw", "-c", "write -P 5 0 200k", "base")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", "base", "d", "300k")
}

func TestFilters(t *testing.T) {
	const image = `"file":{"driver":"qcow2","discard":"unmap","file":{"driver":"file","filename":"%s/d"}}`
	raw := create("-f", "raw", "d", "300k")
	grown := subject(`{"driver":"raw","discard":"unmap","file":{"driver":"preallocate","prealloc-size":65536,"prealloc-align":4096,"file":{"driver":"file","filename":"%s/d"}}}`, raw)
	copied := subject(`{"driver":"copy-before-write","discard":"unmap","target":{"driver":"null-co","size":1000000},`+onFile+`}`, raw)
	copied.Fixed = true
	throttled := subject(`{"driver":"throttle","discard":"unmap","throttle-group":"fast",`+onFile+`}`, raw)
	for name, s := range map[string]blocktest.Subject{
		"copy-on-read": subject(`{"driver":"copy-on-read","discard":"unmap",`+image+`}`, over), "preallocate": grown,
		"preallocate qcow2": subject(`{"driver":"qcow2","discard":"unmap","file":{"driver":"preallocate","file":{"driver":"file","filename":"%s/d"}}}`, create("-f", "qcow2", "d", "300k")),
		"copy-before-write": copied, "throttle": throttled,
	} {
		t.Run(name, func(t *testing.T) { blocktest.Run(t, s) })
	}
}

// TestCopyOnRead: what was read is there without the backing file, and only that; zeroes
// are there as zeroes.
func TestCopyOnRead(t *testing.T) {
	for name, bottom := range map[string]string{"all": "", "bottom": `,"bottom":"mid"`, "nothing": `,"bottom":"top"`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tool(t, dir, "qemu-img", "create", "-f", "qcow2", "base", "1M")
			tool(t, dir, "qemu-io", "-f", "qcow2", "-c", "write -P 5 0 512k", "base")
			tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", "base", "mid")
			tool(t, dir, "qemu-io", "-f", "qcow2", "-c", "write -P 6 256k 128k", "mid")
			tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", "mid", "d")
			n := open(t, newOpener(), fmt.Sprintf(`{"driver":"copy-on-read"%s,"file":{"driver":"raw","file":{"driver":"qcow2","node-name":"top",
				"file":{"driver":"file","filename":"%[2]s/d"},"backing":{"driver":"qcow2","node-name":"mid","read-only":true,"file":{"driver":"file","filename":"%[2]s/mid"}}}}}`, bottom, dir))
			c := user(t, n, graph.ConsistentRead)
			got := make([]byte, 1<<20)
			for off := 0; off < len(got); off += 200 << 10 {
				part := got[off:min(off+200<<10, len(got))]
				if err := c.Readv(int64(off), [][]byte{part[:1000], part[1000:]}); err != nil {
					t.Fatal(err)
				}
			}
			want := append(append(bytes.Repeat([]byte{5}, 256<<10), bytes.Repeat([]byte{6}, 128<<10)...), bytes.Repeat([]byte{5}, 128<<10)...)
			if !bytes.Equal(got, append(want, make([]byte, 512<<10)...)) {
				t.Error("what was read differs")
			}
			if err := errors.Join(c.Close(), n.Unref()); err != nil {
				t.Fatal(err)
			}
			out := tool(t, dir, "qemu-io", "-f", "qcow2", "-c", "map", "d")
			if want := map[string]string{
				"all": "1 MiB (0x100000) bytes     allocated at offset 0 bytes", "nothing": "1 MiB (0x100000) bytes not allocated",
				"bottom": "128 KiB (0x20000) bytes     allocated at offset 256 KiB",
			}[name]; !strings.Contains(out, want) {
				t.Errorf("allocated is\n%s", out)
			}
			tool(t, dir, "qemu-img", "check", "d")
		})
	}
}

// TestCopyOnReadWhileWriting: no copy undoes a write.
func TestCopyOnReadWhileWriting(t *testing.T) {
	dir := t.TempDir()
	over(t, dir)
	n := open(t, newOpener(), fmt.Sprintf(`{"driver":"copy-on-read","file":{"driver":"qcow2","file":{"driver":"file","filename":"%s/d"}}}`, dir))
	c := user(t, n, graph.ConsistentRead|graph.Write)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte(10 + w)}, 1024)
			for i := w; i < 300; i += 4 {
				if err := c.Writev(int64(i)<<10, [][]byte{data}, 0); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			b := make([]byte, 4096)
			for range 200 {
				if err := c.Readv(rand.Int64N(296<<10), [][]byte{b}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := make([]byte, 300<<10)
	if err := c.Readv(0, [][]byte{got}); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if got[i<<10] != byte(10+i%4) || got[i<<10+1023] != byte(10+i%4) {
			t.Errorf("write %d is lost: %d", i, got[i<<10])
		}
	}
	if err := errors.Join(c.Close(), n.Unref()); err != nil {
		t.Fatal(err)
	}
}

// TestPreallocate: the file is longer while there are writers, and as long as its data
// otherwise.
func TestPreallocate(t *testing.T) {
	dir := t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "d", "10M")
	size := func() int64 {
		st, err := os.Stat(filepath.Join(dir, "d"))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	n := open(t, newOpener(), fmt.Sprintf(`{"driver":"qcow2","file":{"driver":"preallocate","prealloc-size":20971520,"prealloc-align":5242880,"file":{"driver":"file","filename":"%s/d"}}}`, dir))
	c := user(t, n, graph.ConsistentRead|graph.Write)
	if err := errors.Join(c.Writev(0, [][]byte{bytes.Repeat([]byte{1}, 1<<20)}, 0), c.Flush()); err != nil {
		t.Fatal(err)
	}
	if got := size(); got != 25<<20 {
		t.Errorf("%d bytes while there is a writer, want 25 MiB", got)
	}
	if err := errors.Join(c.Close(), n.Unref()); err != nil {
		t.Fatal(err)
	}
	if got := size(); got > 2<<20 {
		t.Errorf("%d bytes at last", got)
	}
	tool(t, dir, "qemu-img", "check", "d")
	for _, bad := range []string{`"prealloc-align":100`, `"prealloc-align":0`, `"prealloc-size":-1`} {
		if _, err := newOpener().Open(described(t, fmt.Sprintf(`{"driver":"preallocate",%s,"file":{"driver":"file","filename":"%s/d"}}`, bad, dir))); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// fleece makes a node that is copied before it is written to, and one that shows what it
// was; both have a user.
func fleece(t *testing.T, x *Opener, dir, more string) (disk, was *graph.Child, end func()) {
	t.Helper()
	tool(t, dir, "qemu-img", "create", "-f", "raw", "d", "1M")
	tool(t, dir, "qemu-io", "-f", "raw", "-c", "write -P 1 0 512k", "d")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "t", "1M")
	cbw := open(t, x, fmt.Sprintf(`{"driver":"copy-before-write","node-name":"cbw"%s,"file":{"driver":"file","node-name":"f","filename":"%[2]s/d","discard":"unmap"},
		"target":{"driver":"qcow2","node-name":"t","discard":"unmap","file":{"driver":"file","filename":"%[2]s/t"}}}`, more, dir))
	access := open(t, x, `{"driver":"snapshot-access","node-name":"a","file":"cbw"}`)
	disk, was = user(t, cbw, graph.ConsistentRead|graph.Write), user(t, access, graph.ConsistentRead)
	return disk, was, func() {
		if err := errors.Join(was.Close(), disk.Close(), access.Unref(), cbw.Unref()); err != nil {
			t.Error(err)
		}
	}
}

// TestFleecing: what was is read, whatever is written meanwhile.
func TestFleecing(t *testing.T) {
	disk, was, end := fleece(t, newOpener(), t.TempDir(), "")
	want := append(bytes.Repeat([]byte{1}, 512<<10), make([]byte, 512<<10)...)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 100 {
				off := rand.Int64N(1<<20 - 8192)
				if err := disk.Writev(off, [][]byte{bytes.Repeat([]byte{7}, 4096), bytes.Repeat([]byte{8}, 100)}, 0); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 100 {
				b := make([]byte, 1+rand.IntN(200<<10))
				off := rand.Int64N(1<<20 - int64(len(b)))
				if err := was.Readv(off, [][]byte{b}); err != nil || !bytes.Equal(b, want[off:][:len(b)]) {
					t.Errorf("%d bytes at %d are not what they were, %v", len(b), off, err)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(disk.WriteZeroes(0, 300<<10, graph.MayUnmap), disk.Discard(900<<10, 64<<10)); err != nil {
		t.Error(err)
	}
	got := make([]byte, 1<<20)
	if err := was.Readv(0, [][]byte{got}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("at last it is not what it was, %v", err)
	}
	if e, err := was.BlockStatus(0, 1<<20); err != nil || e.Status&graph.Data == 0 || e.N == 0 {
		t.Errorf("status %+v, %v", e, err)
	}
	if !errors.Is(was.Writev(0, [][]byte{got[:1]}, 0), unix.ENOTSUP) {
		t.Error("what was could be written to")
	}
	end()
}

// TestFleecingParts: what is not in the bitmap is neither copied nor shown, and what was
// discarded neither.
func TestFleecingParts(t *testing.T) {
	x, dir := newOpener(), t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "raw", "b", "1M")
	keeper := open(t, x, fmt.Sprintf(`{"driver":"file","node-name":"b","filename":"%s/b"}`, dir))
	b, err := keeper.AddBitmap(bitmap.Config{Name: "m", Granularity: 64 << 10, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	b.Mark(64<<10, 200<<10)
	disk, was, end := fleece(t, x, dir, `,"bitmap":{"node":"b","name":"m"}`)
	buf := make([]byte, 4096)
	if err := disk.Writev(0, [][]byte{buf}, 0); err != nil {
		t.Error(err)
	}
	if err := was.Readv(0, [][]byte{buf}); !errors.Is(err, unix.EACCES) {
		t.Errorf("beside the bitmap: %v", err)
	}
	if err := was.Readv(100<<10, [][]byte{buf}); err != nil || buf[0] != 1 {
		t.Errorf("in the bitmap: %v", err)
	}
	if _, err := was.BlockStatus(60<<10, 8<<10); !errors.Is(err, unix.EACCES) {
		t.Errorf("status beside the bitmap: %v", err)
	}
	end()
	if err := keeper.Unref(); err != nil {
		t.Error(err)
	}
	for options, want := range map[string]string{
		`{"driver":"copy-before-write","bitmap":{"node":"n","name":"m"},"file":"n","target":"n"}`: "Dirty bitmap 'm' not found",
		`{"driver":"copy-on-read","bottom":"none","file":"n"}`:                                    "Bottom node 'none' not found",
	} {
		x := newOpener()
		n := open(t, x, `{"driver":"null-co","node-name":"n"}`)
		if _, err := x.Open(described(t, options)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", options, err)
		}
		if err := n.Unref(); err != nil {
			t.Error(err)
		}
	}
}

// TestFleecingLate: a target that is too slow fails the write, or ends what was.
func TestFleecingLate(t *testing.T) {
	for _, breaks := range []string{"break-guest-write", "break-snapshot"} {
		t.Run(breaks, func(t *testing.T) {
			x := newOpener()
			x.Groups = &throttle.Groups{Clock: frozen{}}
			l := throttle.None()
			l.Rates[throttle.OpsWrite].Average = 1
			if _, err := x.Groups.Add("slow", l); err != nil {
				t.Fatal(err)
			}
			cbw := open(t, x, fmt.Sprintf(`{"driver":"copy-before-write","node-name":"cbw","on-cbw-error":%q,"cbw-timeout":1,"file":{"driver":"null-co","size":1048576,"read-zeroes":true},
				"target":{"driver":"throttle","throttle-group":"slow","file":{"driver":"null-co","size":1048576}}}`, breaks))
			access := open(t, x, `{"driver":"snapshot-access","file":"cbw"}`)
			disk, was := user(t, cbw, graph.ConsistentRead|graph.Write), user(t, access, graph.ConsistentRead)
			buf := make([]byte, 512)
			if err := disk.Writev(0, [][]byte{buf}, 0); err != nil {
				t.Error(err)
			}
			err := disk.Writev(512<<10, [][]byte{buf}, 0)
			if (breaks == "break-guest-write") != errors.Is(err, unix.ETIMEDOUT) {
				t.Errorf("write: %v", err)
			}
			if err := was.Readv(768<<10, [][]byte{buf}); (breaks == "break-snapshot") != errors.Is(err, unix.EACCES) {
				t.Errorf("read of what was: %v", err)
			}
			if err := errors.Join(was.Close(), disk.Close(), access.Unref(), cbw.Unref()); err != nil {
				t.Error(err)
			}
		})
	}
}

// frozen is a clock that stands still.
type frozen struct{}

func (frozen) Elapsed() time.Duration                      { return 0 }
func (frozen) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

// TestPreallocateReopen: the file is cut when the node can be written to no more, and other
// options hold at once.
func TestPreallocateReopen(t *testing.T) {
	dir := t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "d", "10M")
	tool(t, dir, "qemu-io", "-f", "qcow2", "-c", "write 0 64k", "d")
	x := newOpener()
	options := `{"driver":"qcow2","node-name":"disk","read-only":%[2]v,"file":{"driver":"preallocate","node-name":"p"%[3]s,"file":{"driver":"file","node-name":"f","filename":"%[1]s/d"}}}`
	n := open(t, x, fmt.Sprintf(options, dir, false, ""))
	size := func() int64 {
		st, err := os.Stat(filepath.Join(dir, "d"))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	written := int64(0)
	step := func(readOnly bool, more string, least, most int64) {
		t.Helper()
		if err := x.Reopen([]qapi.BlockdevOptions{*described(t, fmt.Sprintf(options, dir, readOnly, more))}); err != nil {
			t.Fatal(err)
		}
		if !readOnly {
			c := user(t, n, graph.ConsistentRead|graph.Write)
			written++ // somewhere else each time, so that the file grows
			if err := errors.Join(c.Writev(written<<20, [][]byte{bytes.Repeat([]byte{1}, 1<<20)}, 0), c.Flush(), c.Close()); err != nil {
				t.Fatal(err)
			}
		}
		if got := size(); got < least || got > most {
			t.Errorf("%d bytes, want %d to %d", got, least, most)
		}
	}
	step(false, "", 100<<20, 140<<20)
	step(true, "", 1<<20, 10<<20)
	step(false, `,"prealloc-size":8388608,"prealloc-align":4194304`, 12<<20, 20<<20)
	if err := x.Reopen([]qapi.BlockdevOptions{*described(t, fmt.Sprintf(options, dir, false, `,"prealloc-align":7`))}); err == nil {
		t.Error("a bad alignment was taken")
	}
	if err := n.Unref(); err != nil {
		t.Fatal(err)
	}
	tool(t, dir, "qemu-img", "check", "d")
}

// TestAccessUnderWrites opens what a node was while somebody writes to that, and to its target.
func TestAccessUnderWrites(t *testing.T) {
	x := newOpener()
	dir := t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "raw", "d", "300k")
	target := open(t, x, `{"driver":"null-co","size":307200,"read-zeroes":true,"node-name":"t"}`)
	other := user(t, target, graph.ConsistentRead|graph.Write)
	cbw := open(t, x, fmt.Sprintf(`{"driver":"copy-before-write","node-name":"cbw","target":"t",`+onFile+`}`, dir))
	writer := user(t, cbw, graph.ConsistentRead|graph.Write)
	for _, options := range []string{"", `,"read-only":true`} {
		access := open(t, x, `{"driver":"snapshot-access","file":"cbw"`+options+`}`)
		reader := user(t, access, graph.ConsistentRead)
		if err := errors.Join(writer.Writev(0, [][]byte{{1}}, 0), reader.Readv(0, [][]byte{make([]byte, 1)})); err != nil {
			t.Error(err)
		}
		if err := errors.Join(reader.Close(), access.Unref()); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(writer.Close(), other.Close(), cbw.Unref(), target.Unref()); err != nil {
		t.Error(err)
	}
}
