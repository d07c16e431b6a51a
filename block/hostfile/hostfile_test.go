package hostfile

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const testSize = 1 << 20

func newImage(t testing.TB) string {
	t.Helper()
	return newImageIn(t, t.TempDir())
}

// inRAM returns an image on a file system in memory.
func inRAM(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hostfile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return newImageIn(t, dir)
}

func newImageIn(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(path, make([]byte, testSize), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, cfg Config) *File {
	t.Helper()
	f, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// queue is an IO with what a test needs around it. The ring wants one thread.
type queue struct {
	IO
	kick int
}

func newQueue(t testing.TB, f *File) *queue {
	t.Helper()
	runtime.LockOSThread()
	kick, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	io, err := f.NewIO(kick, 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := io.Close(); err != nil {
			t.Error(err)
		}
		unix.Close(kick)
		runtime.UnlockOSThread()
	})
	return &queue{io, kick}
}

// do carries out one request and returns its result.
func (q *queue) do(t testing.TB, op uint8, off, n int64, bufs ...[]byte) int32 {
	t.Helper()
	if err := q.Submit(op, 3, off, n, bufs); err != nil {
		t.Fatal(err)
	}
	result, done := int32(0), false
	for !done {
		if err := q.Wait(true, func(tag uint32, res int32) {
			if tag != 3 {
				t.Errorf("tag %d", tag)
			}
			result, done = res, true
		}); err != nil {
			t.Fatal(err)
		}
	}
	return result
}

// engines runs a test with io_uring, with threads and with plain calls.
func engines(t *testing.T, f func(t *testing.T, cfg Config)) {
	for name, cfg := range map[string]Config{"io_uring": {Path: newImage(t)}, "threads": {Path: newImage(t), Threads: true}, "inline": {Path: inRAM(t)}} {
		cfg.Discard = true
		t.Run(name, func(t *testing.T) { f(t, cfg) })
	}
}

func TestReadWrite(t *testing.T) {
	engines(t, func(t *testing.T, cfg Config) {
		f := open(t, cfg)
		q := newQueue(t, f)
		a, b := bytes.Repeat([]byte("a"), 512), bytes.Repeat([]byte("b"), 1024)
		if res := q.do(t, OpWrite, 4096, 1536, a, b); res != 1536 {
			t.Fatalf("write: %d", res)
		}
		if res := q.do(t, OpFlush, 0, 0); res != 0 {
			t.Fatalf("flush: %d", res)
		}
		x, y := make([]byte, 1000), make([]byte, 536)
		if res := q.do(t, OpRead, 4096, 1536, x, y); res != 1536 {
			t.Fatalf("read: %d", res)
		}
		if got := append(x, y...); !bytes.Equal(got, append(a, b...)) {
			t.Error("read something else than was written")
		}
		text, err := os.ReadFile(cfg.Path)
		if err != nil || !bytes.Equal(text[4096:4608], a) || len(text) != testSize {
			t.Errorf("the file holds something else: %v", err)
		}
	})
}

func TestZeroesAndDiscard(t *testing.T) {
	engines(t, func(t *testing.T, cfg Config) {
		f := open(t, cfg)
		q := newQueue(t, f)
		full := bytes.Repeat([]byte("x"), 64<<10)
		for _, op := range []uint8{OpWriteZeroes, OpWriteZeroesUnmap, OpDiscard} {
			if res := q.do(t, OpWrite, 0, int64(len(full)), full); res < 0 {
				t.Fatal(res)
			}
			if res := q.do(t, op, 8192, 16384); res < 0 {
				t.Fatalf("operation %d: %d", op, res)
			}
			got := make([]byte, len(full))
			if res := q.do(t, OpRead, 0, int64(len(got)), got); res < 0 {
				t.Fatal(res)
			}
			want := bytes.Clone(full)
			clear(want[8192 : 8192+16384])
			if !bytes.Equal(got, want) {
				t.Errorf("operation %d left something else than zeroes", op)
			}
		}
	})
}

func TestReadBeyondTheEndHasZeroes(t *testing.T) {
	engines(t, func(t *testing.T, cfg Config) {
		f := open(t, cfg)
		if err := os.Truncate(cfg.Path, 1000); err != nil {
			t.Fatal(err)
		}
		q := newQueue(t, f)
		b := bytes.Repeat([]byte{1}, 1024)
		if res := q.do(t, OpRead, 512, 1024, b[:300], b[300:]); res != 1024 {
			t.Fatalf("read: %d", res)
		}
		if !bytes.Equal(b, make([]byte, 1024)) {
			t.Error("what is not there is not zero")
		}
	})
}

func TestReadOnlyRefusesWrites(t *testing.T) {
	engines(t, func(t *testing.T, cfg Config) {
		cfg.ReadOnly = true
		f := open(t, cfg)
		q := newQueue(t, f)
		if res := q.do(t, OpWrite, 0, 512, make([]byte, 512)); res != -int32(unix.EBADF) {
			t.Errorf("write: %d", res)
		}
		if res := q.do(t, OpFlush, 0, 0); res != 0 {
			t.Errorf("flush: %d", res)
		}
	})
}

func TestKickAndWake(t *testing.T) {
	engines(t, func(t *testing.T, cfg Config) {
		q := newQueue(t, open(t, cfg))
		none := func(uint32, int32) { t.Error("a completion of nothing") }
		if err := q.Wait(false, none); err != nil {
			t.Errorf("at rest: %v", err)
		}
		for range 3 {
			if _, err := unix.Write(q.kick, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			if err := q.Wait(true, none); err != nil {
				t.Errorf("after a kick: %v", err)
			}
		}
		q.Wake()
		if err := q.Wait(true, none); err != nil {
			t.Errorf("after Wake: %v", err)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, cfg Config) {
		q := newQueue(t, open(t, cfg))
		bufs := make([][]byte, 16)
		left := 0
		for tag := range bufs {
			bufs[tag] = bytes.Repeat([]byte{byte(tag + 1)}, 4096)
			if err := q.Submit(OpWrite, uint32(tag), int64(tag)*4096, 4096, bufs[tag:tag+1]); err != nil {
				t.Fatal(err)
			}
			left++
		}
		for left > 0 {
			if err := q.Wait(true, func(_ uint32, res int32) {
				if res != 4096 {
					t.Errorf("write: %d", res)
				}
				left--
			}); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		for tag := range bufs {
			if text[tag*4096+4095] != byte(tag+1) {
				t.Errorf("block %d is not there", tag)
			}
		}
	})
}

// The bits of SetLocks that a disk has.
const (
	reads, writes, resizes = 1, 2, 8
	disk, reader           = reads | writes, reads
	alone                  = writes | resizes
)

func TestLocks(t *testing.T) {
	path := newImage(t)
	a, b := open(t, Config{Path: path}), open(t, Config{Path: path, ReadOnly: true})
	for _, c := range []struct {
		held, notShared           uint8
		otherHeld, otherNotShared uint8
		want                      string
	}{
		{disk, alone, disk, alone, `Failed to get "write" lock`},
		{disk, alone, reader, alone, `Failed to get shared "write" lock`},
		{reader, alone, reader, alone, ""},
		{disk, resizes, disk, resizes, ""},
		{disk, alone, 0, 0, ""},
		{0, 0, disk, alone, ""},
		{resizes, 0, reader, resizes, `Failed to get shared "resize" lock`},
	} {
		if err := a.SetLocks(c.held, c.notShared); err != nil {
			t.Fatal(err)
		}
		err := b.SetLocks(c.otherHeld, c.otherNotShared)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v", c, err)
		}
		held, notShared := b.Locks()
		if ok := err == nil; ok != (held == c.otherHeld && notShared == c.otherNotShared) {
			t.Errorf("%v left %x and %x", c, held, notShared)
		}
		if err := errors.Join(a.SetLocks(0, 0), b.SetLocks(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

// locked opens an image as a disk does that shares nothing.
func locked(path string) (*File, error) {
	f, err := Open(Config{Path: path})
	if err != nil {
		return nil, err
	}
	if err := f.SetLocks(disk, alone); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// TestExtents tells data from holes, and changes the size.
func TestExtents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holes")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, Config{Path: path})
	if err := f.Truncate(testSize); err != nil || f.Size() != testSize {
		t.Fatalf("%d bytes, %v", f.Size(), err)
	}
	data := bytes.Repeat([]byte{1}, 64<<10)
	if err := f.Do(OpWrite, 128<<10, int64(len(data)), [][]byte{data}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off, n, length int64
		data           bool
	}{
		{0, testSize, 128 << 10, false},
		{4096, 4096, 4096, false},
		{128 << 10, testSize - 128<<10, 64 << 10, true},
		{192 << 10, 1000, 1000, false},
	} {
		if n, data := f.Extent(c.off, c.n); n != c.length || data != c.data {
			t.Errorf("at %d: %d bytes, data %v", c.off, n, data)
		}
	}
	if n := f.Allocated(); n < 64<<10 || n > 128<<10 {
		t.Errorf("it takes %d bytes", n)
	}
	if err := f.Truncate(-1); err == nil {
		t.Error("a negative size")
	}
}

// TestLocksPartly has one of the bytes be taken by somebody who follows no rules: none of the
// others stays locked.
func TestLocksPartly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var files []*File
	for range 3 {
		f, err := Open(Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	a, other, third := files[0], files[1], files[2]
	if err := errors.Join(a.SetLocks(1, 0), other.lockByte(lockNotShared+3, unix.F_WRLCK)); err != nil {
		t.Fatal(err)
	}
	if err := a.SetLocks(15, 15); err == nil || !strings.Contains(err.Error(), "Failed to lock byte 203") {
		t.Fatal(err)
	}
	if held, notShared := a.Locks(); held != 1 || notShared != 0 {
		t.Errorf("locks %#x, %#x", held, notShared)
	}
	for i := range int64(4) {
		if third.taken(lockHeld+i) != (i == 0) || third.taken(lockNotShared+i) != (i == 3) {
			t.Errorf("bit %d: %v, %v", i, third.taken(lockHeld+i), third.taken(lockNotShared+i))
		}
	}
}

// TestLocksOfQEMU checks both ways that QEMU's tools and hv see each other.
func TestLocksOfQEMU(t *testing.T) {
	io, err := exec.LookPath("qemu-io")
	if err != nil {
		t.Fatal("qemu-io is missing: apt-get install qemu-utils")
	}
	path := newImage(t)
	f, err := locked(path)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(io, "-f", "raw", "-c", "write 0 512", path).CombinedOutput(); err == nil || !strings.Contains(string(out), "lock") {
		t.Errorf("qemu-io wrote to an image in use: %v, %s", err, out)
	}
	f.Close()
	cmd := exec.Command(io, "-f", "raw", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The answer to a command says that the image is open.
	if _, err := in.Write([]byte("length\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	if _, err := locked(path); err == nil {
		t.Error("opened an image that qemu-io has open for writing")
	}
	in.Close()
	_ = cmd.Wait()
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"nothing": filepath.Join(dir, "none"), "a folder": dir, "a terminal": "/dev/null"} {
		if f, err := Open(Config{Path: path, ReadOnly: true}); err == nil {
			f.Close()
			t.Errorf("opened %s", name)
		}
	}
}

func TestFlush(t *testing.T) {
	for _, cfg := range []Config{{}, {NoFlush: true}, {ReadOnly: true}, {WriteThrough: true}} {
		cfg.Path = newImage(t)
		f := open(t, cfg)
		if err := f.Flush(); err != nil {
			t.Error(err)
		}
		if f.Size() != testSize || f.ReadOnly() != cfg.ReadOnly {
			t.Errorf("%+v: size %d", cfg, f.Size())
		}
		if cfg.WriteThrough {
			if res := newQueue(t, f).do(t, OpWrite, 0, 512, make([]byte, 512)); res != 512 {
				t.Errorf("write-through: %d", res)
			}
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for _, path := range []string{newImage(t), inRAM(t)} {
		allocatesNothing(t, newQueue(t, open(t, Config{Path: path})))
	}
}

func allocatesNothing(t *testing.T, q *queue) {
	bufs := [][]byte{make([]byte, 4096)}
	left := 0
	done := func(uint32, int32) { left-- }
	one := func() {
		left++
		_ = q.Submit(OpRead, 1, 8192, 4096, bufs)
		for left > 0 {
			_ = q.Wait(true, done)
		}
	}
	one()
	if n := testing.AllocsPerRun(200, one); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkRead(b *testing.B) {
	q := newQueue(b, open(b, Config{Path: newImage(b)}))
	bufs := [][]byte{make([]byte, 4096)}
	left := 0
	done := func(uint32, int32) { left-- }
	b.ReportAllocs()
	for b.Loop() {
		left++
		_ = q.Submit(OpRead, 1, 8192, 4096, bufs)
		for left > 0 {
			_ = q.Wait(true, done)
		}
	}
}

// TestZeroed has a file system make zeroes, where it can, and the file grow by them.
func TestZeroed(t *testing.T) {
	engines(t, func(t *testing.T, cfg Config) {
		f := open(t, cfg)
		q := newQueue(t, f)
		full := bytes.Repeat([]byte("x"), 8192)
		if res := q.do(t, OpWrite, testSize-8192, 8192, full); res < 0 {
			t.Fatal(res)
		}
		want := uint64(testSize)
		if f.Zeroed(testSize-4096, 64<<10) {
			want += 60 << 10
			clear(full[4096:])
		}
		if st, err := os.Stat(cfg.Path); err != nil || f.Size() != want || uint64(st.Size()) != want {
			t.Errorf("%d bytes of %d: %v", f.Size(), want, err)
		}
		got := make([]byte, 8192)
		if res := q.do(t, OpRead, testSize-8192, 8192, got); res < 0 || !bytes.Equal(got, full) {
			t.Errorf("read %d, or something else", res)
		}
	})
}
