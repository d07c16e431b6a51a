package pcap

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hv/test/hvrun"
)

var when = time.Unix(1700000000, 123456789)

func create(t testing.TB, longest uint32) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dump")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(f, longest, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return w, path
}

// frame is an ARP request, in pieces that begin in front of it.
func frame(n byte) [][]byte {
	f := append(bytes.Repeat([]byte{0xff}, 6), 0x52, 0x54, 0, 0, 0, n, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0, 0, n, 10, 0, 0, n, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9)
	all := append(make([]byte, 12), f...)
	return [][]byte{all[:5], all[5:12], all[12:20], all[20:]}
}

const frameLength = 12 + 42

// TestTcpdump has tcpdump read what several goroutines wrote.
func TestTcpdump(t *testing.T) {
	w, path := create(t, 65536)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 25 {
				w.Packet(when, frame(byte(25*i+j+1)), 12, frameLength)
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil || w.Lost() != 0 {
		t.Errorf("%v, %d lost", err, w.Lost())
	}
	w.Packet(when, frame(1), 12, frameLength) // after the end
	out, err := exec.Command(hvrun.Tool(t, "tcpdump"), "-enttr", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 100 {
		t.Fatalf("%d packets:\n%s", len(lines), out)
	}
	for n := 1; n <= 100; n++ {
		want := fmt.Sprintf("1700000000.123456 52:54:00:00:00:%02x > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request who-has 10.0.0.9 tell 10.0.0.%d, length 28", n, n)
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

// TestLengths keeps the beginnings of long packets, and takes pieces that are short.
func TestLengths(t *testing.T) {
	w, path := create(t, 20)
	w.Packet(when, frame(1), 12, frameLength)
	w.Packet(when, frame(1)[:3], 12, 8+12)
	w.Packet(when, nil, 12, 15)
	w.Packet(when, frame(1), 12, 12)
	w.Packet(when, frame(1), 12, 3)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) != fileHeader+3*recordHeader+20+8+3 || b[fileHeader+8] != 20 || b[fileHeader+12] != 42 {
		t.Errorf("%d bytes: %x, %v", len(b), b, err)
	}
}

// stuck is a file that takes nothing for a while.
type stuck struct {
	gate chan struct{}
	err  error
	n    int
}

func (s *stuck) Write(b []byte) (int, error) {
	if len(b) != fileHeader {
		<-s.gate
		if s.err != nil {
			return 0, s.err
		}
	}
	s.n += len(b)
	return len(b), nil
}

func (s *stuck) Close() error { return nil }

// TestSlow does not wait for a file, and leaves out what would grow without bound.
func TestSlow(t *testing.T) {
	f := &stuck{gate: make(chan struct{})}
	w, err := New(f, 65536, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	packet := [][]byte{make([]byte, 60000)}
	const n = 1000
	for range n {
		w.Packet(when, packet, 0, 60000)
	}
	if lost := w.Lost(); lost < n-2*room/60000-1 || lost >= n {
		t.Errorf("%d of %d are lost", lost, n)
	}
	close(f.gate)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if want := fileHeader + (n-int(w.Lost()))*(recordHeader+60000); f.n != want {
		t.Errorf("%d bytes, not %d", f.n, want)
	}
}

// TestFull says once that the file takes no more.
func TestFull(t *testing.T) {
	f := &stuck{gate: make(chan struct{}), err: errors.New("no space")}
	close(f.gate)
	failures := make(chan error, 10)
	w, err := New(f, 65536, func(err error) { failures <- err })
	if err != nil {
		t.Fatal(err)
	}
	w.Packet(when, frame(1), 12, frameLength)
	if err := <-failures; !errors.Is(err, f.err) {
		t.Error(err)
	}
	w.Packet(when, frame(1), 12, frameLength)
	if err := w.Close(); err != nil || len(failures) != 0 {
		t.Errorf("%v, %d more failures", err, len(failures))
	}
}

// BenchmarkPacket adds packets of 1500 bytes.
func BenchmarkPacket(b *testing.B) {
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	w, err := New(f, 65536, func(err error) { b.Error(err) })
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	packet := [][]byte{make([]byte, 12), make([]byte, 1500)}
	b.ReportAllocs()
	for b.Loop() {
		w.Packet(when, packet, 12, 1512)
	}
}
