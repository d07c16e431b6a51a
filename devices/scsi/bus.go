package scsi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Limits of a bus.
const (
	MaxTarget = 255
	MaxLUN    = 16383
)

// Bus is the units that a host adapter has.
type Bus struct {
	host Host

	mu     sync.Mutex // of changes
	paused bool
	// units is what there is. It is replaced, not changed.
	units atomic.Pointer[[]*Unit]
}

// NewBus returns an empty bus.
func NewBus(h Host) *Bus {
	b := &Bus{host: h}
	b.units.Store(&[]*Unit{})
	return b
}

// Units returns the units by target and number.
func (b *Bus) Units() []*Unit { return *b.units.Load() }

// At returns the unit with an address, nil if there is none, and another unit of the same
// target, nil if there is no such target.
func (b *Bus) At(target, lun uint32) (unit, other *Unit) {
	for _, u := range b.Units() {
		if u.cfg.Target != target {
			continue
		}
		if u.cfg.LUN == lun {
			return u, u
		}
		if other == nil {
			other = u
		}
	}
	return nil, other
}

// Add puts a unit where its configuration says, or where there is room.
func (b *Bus) Add(u *Unit) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := &u.cfg.Address
	switch {
	case a.Channel != 0:
		return fmt.Errorf("bad scsi channel id: %d", a.Channel)
	case a.Target != anywhere && a.Target > MaxTarget:
		return fmt.Errorf("bad scsi device id: %d", a.Target)
	case a.LUN != anywhere && a.LUN > MaxLUN:
		return fmt.Errorf("bad scsi device lun: %d", a.LUN)
	}
	if err := b.choose(a); err != nil {
		return err
	}
	units := append(slices.Clone(b.Units()), u)
	slices.SortFunc(units, func(x, y *Unit) int {
		return int(x.cfg.Target<<16|x.cfg.LUN) - int(y.cfg.Target<<16|y.cfg.LUN)
	})
	u.begin(b.host, b.paused)
	b.units.Store(&units)
	return nil
}

// choose completes an address.
func (b *Bus) choose(a *Address) error {
	free := func(target, lun uint32) bool { u, _ := b.At(target, lun); return u == nil }
	switch {
	case a.Target == anywhere:
		if a.LUN == anywhere {
			a.LUN = 0
		}
		for t := range uint32(MaxTarget + 1) {
			if free(t, a.LUN) {
				a.Target = t
				return nil
			}
		}
		return errors.New("no free target")
	case a.LUN == anywhere:
		for l := range uint32(MaxLUN + 1) {
			if free(a.Target, l) {
				a.LUN = l
				return nil
			}
		}
		return errors.New("no free lun")
	}
	if !free(a.Target, a.LUN) {
		return errors.New("lun already used by another device")
	}
	return nil
}

// Remove takes a unit off the bus, with its tasks aborted.
func (b *Bus) Remove(u *Unit) {
	b.mu.Lock()
	units := slices.DeleteFunc(slices.Clone(b.Units()), func(x *Unit) bool { return x == u })
	b.units.Store(&units)
	b.mu.Unlock()
	u.leave()
}

// Relist tells the driver that a target has other units than before.
func (b *Bus) Relist(target uint32) {
	for _, u := range b.Units() {
		if u.cfg.Target == target {
			u.mu.Lock()
			u.attend(senseUnitsChanged)
			u.mu.Unlock()
		}
	}
}

// Pause returns once no unit has a request under way.
func (b *Bus) Pause() { b.set(true, (*Unit).Pause) }

// Resume undoes Pause.
func (b *Bus) Resume() { b.set(false, (*Unit).Resume) }

func (b *Bus) set(paused bool, f func(*Unit)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = paused
	for _, u := range b.Units() {
		f(u)
	}
}

// Reset resets all units; all tasks are done when it returns.
func (b *Bus) Reset() {
	for _, u := range b.Units() {
		u.reset()
	}
}

// ResetTarget resets the units of a target.
func (b *Bus) ResetTarget(target uint32) {
	for _, u := range b.Units() {
		if u.cfg.Target == target {
			u.reset()
		}
	}
}

// ResetUnit resets one unit.
func (b *Bus) ResetUnit(u *Unit) { u.reset() }

// Abort ends tasks of a unit: the one with a tag, or all if tag is nil. It returns once
// they have ended.
func (b *Bus) Abort(u *Unit, tag *uint64) {
	u.abort(Aborted, func(t *Task) bool { return tag == nil || t.Tag == *tag })
}

// Has reports whether a unit has the task with a tag, or any if tag is nil.
func (b *Bus) Has(u *Unit, tag *uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.tasks, func(t *Task) bool { return tag == nil || t.Tag == *tag })
}

// Submit gives a task to the unit of a target that it is for. It comes back by the host's
// Done, maybe before Submit returns; Settle is then the caller's.
func (b *Bus) Submit(target uint32, t *Task) {
	u, other := b.At(target, t.LUN)
	t.Outcome, t.Status, t.Sense, t.Moved = Done, Good, senseNone, 0
	switch {
	case other == nil:
		t.Outcome = NoTarget
		b.host.Done(t)
	case u == nil:
		b.answerFor(other, t)
	case t.CDB[0] == opReportLUNs:
		b.reportLUNs(u, t)
	default:
		b.forUnit(u, t)
	}
}

func (b *Bus) forUnit(u *Unit, t *Task) {
	t.cmd, t.xfer = find(t.cdb(), u.kind == typeCD), 0
	if t.cmd != nil {
		t.xfer = t.cmd.transfer(t.cdb(), u.block)
		if !t.fits() {
			t.Outcome = Overrun
			b.host.Done(t)
			return
		}
	}
	if !u.submitTask(t) {
		t.Outcome = NoTarget
		b.host.Done(t)
	}
}

const (
	opInquiry      = 0x12
	opRequestSense = 0x03
	opReportLUNs   = 0xa0
)

// answerFor answers a task for a unit that a target does not have.
func (b *Bus) answerFor(other *Unit, t *Task) {
	cdb := t.cdb()
	switch {
	case len(cdb) >= 12 && cdb[0] == opReportLUNs && t.LUN == 0:
		b.reportLUNs(other, t)
		return
	case len(cdb) >= 6 && cdb[0] == opInquiry && cdb[1]&3 == 0 && cdb[2] == 0:
		answer := [36]byte{0: 0x7f, 2: 5, 3: 0x12, 4: 31, 7: 0x12} // there can be no unit
		if t.LUN == 0 {
			answer[0] = 0x3f // there is none
		}
		pad(answer[8:16], "QEMU")
		pad(answer[16:32], "QEMU TARGET")
		copy(answer[32:], "2.5")
		b.answer(t, answer[:], uint64(binary.BigEndian.Uint16(cdb[3:])))
		return
	case len(cdb) >= 6 && cdb[0] == opRequestSense:
		s := senseNoUnit.Fixed()
		b.answer(t, s[:], uint64(cdb[4]))
		return
	}
	t.Status, t.Sense = CheckCondition, senseNoUnit
	b.host.Done(t)
}

// answer ends a task with data, as much as most says.
func (b *Bus) answer(t *Task, data []byte, most uint64) {
	if most > size(t.In) {
		t.Outcome = Overrun
		b.host.Done(t)
		return
	}
	data = data[:min(uint64(len(data)), most)]
	for _, to := range t.In {
		n := copy(to, data)
		data = data[n:]
		t.Moved += uint32(n)
	}
	b.host.Done(t)
}

// reportLUNs lists the units of a target.
func (b *Bus) reportLUNs(u *Unit, t *Task) {
	cdb := t.cdb()
	if len(cdb) < 12 || cdb[2] > 2 || lengthOf(cdb) < 16 {
		t.Status, t.Sense = CheckCondition, senseBadField
		b.host.Done(t)
		return
	}
	list := make([]byte, 16) // unit 0 is always listed
	for _, x := range b.Units() {
		if n := x.cfg.LUN; x.cfg.Target == u.cfg.Target && n != 0 {
			var e [8]byte
			if n < 256 {
				e[1] = byte(n)
			} else {
				binary.BigEndian.PutUint16(e[:], 0x4000|uint16(n))
			}
			list = append(list, e[:]...)
		}
	}
	binary.BigEndian.PutUint32(list, uint32(len(list)-8))
	b.answer(t, list, lengthOf(cdb))
}
