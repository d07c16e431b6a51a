package queue

import (
	"encoding/binary"

	"hv/hypervisor/mem"
)

// Flags of packed descriptors and event suppression (§2.8.6, §2.8.10).
const (
	flagAvail = 1 << 7
	flagUsed  = 1 << 15

	eventEnable  = 0
	eventDisable = 1
	eventDesc    = 2
)

// position is a place in a packed ring with its wrap counter.
type position struct {
	index uint16
	wrap  bool
}

// advance moves on by n descriptors of a ring of size.
func (p *position) advance(n, size uint16) {
	if p.index += n; p.index >= size {
		p.index -= size
		p.wrap = !p.wrap
	}
}

// packed is a packed virtqueue.
type packed struct {
	desc, driver, device mem.Ring
	size                 uint16
	eventIdx, indirect   bool

	avail position // the driver's next chain
	used  position // where the next completion goes
	first position // the first completion that is not visible yet
	flags uint16   // of that one
	held  uint16   // completions that are not visible yet, in descriptors
}

func newPacked(q *Queue) (*packed, error) {
	p := &packed{size: q.cfg.Size, eventIdx: q.cfg.EventIdx, indirect: q.cfg.Indirect, avail: position{wrap: true}, used: position{wrap: true}}
	var err error
	if p.desc, err = q.view("descriptor", q.cfg.Desc, descSize*uint64(q.cfg.Size), 16); err != nil {
		return nil, err
	}
	if p.driver, err = q.view("driver", q.cfg.Driver, 4, 4); err != nil {
		return nil, err
	}
	p.device, err = q.view("device", q.cfg.Device, 4, 4)
	return p, err
}

// available reports whether a descriptor with flags is available at a wrap
// counter.
func available(flags uint16, wrap bool) bool {
	return (flags&flagAvail != 0) == wrap && (flags&flagUsed != 0) != wrap
}

func (p *packed) pop(q *Queue, c *Chain) (bool, error) {
	at := p.avail
	off := descSize * int(at.index)
	flags := p.desc.Load16(off + 14)
	if !available(flags, at.wrap) {
		return false, nil
	}
	for {
		addr, size := p.desc.Load64(off), p.desc.Load32(off+8)
		c.ID = p.desc.Load16(off + 12)
		if c.count++; c.count > p.size {
			return false, q.fail("chain is longer than the queue")
		}
		var err error
		if flags&flagIndirect != 0 {
			err = p.walkTable(q, c, addr, size, flags)
		} else {
			err = q.add(c, addr, size, flags&flagWrite != 0)
		}
		if err != nil {
			return false, err
		}
		at.advance(1, p.size)
		if flags&flagNext == 0 {
			break
		}
		off = descSize * int(at.index)
		flags = p.desc.Load16(off + 14)
	}
	p.avail = at
	return true, nil
}

// walkTable takes all descriptors of an indirect table, in their order (§2.8.7).
func (p *packed) walkTable(q *Queue, c *Chain, addr uint64, size uint32, flags uint16) error {
	if flags&flagNext != 0 || c.seen > 0 {
		return q.fail("indirect descriptor in a chain")
	}
	table, err := q.table(addr, size, p.indirect)
	if err != nil {
		return err
	}
	var d [descSize]byte
	for i := 0; i < len(table); i += descSize {
		copy(d[:], table[i:])
		write := binary.LittleEndian.Uint16(d[14:])&flagWrite != 0
		if err := q.add(c, binary.LittleEndian.Uint64(d[:]), binary.LittleEndian.Uint32(d[8:]), write); err != nil {
			return err
		}
	}
	return nil
}

func (p *packed) pending() bool {
	return available(p.desc.Load16(descSize*int(p.avail.index)+14), p.avail.wrap)
}

func (p *packed) unpop(c *Chain) {
	if p.avail.index < c.count {
		p.avail.index += p.size
		p.avail.wrap = !p.avail.wrap
	}
	p.avail.index -= c.count
}

// push writes a completion. The flags of the first one since the last publish
// wait for that: they are what the driver looks at.
func (p *packed) push(c *Chain, written uint32) {
	off := descSize * int(p.used.index)
	p.desc.Store32(off+8, written)
	p.desc.Store16(off+12, c.ID)
	flags := uint16(0)
	if p.used.wrap {
		flags = flagAvail | flagUsed
	}
	if c.inLen > 0 {
		flags |= flagWrite
	}
	if p.held == 0 {
		p.first, p.flags = p.used, flags
	} else {
		p.desc.Store16(off+14, flags)
	}
	p.held += c.count
	p.used.advance(c.count, p.size)
}

func (p *packed) publish() bool {
	if p.held == 0 {
		return false
	}
	p.desc.Store16(descSize*int(p.first.index)+14, p.flags)
	held := p.held
	p.held = 0
	mem.Fence()
	word := p.driver.Load32(0)
	switch uint16(word>>16) & 3 {
	case eventEnable:
		return true
	case eventDesc:
		if p.eventIdx {
			return p.passed(uint16(word), held)
		}
	}
	return false
}

// passed reports whether the last held completions passed the descriptor that
// the driver wants to hear of.
func (p *packed) passed(event, held uint16) bool {
	at := event & 0x7fff
	if (event>>15 != 0) != p.used.wrap {
		at -= p.size
	}
	return wants(at, p.used.index, p.used.index-held)
}

func (p *packed) kicks(on bool) bool {
	word := uint32(eventDisable) << 16
	if on {
		word = uint32(eventEnable) << 16
		if p.eventIdx {
			event := uint32(p.avail.index)
			if p.avail.wrap {
				event |= 1 << 15
			}
			word = event | eventDesc<<16
		}
	}
	p.device.Store32(0, word)
	if !on {
		return false
	}
	mem.Fence()
	return p.pending()
}
