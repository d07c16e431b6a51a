package trywrite

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// pair returns both ends of a connection.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	end := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "pair")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(*net.UnixConn)
	}
	return end(fds[0]), end(fds[1])
}

// TestTryWrite fills a connection, has some of it read, and goes on: what arrives is what
// was said to be written.
func TestTryWrite(t *testing.T) {
	a, b := pair(t)
	w, err := New(a)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	sent := 0
	var got bytes.Buffer
	for round := range 3 {
		n, err := w.TryWrite(data[sent:])
		if err != nil || n == 0 || sent+n == len(data) {
			t.Fatalf("round %d: %d bytes, %v", round, n, err)
		}
		if again, err := w.TryWrite(data[sent+n:]); err != nil || again != 0 {
			t.Fatalf("round %d: %d bytes more, %v", round, again, err)
		}
		sent += n
		if _, err := io.CopyN(&got, b, int64(n)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), data[:sent]) {
		t.Error("what arrives is not what was written")
	}
	b.Close()
	if _, err := w.TryWrite(data); !errors.Is(err, unix.EPIPE) {
		t.Errorf("write to nobody: %v", err)
	}
	a.Close()
	if _, err := w.TryWrite(data); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write to a closed connection: %v", err)
	}
}

// BenchmarkTryWrite is a small write that is read at once.
func BenchmarkTryWrite(b *testing.B) {
	x, y := pair(b)
	w, err := New(x)
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := w.TryWrite(p); n != len(p) || err != nil {
			b.Fatal(n, err)
		}
		if _, err := y.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}
