// Package flow moves data of which every byte is known by its place, so that
// whoever receives it can tell a byte that is wrong, lost or out of place: streams both
// ways at once, and datagrams that are sent back. Tests of networking have one end
// in the guest and the other here.
//
// Functions may run at the same time on connections of their own. The package depends on
// nothing of ours.
package flow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const blockSize = 64 << 10

// word is what stands at the i-th eight bytes of a stream (splitmix64).
func word(stream, i uint64) uint64 {
	z := stream*0xd1342543de82ef95 + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Fill writes a stream's bytes from an offset on, a multiple of eight.
func Fill(b []byte, stream, off uint64) {
	var last [8]byte
	for i := off / 8; len(b) > 0; i++ {
		if len(b) >= 8 {
			binary.LittleEndian.PutUint64(b, word(stream, i))
			b = b[8:]
			continue
		}
		binary.LittleEndian.PutUint64(last[:], word(stream, i))
		b = b[copy(b, last[:]):]
	}
}

// Check compares bytes with those of a stream from an offset on.
func Check(b []byte, stream, off uint64) error {
	skip := off % 8
	want := make([]byte, uint64(len(b))+skip)
	Fill(want, stream, off-skip)
	want = want[skip:]
	if bytes.Equal(b, want) {
		return nil
	}
	for i := range b {
		if b[i] != want[i] {
			return fmt.Errorf("byte %d of stream %d is %#x, not %#x", off+uint64(i), stream, b[i], want[i])
		}
	}
	return nil
}

// Moved is how many bytes went each way.
type Moved struct{ Sent, Received uint64 }

// write sends a stream until it is told that it is enough, and ends that direction.
func write(c net.Conn, stream uint64, enough func() bool, sent *atomic.Uint64) error {
	b := make([]byte, blockSize)
	for off := uint64(0); !enough(); off += blockSize {
		Fill(b, stream, off)
		if _, err := c.Write(b); err != nil {
			return fmt.Errorf("after %d bytes: %w", off, err)
		}
		sent.Add(blockSize)
	}
	return c.(interface{ CloseWrite() error }).CloseWrite()
}

// read checks a stream to its end.
func read(c net.Conn, stream uint64) (uint64, error) {
	b := make([]byte, blockSize)
	off := uint64(0)
	for {
		n, err := c.Read(b)
		if bad := Check(b[:n], stream, off); bad != nil {
			return off, bad
		}
		off += uint64(n)
		if errors.Is(err, io.EOF) {
			return off, nil
		}
		if err != nil {
			return off, fmt.Errorf("after %d bytes: %w", off, err)
		}
	}
}

func both(c net.Conn, out, in uint64, enough func(read bool) bool) (m Moved, err error) {
	var sent atomic.Uint64
	var ended atomic.Bool
	wrote := make(chan error, 1)
	go func() { wrote <- write(c, out, func() bool { return enough(ended.Load()) }, &sent) }()
	m.Received, err = read(c, in)
	ended.Store(true)
	if err != nil {
		c.Close()
	}
	err = errors.Join(err, <-wrote)
	m.Sent = sent.Load()
	return m, err
}

// Stream sends and receives for a time over a connection to Answer.
func Stream(c net.Conn, number uint64, d time.Duration) (Moved, error) {
	if err := binary.Write(c, binary.LittleEndian, number); err != nil {
		return Moved{}, err
	}
	end := time.Now().Add(d)
	return both(c, 2*number, 2*number+1, func(bool) bool { return time.Now().After(end) })
}

// Answer is the other end of Stream.
func Answer(c net.Conn) (Moved, error) {
	var number uint64
	if err := binary.Read(c, binary.LittleEndian, &number); err != nil {
		return Moved{}, err
	}
	return both(c, 2*number+1, 2*number, func(read bool) bool { return read })
}

// Echo sends datagrams back until its socket is closed.
func Echo(c net.PacketConn) {
	b := make([]byte, blockSize)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(b[:n], from)
	}
}

const (
	window  = 32 // datagrams on their way
	patient = 50 * time.Millisecond
)

// Datagrams sends datagrams of a size to an Echo for a time, some at once, and checks
// what comes back. The network may lose some.
func Datagrams(c net.Conn, size int, d time.Duration) (sent, back uint64, err error) {
	out, in := make([]byte, size), make([]byte, blockSize)
	end := time.Now().Add(d)
	for time.Now().Before(end) {
		for range window {
			binary.LittleEndian.PutUint64(out, sent)
			Fill(out[8:], sent, 0)
			if _, err := c.Write(out); err == nil {
				sent++
			}
		}
		for range window {
			if err := c.SetReadDeadline(time.Now().Add(patient)); err != nil {
				return sent, back, err
			}
			n, err := c.Read(in)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break // the rest is lost
			}
			if err != nil {
				continue // an ICMP message, while the other side is away
			}
			if n != size {
				return sent, back, fmt.Errorf("%d bytes came back instead of %d", n, size)
			}
			if err := Check(in[8:n], binary.LittleEndian.Uint64(in), 0); err != nil {
				return sent, back, err
			}
			back++
		}
	}
	return sent, back, nil
}
