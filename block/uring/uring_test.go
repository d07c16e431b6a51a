package uring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// ring makes a ring, which has one thread that submits: the test's own until it ends.
func ring(t testing.TB, n uint32) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := New(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// reap waits for n completions and returns their results by tag.
func reap(t testing.TB, r *Ring, n int) map[uint64]CQE {
	t.Helper()
	got := map[uint64]CQE{}
	for len(got) < n {
		if err := r.Enter(1); err != nil {
			t.Fatal(err)
		}
		for c, ok := r.Reap(); ok; c, ok = r.Reap() {
			got[c.UserData] = c
		}
	}
	return got
}

func next(t testing.TB, r *Ring) *SQE {
	t.Helper()
	s, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWriteThenRead(t *testing.T) {
	r := ring(t, 8)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := [][]byte{bytes.Repeat([]byte("a"), 100), bytes.Repeat([]byte("b"), 50)}
	vecs := make([]unix.Iovec, 2)
	for i := range vecs {
		vecs[i].Base = &out[i][0]
		vecs[i].SetLen(len(out[i]))
	}
	s := next(t, r)
	s.Op, s.FD, s.Off, s.UserData = OpWritev, int32(f.Fd()), 10, 1
	s.SetIovecs(vecs)
	if got := reap(t, r, 1)[1]; got.Res != 150 {
		t.Fatalf("wrote %d", got.Res)
	}
	s = next(t, r)
	s.Op, s.FD, s.OpFlags, s.UserData = OpFsync, int32(f.Fd()), FsyncData, 2
	in := make([]byte, 160)
	one := []unix.Iovec{{Base: &in[0]}}
	one[0].SetLen(len(in))
	if got := reap(t, r, 1)[2]; got.Res != 0 {
		t.Fatalf("fsync %d", got.Res)
	}
	s = next(t, r)
	s.Op, s.FD, s.UserData = OpReadv, int32(f.Fd()), 3
	s.SetIovecs(one)
	if got := reap(t, r, 1)[3]; got.Res != 160 || string(in[105:115]) != "aaaaabbbbb" {
		t.Errorf("read %d: %q", got.Res, in)
	}
	s = next(t, r)
	s.Op, s.FD, s.UserData = OpReadv, -1, 4
	s.SetIovecs(one)
	if got := reap(t, r, 1)[4]; got.Res != -int32(unix.EBADF) {
		t.Errorf("reading a bad descriptor: %d", got.Res)
	}
}

func TestFullAndWrapAround(t *testing.T) {
	r := ring(t, 4)
	for round := range uint64(5) {
		for i := range uint64(4) {
			s := next(t, r)
			s.Op, s.UserData = OpNop, round*4+i
		}
		if _, err := r.Next(); !errors.Is(err, ErrFull) {
			t.Fatalf("a fifth entry of four: %v", err)
		}
		got := reap(t, r, 4)
		for i := range uint64(4) {
			if _, ok := got[round*4+i]; !ok {
				t.Errorf("round %d: no completion %d", round, i)
			}
		}
	}
	if _, ok := r.Reap(); ok {
		t.Error("a completion too many")
	}
}

// TestPollMulti checks that one poll tells of every write to an eventfd, which is
// what queue workers live on.
func TestPollMulti(t *testing.T) {
	r := ring(t, 4)
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	s := next(t, r)
	s.Op, s.FD, s.OpFlags, s.Len, s.UserData = OpPollAdd, int32(fd), unix.POLLIN, PollMulti, 9
	if err := r.Enter(0); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		if c := reap(t, r, 1)[9]; c.Res&unix.POLLIN == 0 || c.Flags&MoreToCome == 0 {
			t.Fatalf("write %d: completion %+v", i, c)
		}
	}
}

func TestAvailable(t *testing.T) {
	if _, err := New(1 << 20); err == nil {
		t.Error("a ring of a million entries was made")
	}
	ring(t, 1)
}

func TestNothingIsAllocated(t *testing.T) {
	r := ring(t, 8)
	n := testing.AllocsPerRun(100, func() {
		s, _ := r.Next()
		s.Op = OpNop
		if err := r.Enter(1); err != nil {
			t.Fatal(err)
		}
		r.Reap()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestUnbound uses a ring on two threads, one after the other.
func TestUnbound(t *testing.T) {
	r, err := NewUnbound(8)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // for ever: each goroutine has another thread
			defer close(done)
			s, err := r.Next()
			if err != nil {
				t.Error(err)
				return
			}
			s.Op = OpNop
			if err := r.Enter(1); err != nil {
				t.Error(err)
				return
			}
			if c, ok := r.Reap(); !ok || c.Res != 0 {
				t.Errorf("completed %v with %d", ok, c.Res)
			}
		}()
		<-done
	}
}

func BenchmarkNop(b *testing.B) {
	r := ring(b, 8)
	b.ReportAllocs()
	for b.Loop() {
		s, _ := r.Next()
		s.Op = OpNop
		if err := r.Enter(1); err != nil {
			b.Fatal(err)
		}
		r.Reap()
	}
}
