package virtiomem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Types of requests and responses, and states (§5.15.6).
const (
	reqPlug      = 0
	reqUnplug    = 1
	reqUnplugAll = 2
	reqState     = 3

	respACK   = 0
	respNACK  = 1
	respBusy  = 2
	respError = 3

	statePlugged   = 0
	stateUnplugged = 1
	stateMixed     = 2

	reqSize  = 24
	respSize = 10
)

var (
	errShort = errors.New("request or room for its response is too short")
	errType  = errors.New("unknown type of request")
)

// serve handles all requests that there are.
func (d *Device) serve() {
	if err := d.queue.Each(&d.chain, d.request); err != nil {
		d.tell.NeedsReset(err)
	}
}

// request handles the request in the chain.
func (d *Device) request() (written uint32, err error) {
	var req [reqSize]byte
	if d.chain.OutLen() < reqSize || d.chain.InLen() < respSize {
		return 0, errShort
	}
	d.chain.CopyOut(req[:], 0)
	le := binary.LittleEndian
	addr, blocks := le.Uint64(req[8:]), le.Uint16(req[16:])
	var resp [respSize]byte
	var answer, state uint16
	switch typ := le.Uint16(req[:]); typ {
	case reqPlug:
		answer = d.change(addr, blocks, true)
	case reqUnplug:
		answer = d.change(addr, blocks, false)
	case reqUnplugAll:
		if d.UnplugAll() != nil {
			answer = respBusy
		}
	case reqState:
		answer, state = d.state(addr, blocks)
	default:
		return 0, fmt.Errorf("%w: %d", errType, typ)
	}
	le.PutUint16(resp[:], answer)
	le.PutUint16(resp[8:], state)
	d.chain.CopyIn(resp[:], 0)
	return respSize, nil
}

// find returns the blocks from first to last, if they are some that are usable. work is
// held.
func (d *Device) find(addr uint64, blocks uint16) (first, last uint64, ok bool) {
	d.mu.Lock()
	usable := d.usable
	d.mu.Unlock()
	off := addr - d.cfg.Addr
	if addr < d.cfg.Addr || off%d.cfg.Block != 0 || blocks == 0 {
		return 0, 0, false
	}
	first, last = off/d.cfg.Block, off/d.cfg.Block+uint64(blocks)
	return first, last, last <= usable/d.cfg.Block
}

// change plugs or unplugs blocks, which all have to be in the other state.
func (d *Device) change(addr uint64, blocks uint16, plug bool) uint16 {
	d.work.Lock()
	defer d.work.Unlock()
	first, last, ok := d.find(addr, blocks)
	if !ok {
		return respError
	}
	n := (last - first) * d.cfg.Block
	d.mu.Lock()
	tooMuch := plug && d.size+n > d.requested
	d.mu.Unlock()
	switch {
	case tooMuch:
		return respNACK
	case slices.Contains(d.plugged[first:last], plug):
		return respError
	case d.move(first*d.cfg.Block, n, plug) != nil:
		return respBusy
	}
	for i := range d.plugged[first:last] {
		d.plugged[first+uint64(i)] = plug
	}
	d.mu.Lock()
	if plug {
		d.size += n
	} else {
		d.size -= n
	}
	size := d.size
	d.mu.Unlock()
	d.cfg.Changed(size)
	return respACK
}

// move takes memory from the host, or gives it back.
func (d *Device) move(off, n uint64, plug bool) error {
	if !plug {
		return d.cfg.Memory.Discard(off, n)
	}
	if !d.cfg.Prealloc {
		return nil
	}
	if err := d.cfg.Memory.Populate(off, n); err != nil {
		return errors.Join(err, d.cfg.Memory.Discard(off, n)) // a part of it may have come
	}
	return nil
}

// state tells whether blocks are plugged.
func (d *Device) state(addr uint64, blocks uint16) (answer, state uint16) {
	d.work.Lock()
	defer d.work.Unlock()
	first, last, ok := d.find(addr, blocks)
	if !ok {
		return respError, 0
	}
	in, out := slices.Contains(d.plugged[first:last], true), slices.Contains(d.plugged[first:last], false)
	switch {
	case in && out:
		return respACK, stateMixed
	case out:
		return respACK, stateUnplugged
	}
	return respACK, statePlugged
}

// UnplugAll unplugs everything, as the guest asks or as a reset of the machine does, and
// makes no more usable than is requested.
func (d *Device) UnplugAll() error {
	d.work.Lock()
	defer d.work.Unlock()
	if err := d.cfg.Memory.Discard(0, d.cfg.Region); err != nil {
		return fmt.Errorf("unplug all memory: %w", err)
	}
	clear(d.plugged)
	d.mu.Lock()
	had := d.size
	d.size = 0
	d.usable = d.extent(d.requested)
	d.mu.Unlock()
	if had > 0 {
		d.cfg.Changed(0)
	}
	return nil
}
