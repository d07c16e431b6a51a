package relay

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBothWays passes frames of all lengths.
func TestBothWays(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if h, _, _ := l.Abilities(); h || l.Queues() != 1 || l.SetOffload(true, true, true, true, true) != nil || l.EnableQueue(0, true) != nil {
		t.Error("it wants something of the device")
	}
	buf, in := Buffer(), Buffer()
	for _, n := range []int{1, 60, 1514, 65550, MaxFrame} {
		want := bytes.Repeat([]byte{byte(n)}, n)
		if _, err := unix.Write(l.QueueFD(0), append(bytes.Repeat([]byte{1}, Header), want...)); err != nil {
			t.Fatal(err)
		}
		frame, err := l.Receive(buf)
		if err != nil || !bytes.Equal(frame, want) {
			t.Fatalf("%d bytes, not %d: %v", len(frame), n, err)
		}
		if err := l.Send(buf[:Header+n]); err != nil {
			t.Fatal(err)
		}
		got, err := unix.Read(l.QueueFD(0), in)
		if err != nil || got != Header+n || !bytes.Equal(in[:Header], []byte{10: 1, 11: 0}) || !bytes.Equal(in[Header:got], want) {
			t.Fatalf("the device: %d bytes, not %d: %v", got, n, err)
		}
	}
	// What is no frame is not passed on.
	for _, n := range []int{3, Header, Header + 1} {
		if _, err := unix.Write(l.QueueFD(0), make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	if frame, err := l.Receive(buf); len(frame) != 1 || err != nil {
		t.Errorf("%d bytes, %v", len(frame), err)
	}
}

// TestClose ends who waits.
func TestClose(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		_, err := l.Receive(Buffer())
		got <- err
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := l.Send(Buffer()); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
