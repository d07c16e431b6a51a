package guest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// wire is the other end of a QEMU socket netdev: frames behind their length.
type wire struct{ net.Conn }

func (w wire) send(parts ...[]byte) error {
	frame := bytes.Join(parts, nil)
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

func (w wire) receive() ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(w, n[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(n[:]))
	_, err := io.ReadFull(w, frame)
	return frame, err
}

// ask sends a frame and returns the bytes from from to to of the answer.
func (w wire) ask(from, to int, frame ...[]byte) ([]byte, error) {
	if err := w.send(frame...); err != nil {
		return nil, err
	}
	f, err := w.receive()
	if err == nil && len(f) < to {
		err = fmt.Errorf("answer %x is short", f)
	}
	if err != nil {
		return nil, err
	}
	return f[from:to], nil
}

var (
	host    = []byte{0x52, 0x54, 0, 0, 0, 0x77}
	station = []byte{0x52, 0x54, 0, 0xaa, 0xbb, 0xcc} // what the guest changes its address to
	hostIP  = []byte{10, 0, 2, 2}
	guestIP = []byte{10, 0, 2, 15}
)

// ipv4 returns an Ethernet frame with an IPv4 packet to the guest.
func ipv4(proto byte, payload []byte) []byte {
	h := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 1, 0, 0, 64, proto, 0, 0}
	return bytes.Join([][]byte{station, host, {8, 0}, h, hostIP, guestIP, payload}, nil)
}

// sum is the ones' complement sum of RFC 1071.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	s = s&0xffff + s>>16
	return uint16(s + s>>16)
}

// converse takes the guest's flood, then asks it by ARP, ping and UDP.
func converse(w wire) error {
	for i := range 300 {
		f, err := w.receive()
		if err != nil {
			return err
		}
		if len(f) != 100 || !bytes.Equal(f[6:14], append(bytes.Clone(station), 0x88, 0xb5)) || binary.BigEndian.Uint32(f[14:]) != uint32(i) {
			return fmt.Errorf("frame %d of the flood is %x", i, f)
		}
	}
	f, err := w.ask(0, 42, bytes.Repeat([]byte{0xff}, 6), host, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, host, hostIP, make([]byte, 6), guestIP)
	if err != nil || !bytes.Equal(f[:12], append(bytes.Clone(host), station...)) || !bytes.Equal(f[20:32], bytes.Join([][]byte{{0, 2}, station, guestIP}, nil)) {
		return fmt.Errorf("ARP answer %x: %v", f, err)
	}
	ping := []byte{8, 0, 0, 0, 0, 1, 0, 2, 'p', 'i', 'n', 'g'}
	binary.BigEndian.PutUint16(ping[2:], ^sum(ping))
	f, err = w.ask(34, 46, ipv4(1, ping))
	if err != nil || f[0] != 0 || sum(f) != 0xffff {
		return fmt.Errorf("ping answer %x: %v", f, err)
	}
	f, err = w.ask(34, 46, ipv4(17, []byte{3, 232, 7, 208, 0, 12, 0, 0, 'p', 'i', 'n', 'g'}))
	if err != nil || !bytes.Equal(f, []byte{7, 208, 3, 232, 0, 12, 0, 0, 'p', 'i', 'n', 'g'}) {
		return fmt.Errorf("UDP answer %x: %v", f, err)
	}
	for i := range 4 {
		if err := w.send(station, host, []byte{0x88, 0xb5}, make([]byte, 46+400*i)); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, w) // until the guest is gone
	return err
}

// serve converses with the first who connects.
func serve(l net.Listener) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	return converse(wire{c})
}

func TestNetAndRNG(t *testing.T) {
	for _, ring := range []string{"", "packed=1 irq=1", "indirect=1 mrg=0 event=0"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- serve(l) }()
		out, code := run(t, "net.info "+ring+"; net.ctrl mac=52:54:00:aa:bb:cc promisc=on allmulti=off uni=52:54:00:00:00:09 multi=01:00:5e:00:00:01 vlan.add=5 vlan.del=5; "+
			"net.flood n=300 size=100; net.echo n=3 ms=20000; net.rx n=4 ms=20000 dump=1; net.storm n=20 ms=20000; rng n=100; exit",
			"-netdev", "socket,id=n,connect="+l.Addr().String(), "-device", "virtio-net-pci,netdev=n,packed=on,mac=52:54:00:12:34:56,romfile=",
			"-device", "virtio-rng-pci")
		l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		want(t, out, `net\.info dev=0 mac=52:54:00:12:34:56 link=1 .*`, `net\.ctrl dev=0 mac=52:54:00:aa:bb:cc ack=0`, `net\.ctrl dev=0 promisc=on ack=0`,
			`net\.ctrl dev=0 uni=52:54:00:00:00:09 ack=0`, `net\.ctrl dev=0 vlan.del=5 ack=0`, `net\.flood dev=0 size=100 n=300 .*`,
			`net\.echo dev=0 answered=3`, `net\.rx frame .* type=0x88b5 size=1260`, `net\.rx dev=0 n=4 bytes=2640 .*`,
			`net\.storm dev=0 rounds=20 commands=59 refused=0 mac=52:54:01:00:00:14 vlan=21 .*`, `rng dev=0 n=100 .*`)
		if code != 0 {
			t.Errorf("%q: exit code %d:\n%s", ring, code, out)
		}
	}
}
