package queue

import (
	"encoding/binary"

	"hv/hypervisor/mem"
)

// Descriptor flags (§2.7.5, §2.8.6).
const (
	flagNext     = 1
	flagWrite    = 2
	flagIndirect = 4

	descSize = 16

	noInterrupt = 1 // VIRTQ_AVAIL_F_NO_INTERRUPT
	noNotify    = 1 // VIRTQ_USED_F_NO_NOTIFY
)

// split is a split virtqueue. The available ring is flags, idx, ring[], used_event; the
// used ring flags, idx, ring[] of (id, len), avail_event.
type split struct {
	desc, avail, used mem.Ring
	size              uint16
	eventIdx          bool
	indirect          bool

	nextAvail uint16 // of the driver's next chain
	nextUsed  uint16 // where the next completion goes
	published uint16 // the used index that the driver sees
}

func newSplit(q *Queue) (*split, error) {
	n := uint64(q.cfg.Size)
	s := &split{size: q.cfg.Size, eventIdx: q.cfg.EventIdx, indirect: q.cfg.Indirect}
	var err error
	if s.desc, err = q.view("descriptor", q.cfg.Desc, descSize*n, 16); err != nil {
		return nil, err
	}
	if s.avail, err = q.view("driver", q.cfg.Driver, 6+2*n, 2); err != nil {
		return nil, err
	}
	if s.used, err = q.view("device", q.cfg.Device, 6+8*n, 4); err != nil {
		return nil, err
	}
	// A queue that is started in the middle of its life goes on where it was.
	s.nextUsed = s.used.Load16(2)
	s.published = s.nextUsed
	s.nextAvail = s.nextUsed
	return s, nil
}

func (s *split) slot(i uint16) int { return int(i & (s.size - 1)) }

func (s *split) pop(q *Queue, c *Chain) (bool, error) {
	idx := s.avail.Load16(2)
	if idx == s.nextAvail {
		return false, nil
	}
	if idx-s.nextAvail > s.size {
		return false, q.fail("available index jumped from %d to %d", s.nextAvail, idx)
	}
	head := s.avail.Load16(4 + 2*s.slot(s.nextAvail))
	c.ID = head
	if err := s.walk(q, c, head); err != nil {
		return false, err
	}
	s.nextAvail++
	return true, nil
}

// walk follows a chain from its head. A loop ends at the queue's size.
func (s *split) walk(q *Queue, c *Chain, i uint16) error {
	for {
		if i >= s.size {
			return q.fail("descriptor %d of %d", i, s.size)
		}
		off := descSize * int(i)
		addr, size := s.desc.Load64(off), s.desc.Load32(off+8)
		flags, next := s.desc.Load16(off+12), s.desc.Load16(off+14)
		if flags&flagIndirect != 0 {
			if flags&flagNext != 0 {
				return q.fail("indirect descriptor with a next one")
			}
			return s.walkTable(q, c, addr, size)
		}
		if err := q.add(c, addr, size, flags&flagWrite != 0); err != nil {
			return err
		}
		if flags&flagNext == 0 {
			return nil
		}
		i = next
	}
}

// walkTable follows a chain in a table of its own.
func (s *split) walkTable(q *Queue, c *Chain, addr uint64, size uint32) error {
	table, err := q.table(addr, size, s.indirect)
	if err != nil {
		return err
	}
	var d [descSize]byte
	for i := 0; ; {
		if i >= len(table)/descSize {
			return q.fail("indirect descriptor %d of %d", i, len(table)/descSize)
		}
		copy(d[:], table[descSize*i:])
		flags := binary.LittleEndian.Uint16(d[12:])
		if flags&flagIndirect != 0 {
			return q.fail("indirect descriptor in an indirect table")
		}
		if err := q.add(c, binary.LittleEndian.Uint64(d[:]), binary.LittleEndian.Uint32(d[8:]), flags&flagWrite != 0); err != nil {
			return err
		}
		if flags&flagNext == 0 {
			return nil
		}
		i = int(binary.LittleEndian.Uint16(d[14:]))
	}
}

// table returns an indirect descriptor table.
func (q *Queue) table(addr uint64, size uint32, negotiated bool) ([]byte, error) {
	if !negotiated {
		return nil, q.fail("indirect descriptor without the feature")
	}
	if size == 0 || size%descSize != 0 {
		return nil, q.fail("indirect table of %d bytes", size)
	}
	b, err := q.mem.Slice(addr, uint64(size))
	if err != nil {
		return nil, q.fail("indirect table: %v", err)
	}
	return b, nil
}

func (s *split) pending() bool { return s.avail.Load16(2) != s.nextAvail }

func (s *split) unpop(*Chain) { s.nextAvail-- }

func (s *split) push(c *Chain, written uint32) {
	off := 4 + 8*s.slot(s.nextUsed)
	s.used.Store32(off, uint32(c.ID))
	s.used.Store32(off+4, written)
	s.nextUsed++
}

func (s *split) publish() bool {
	old := s.published
	if old == s.nextUsed {
		return false
	}
	s.used.Store16(2, s.nextUsed)
	s.published = s.nextUsed
	// The index must be out before what suppresses interrupts is read.
	mem.Fence()
	if s.eventIdx {
		return wants(s.avail.Load16(4+2*int(s.size)), s.nextUsed, old)
	}
	return s.avail.Load16(0)&noInterrupt == 0
}

func (s *split) kicks(on bool) bool {
	if s.eventIdx {
		// Without a newer event index the driver stays silent: nothing to do.
		if on {
			s.used.Store16(4+8*int(s.size), s.nextAvail)
		}
	} else {
		flags := uint16(noNotify)
		if on {
			flags = 0
		}
		s.used.Store16(0, flags)
	}
	if !on {
		return false
	}
	mem.Fence()
	return s.pending()
}
