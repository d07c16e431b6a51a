package netlab

import (
	"bytes"
	"fmt"
	"net"
	"time"
)

// IPv4 is the type of frames that Ping hears.
const IPv4 = 0x0800

const ethernet = 14

// Datagram returns a frame with a UDP datagram to the guest program's net.echo, numbered n and
// of a size.
func (s *Station) Datagram(guest net.HardwareAddr, n uint16, size int) []byte {
	f := s.Frame(guest, make([]byte, size-ethernet))
	f[12], f[13] = IPv4>>8, IPv4&0xff
	length := len(f) - ethernet
	copy(f[ethernet:], []byte{0x45, 0, byte(length >> 8), byte(length), byte(n >> 8), byte(n), 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15, 3, 232, 7, 208})
	f[ethernet+24], f[ethernet+25] = byte((length-20)>>8), byte(length-20)
	for i := ethernet + 28; i < len(f); i++ {
		f[i] = byte(i*7) ^ byte(n)
	}
	return f
}

// Ping sends a datagram to the guest program's net.echo and waits for it to come back, without a
// byte changed. It returns false when it has not in time.
func (s *Station) Ping(guest net.HardwareAddr, n uint16, size int, limit time.Duration) (bool, error) {
	out, in := s.Datagram(guest, n, size), make([]byte, 1<<16)
	if err := s.Send(out); err != nil {
		return false, err
	}
	end := time.Now().Add(limit)
	for {
		got, err := s.Receive(in, time.Until(end))
		if err != nil || got == 0 {
			return false, err
		}
		if back, err := answers(out, in[:got], guest); back || err != nil {
			return back, err
		}
	}
}

// answers reports whether a frame is the guest's answer to a datagram. It is an error if a
// byte of it has changed.
func answers(out, in []byte, guest net.HardwareAddr) (bool, error) {
	if len(in) < ethernet+28 || !bytes.Equal(in[6:12], guest) || !bytes.Equal(in[ethernet+4:ethernet+6], out[ethernet+4:ethernet+6]) {
		return false, nil // an answer that comes late
	}
	if !bytes.Equal(in[ethernet+28:], out[ethernet+28:]) {
		return false, fmt.Errorf("a datagram came back as % x", in)
	}
	return true, nil
}
