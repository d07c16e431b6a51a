// Package pcap writes packets into a file that tcpdump and its like read.
//
// Packet may be called by any number of goroutines and never waits for the file: what does not
// fit a buffer while the disk is slow is left out, and counted. A Writer has a goroutine that
// writes, which Close ends and waits for.
//
// Follows draft-ietf-opsawg-pcap. It depends on nothing of ours.
package pcap

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	magic        = 0xa1b2c3d4 // times in microseconds
	major, minor = 2, 4
	linkEthernet = 1

	fileHeader   = 24
	recordHeader = 16

	// room is how many bytes of packets may wait for the file.
	room = 4 << 20
)

// Writer writes a file.
type Writer struct {
	file    io.WriteCloser
	longest int
	failed  func(error)
	wake    chan struct{}
	done    chan struct{}
	lost    atomic.Uint64

	mu      sync.Mutex
	pending []byte
	spare   []byte
	closed  bool
	broken  bool
}

// New begins a file with packets of which at most longest bytes are kept. It takes the file over.
// failed is told, once, that no more can be written.
func New(file io.WriteCloser, longest uint32, failed func(error)) (*Writer, error) {
	var h [fileHeader]byte
	le := binary.LittleEndian
	le.PutUint32(h[0:], magic)
	le.PutUint16(h[4:], major)
	le.PutUint16(h[6:], minor)
	le.PutUint32(h[16:], longest)
	le.PutUint32(h[20:], linkEthernet)
	if _, err := file.Write(h[:]); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	w := &Writer{file: file, longest: int(min(longest, 1<<20)), failed: failed, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w, nil
}

// Packet adds a packet, that lies in pieces behind skip bytes of something else; it is n bytes
// long with those.
func (w *Writer) Packet(at time.Time, pieces [][]byte, skip, n int) {
	n -= skip
	if n <= 0 {
		return
	}
	kept := min(n, w.longest)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.broken {
		return
	}
	if len(w.pending)+recordHeader+kept > room {
		w.lost.Add(1)
		return
	}
	var h [recordHeader]byte
	le := binary.LittleEndian
	le.PutUint32(h[0:], uint32(at.Unix()))
	le.PutUint32(h[4:], uint32(at.Nanosecond()/1000))
	le.PutUint32(h[8:], uint32(kept))
	le.PutUint32(h[12:], uint32(n))
	w.pending = append(w.pending, h[:]...)
	for _, p := range pieces {
		cut := min(skip, len(p))
		skip -= cut
		p = p[cut:]
		p = p[:min(kept, len(p))]
		w.pending = append(w.pending, p...)
		kept -= len(p)
	}
	w.pending = append(w.pending, make([]byte, kept)...) // pieces that were too short
	w.ring()
}

// ring has the goroutine write.
func (w *Writer) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes what comes until the end.
func (w *Writer) run() {
	defer close(w.done)
	for range w.wake {
		for {
			b, last := w.take()
			if len(b) > 0 {
				if _, err := w.file.Write(b); err != nil {
					w.fail(err)
				}
			}
			if last {
				return
			}
			if len(b) == 0 {
				break
			}
		}
	}
}

// take returns what waits, and whether nothing will come after it.
func (w *Writer) take() (b []byte, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b = w.pending
	w.pending, w.spare = w.spare[:0], b
	return b, w.closed
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	first := !w.broken
	w.broken = true
	w.mu.Unlock()
	if first {
		w.failed(err)
	}
}

// Lost returns how many packets were left out.
func (w *Writer) Lost() uint64 { return w.lost.Load() }

// Close writes what waits and closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.ring()
	<-w.done
	return w.file.Close()
}
