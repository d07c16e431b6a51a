package virtionet

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// parcel is a packet on its way through memory of our own: to another queue than the one that it came by, or
// until the guest has room for it.
type parcel struct {
	buf    []byte
	size   uint32 // of the packet with its header of 12 bytes
	hash   uint32
	report uint16 // what the hash is of
}

// boxSize is how many packets wait for a queue, and a pool keeps.
const boxSize = 64

// mailbox is where the workers of other queues leave packets.
type mailbox struct {
	mu      sync.Mutex
	parcels [boxSize]*parcel
	first   int
	count   int
}

// put adds a packet. first says that nothing waited before it, ok that there was room.
func (m *mailbox) put(p *parcel) (first, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == boxSize {
		return false, false
	}
	m.parcels[(m.first+m.count)%boxSize] = p
	m.count++
	return m.count == 1, true
}

// take returns the packet that waits longest, nil if there is none.
func (m *mailbox) take() *parcel {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == 0 {
		return nil
	}
	p := m.parcels[m.first]
	m.parcels[m.first] = nil
	m.first = (m.first + 1) % boxSize
	m.count--
	return p
}

// pool keeps parcels that nobody uses.
type pool struct {
	mu   sync.Mutex
	free []*parcel
}

func (p *pool) get() *parcel {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		v := p.free[n-1]
		p.free = p.free[:n-1]
		return v
	}
	return &parcel{buf: make([]byte, maxFrame)}
}

func (p *pool) put(v *parcel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < boxSize {
		p.free = append(p.free, v)
	}
}

// readParcel reads a packet and has the worker of its queue hold it.
func (r *receiver) readParcel() (n int, errno unix.Errno) {
	d := r.w.d
	p := d.parcels.get()
	n, errno = readv(r.w.fd, appendVecs(r.vecs[:0], [][]byte{p.buf}))
	if n <= 0 {
		d.parcels.put(p)
		return n, errno
	}
	p.size = uint32(n)
	if n < headerSize {
		r.tally.drop(DropMalformed)
		d.parcels.put(p)
		return n, 0
	}
	frame := p.buf[headerSize:n]
	if !r.admit(func() [][]byte { return [][]byte{p.buf} }, frame, p.size) {
		d.parcels.put(p)
		return n, 0
	}
	to := r.w
	if s := d.steering.Load(); s != nil {
		var pair int
		if pair, p.hash, p.report = s.place(frame); pair >= 0 {
			to = d.worker(pair)
		}
	} else {
		p.hash, p.report = 0, 0
	}
	r.pass(p, to)
	return n, 0
}

// pass gives a packet to the worker of its queue.
func (r *receiver) pass(p *parcel, to *worker) {
	if to == r.w {
		r.held = p
		return
	}
	first, ok := false, false
	if to != nil {
		first, ok = to.rx.box.put(p)
	}
	if !ok {
		r.tally.drop(DropQueueFull)
		r.w.d.parcels.put(p)
	}
	if first {
		to.pump.Wake()
	}
}

// fits reports whether the guest has room for the packet that is held. One that will never fit is dropped.
func (r *receiver) fits() bool {
	n := r.held.size + r.w.d.header() - headerSize
	for r.count == 0 || r.merge && r.room < n && r.count < maxStash {
		if !r.pop() {
			return false
		}
	}
	return true
}

// deliver copies the packet that is held to the guest's buffers.
func (r *receiver) deliver() {
	p, header := r.held, r.w.d.header()
	r.held = nil
	defer r.w.d.parcels.put(p)
	n := p.size + header - headerSize
	if n > r.room || !r.merge && n > r.stash[r.first].InLen() {
		r.tally.drop(DropTooLong)
		return
	}
	var wide [wideHeader]byte
	copy(wide[:], p.buf[:headerSize])
	binary.LittleEndian.PutUint32(wide[headerSize:], p.hash)
	binary.LittleEndian.PutUint16(wide[headerSize+4:], p.report)
	r.fill(0, wide[:header])
	r.fill(header, p.buf[headerSize:p.size])
	r.w.d.rxLimit.charge(p.size - headerSize)
	r.tally.count(p.size - headerSize)
	r.finish(n)
}

// fill copies bytes to the stash, from an offset on.
func (r *receiver) fill(off uint32, b []byte) {
	for i := 0; len(b) > 0; i++ {
		c := &r.stash[(r.first+i)%maxStash]
		if size := c.InLen(); off >= size {
			off -= size
			continue
		}
		b = b[c.CopyIn(b, off):]
		off = 0
	}
}
