package vhostwire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// pair returns the two ends of a connection.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return ends[0], ends[1]
}

func TestMessages(t *testing.T) {
	a, b := pair(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Send(a, Message{Request: SetVringKick, Flags: FlagNeedAck, Payload: U64(3), FDs: []int{int(null.Fd())}}); err != nil {
		t.Fatal(err)
	}
	m, err := Receive(b)
	if err != nil || m.Request != SetVringKick || m.Flags&FlagNeedAck == 0 {
		t.Fatal(m, err)
	}
	if v, err := m.U64(); v != 3 || err != nil {
		t.Error(v, err)
	}
	fd := m.TakeFD()
	if unix.Close(fd) != nil || m.TakeFD() != -1 {
		t.Errorf("descriptor %d", fd)
	}
	if err := Reply(b, m, State(3, 7)); err != nil {
		t.Fatal(err)
	}
	if m, err = Receive(a); err != nil || m.Flags&FlagReply == 0 {
		t.Fatal(m, err)
	}
	if i, n, err := m.State(); i != 3 || n != 7 || err != nil {
		t.Error(i, n, err)
	}
	b.Close()
	if _, err := Receive(a); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	want := Addresses{1, 2, 3, 4, 5, 6}
	if got, err := ParseAddresses(want.Append(nil)); got != want || err != nil {
		t.Error(got, err)
	}
	if _, err := ParseAddresses(make([]byte, 39)); err == nil {
		t.Error("39 bytes were addresses")
	}
}

func TestRegions(t *testing.T) {
	want := []Region{{0, 4096, 1 << 40, 0}, {1 << 32, 8192, 1 << 41, 4096}}
	if got, err := ParseRegions(Regions(want)); err != nil || !reflect.DeepEqual(got, want) {
		t.Error(got, err)
	}
	if got, err := ParseSingleRegion(SingleRegion(want[1])); err != nil || got != want[1] {
		t.Error(got, err)
	}
	for name, b := range map[string][]byte{
		"short":         {1},
		"cut":           Regions(want)[:60],
		"too many":      Regions(make([]Region, MaxRegions+1)),
		"empty region":  Regions([]Region{{}}),
		"past the end":  Regions([]Region{{^uint64(0), 2, 0, 0}}),
		"offset beyond": Regions([]Region{{0, 1, 0, 1 << 62}}),
	} {
		if got, err := ParseRegions(b); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, err := ParseSingleRegion(make([]byte, 8)); err == nil {
		t.Error("no region was one")
	}
}

// tape is a connection from which bytes come, some at a time.
type tape struct {
	bytes.Reader
	step int
}

func (t *tape) Read(b []byte) (int, error)  { return t.Reader.Read(b[:min(len(b), t.step)]) }
func (t *tape) Write(b []byte) (int, error) { return len(b), nil }
func (t *tape) ReadMsgUnix(b, _ []byte) (int, int, int, *net.UnixAddr, error) {
	n, err := t.Read(b)
	return n, 0, 0, nil, err
}
func (t *tape) WriteMsgUnix(b, _ []byte, _ *net.UnixAddr) (int, int, error) { return len(b), 0, nil }

// FuzzReceive reads any bytes as messages until they end.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, uint8(3))
	f.Add([]byte{11, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 255, 255, 0, 0}, uint8(100))
	f.Add([]byte{1, 0, 0, 0, 5, 0, 0, 0, 255, 255, 255, 255}, uint8(12))
	f.Add([]byte{1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		c := &tape{*bytes.NewReader(b), int(step) + 1}
		for {
			m, err := Receive(c)
			if err != nil {
				return
			}
			if len(m.Payload) > maxPayload || len(m.FDs) > 0 {
				t.Fatalf("%d bytes, %d descriptors", len(m.Payload), len(m.FDs))
			}
			_, _, _ = m.State()
			_, _ = ParseRegions(m.Payload)
			_, _ = ParseAddresses(m.Payload)
			_, _ = ParseSingleRegion(m.Payload)
		}
	})
}
