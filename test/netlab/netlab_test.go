package netlab

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// TestLab passes a frame each way through a macvtap, whose other side is this test.
func TestLab(t *testing.T) {
	const mac = "52:54:00:00:00:01"
	l := New(t, "hvlab")
	tap := l.Macvtap(t, "hvlabtap", "bridge", mac, 1)[0]
	far := l.Station(t, Ether)
	guest, _ := net.ParseMAC(mac)

	const header = 10 // macvtap's own, unless it is asked for more
	frame := far.Frame(guest, []byte("to the guest"))
	if err := far.Send(frame); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, err := tap.Read(b)
	if err != nil || n < header || !bytes.Equal(b[header:n], frame) {
		t.Fatalf("the guest's side got % x, %v", b[:n], err)
	}
	copy(frame, append(append([]byte{}, far.MAC...), guest...))
	if _, err := tap.Write(append(make([]byte, header), frame...)); err != nil {
		t.Fatal(err)
	}
	if n, err = far.Receive(b, time.Minute); err != nil || !bytes.Equal(b[:n], frame) {
		t.Fatalf("the far side got % x, %v", b[:n], err)
	}
	out, err := l.Command("ip", "-br", "link", "show", l.Far).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("UP")) {
		t.Errorf("%s: %v", out, err)
	}
}

func TestTagged(t *testing.T) {
	s := Station{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
	f := Tagged(s.Frame(net.HardwareAddr{2, 0, 0, 0, 0, 1}, []byte("x")), 0x123)
	want := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 1, 0x23, 0x88, 0xb5, 'x'}
	if !bytes.HasPrefix(f, want) || len(f) != 64 {
		t.Errorf("% x", f)
	}
}
