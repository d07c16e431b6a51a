package virtioscsi

import (
	"encoding/binary"

	"hv/devices/scsi"
	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

// Control requests (virtio 1.2 §5.6.6.2).
const (
	controlTMF       = 0
	controlQuery     = 1
	controlSubscribe = 2

	tmfSize      = 24 // type, function, address, tag
	anSize       = 16 // type, address, events
	anAnswerSize = 5  // events, response
)

// Task management functions.
const (
	tmfAbortTask = iota
	tmfAbortTaskSet
	tmfClearACA
	tmfClearTaskSet
	tmfNexusReset
	tmfUnitReset
	tmfQueryTask
	tmfQueryTaskSet
)

// control serves the queues for control and events.
type control struct {
	dev              *Device
	requests, events *virtio.Queue // nil if the driver has none
	tell             virtio.Transport
	chain            queue.Chain
}

func (c *control) pump() (*pump.Pump, error) {
	var sources []pump.Source
	if c.requests != nil {
		sources = append(sources, pump.Source{FD: c.requests.Kick, Kick: true, Ready: func(int16) { c.serve() }})
	}
	if c.events != nil {
		sources = append(sources, pump.Source{FD: c.events.Kick, Kick: true, Ready: func(int16) { c.sendEvents() }})
	}
	return pump.New(sources, c.all, c.tell.NeedsReset)
}

func (c *control) all() {
	c.serve()
	c.sendEvents()
}

// serve answers control requests.
func (c *control) serve() {
	if c.requests == nil {
		return
	}
	if err := c.requests.Each(&c.chain, c.answer); err != nil {
		c.tell.NeedsReset(err)
	}
}

func (c *control) answer() (uint32, error) {
	var b [tmfSize]byte
	n := c.chain.CopyOut(b[:], 0)
	if n < 4 {
		return 0, errShape
	}
	le := binary.LittleEndian
	switch le.Uint32(b[:]) {
	case controlTMF:
		if n < tmfSize || c.chain.InLen() < 1 {
			return 0, errShape
		}
		response := c.dev.manage(le.Uint32(b[4:]), b[8:16], le.Uint64(b[16:]))
		return uint32(c.chain.CopyIn([]byte{response}, 0)), nil
	case controlQuery, controlSubscribe:
		if n < anSize || c.chain.InLen() < anAnswerSize {
			return 0, errShape
		}
		// Units have no events that could be asked for.
		return uint32(c.chain.CopyIn(make([]byte, anAnswerSize), 0)), nil
	}
	return 0, nil
}

// manage carries out a task management function.
func (d *Device) manage(function uint32, addr []byte, tag uint64) uint8 {
	target, lun, valid := address(addr)
	unit, other := d.bus.At(target, lun)
	one := &tag
	switch function {
	case tmfNexusReset:
		d.bus.ResetTarget(target)
		return responseOK
	case tmfAbortTaskSet, tmfClearTaskSet, tmfQueryTaskSet:
		one = nil
	case tmfAbortTask, tmfQueryTask, tmfUnitReset:
	default: // there is no ACA
		return responseRejected
	}
	switch {
	case !valid || other == nil:
		return responseBadTarget
	case unit == nil:
		return responseIncorrect
	}
	switch function {
	case tmfUnitReset:
		d.bus.ResetUnit(unit)
	case tmfQueryTask, tmfQueryTaskSet:
		if d.bus.Has(unit, one) {
			return responseSucceeded
		}
	default:
		d.bus.Abort(unit, one)
	}
	return responseOK
}

// Events (§5.6.6.3).
const (
	eventMissed    = 1 << 31
	eventNone      = 0
	eventTransport = 1
	eventParam     = 3

	reasonRescan  = 1
	reasonRemoved = 2

	eventSize = 16
	maxEvents = 64
)

// events are those that the driver has no buffers for yet.
type events struct {
	waiting [][eventSize]byte
	missed  bool
}

// tellOf has the driver told of an event at a unit, if it wants to know.
func (d *Device) tellOf(feature uint64, event uint32, u *scsi.Unit, reason uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tell == nil || d.features&feature == 0 {
		return
	}
	if len(d.events.waiting) == maxEvents {
		d.events.missed = true
		return
	}
	var b [eventSize]byte
	a := u.Address()
	binary.LittleEndian.PutUint32(b[:], event)
	b[4], b[5] = lunSingle, byte(a.Target)
	binary.BigEndian.PutUint16(b[6:], uint16(a.LUN))
	if a.LUN > 255 {
		b[6] |= 0x40
	}
	binary.LittleEndian.PutUint32(b[12:], reason)
	d.events.waiting = append(d.events.waiting, b)
	d.WakeWorkers()
}

// Plugged tells the driver of a new unit.
func (d *Device) Plugged(u *scsi.Unit) {
	d.bus.Relist(u.Address().Target)
	d.tellOf(featureHotplug, eventTransport, u, reasonRescan)
}

// Unplugged tells the driver that a unit has gone.
func (d *Device) Unplugged(u *scsi.Unit) {
	d.tellOf(featureHotplug, eventTransport, u, reasonRemoved)
	d.bus.Relist(u.Address().Target)
}

// Changed tells the driver that a unit has changed.
func (d *Device) Changed(u *scsi.Unit, s scsi.Sense) {
	d.tellOf(featureChange, eventParam, u, uint32(s.ASC)|uint32(s.ASCQ)<<8)
}

// next returns the event to tell next; false if there is none.
func (d *Device) next() (b [eventSize]byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := &d.events
	switch {
	case len(e.waiting) > 0:
		b = e.waiting[0]
		e.waiting = e.waiting[:copy(e.waiting, e.waiting[1:])]
	case !e.missed:
		return b, false
	}
	if e.missed {
		b[3] |= eventMissed >> 24
		e.missed = false
	}
	return b, true
}

// pending reports whether there is an event to tell.
func (d *Device) pending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events.waiting) > 0 || d.events.missed
}

// sendEvents tells of what waits, as far as the driver has buffers.
func (c *control) sendEvents() {
	if c.events == nil {
		return
	}
	for c.dev.pending() {
		ok, err := c.events.Pop(&c.chain)
		if err != nil {
			c.tell.NeedsReset(err)
			return
		}
		if !ok {
			if c.events.EnableKicks() {
				continue
			}
			break
		}
		if c.chain.InLen() < eventSize {
			c.tell.NeedsReset(errShape)
			return
		}
		if b, ok := c.dev.next(); ok {
			c.events.Push(&c.chain, uint32(c.chain.CopyIn(b[:], 0)))
		}
	}
	c.events.Show()
}
