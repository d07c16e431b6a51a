package scsi

// Tray is what became of a drive's tray and medium.
type Tray struct{ Open, Locked, Empty bool }

// Tray returns how things are.
func (d *Unit) Tray() Tray {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Tray{Open: d.open, Locked: d.locked, Empty: d.medium == nil}
}

// Removable reports whether the medium can be exchanged.
func (d *Unit) Removable() bool { return d.removable }

// RequestEject asks the guest to open the tray. With force its lock is no more.
func (d *Unit) RequestEject(force bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ejecting = true
	if force {
		d.locked = false
	}
}

// SetTray opens or closes the tray, as somebody at the drive does. The guest is told that
// there is no medium any more, and, if the tray closed, that there is a new one.
func (d *Unit) SetTray(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open, d.changed = open, !open
	d.attend(senseMediumGone)
	d.arrived, d.ejecting = true, false
}

// SetMedium exchanges the medium, nil for none. What is under way on the old one has ended
// when it returns.
func (d *Unit) SetMedium(m Medium) error {
	var err error
	d.still(func() {
		err = d.closeIO()
		d.mu.Lock()
		d.medium = m
		d.measure()
		d.mu.Unlock()
	})
	return err
}

// mediaEvent returns what happened last, which is thereby told, and how things are.
func (d *Unit) mediaEvent() (event, state byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return eventNone, mediaOpen
	}
	if d.medium != nil {
		state = mediaPresent
	}
	switch {
	case d.arrived:
		d.arrived = false
		return eventArrival, state
	case d.ejecting:
		d.ejecting = false
		return eventEject, state
	}
	return eventNone, state
}

// preventRemoval locks the tray, or unlocks it.
func (d *Unit) preventRemoval(t *Task) {
	d.mu.Lock()
	d.locked = t.CDB[4]&1 != 0
	d.mu.Unlock()
	d.good(t)
}

// startStop moves the tray if it is asked to: LOEJ, with START or without.
func (d *Unit) startStop(t *Task) {
	start, move := t.CDB[4]&1 != 0, t.CDB[4]&2 != 0
	if t.CDB[4]&0xf0 != 0 || !move || !d.removable {
		d.good(t)
		return
	}
	d.mu.Lock()
	stuck := !start && !d.open && d.locked
	moved := !stuck && d.open == start
	if moved {
		d.open = !start
	}
	empty := d.medium == nil
	d.mu.Unlock()
	if moved && d.hooks.Moved != nil {
		d.hooks.Moved(!start)
	}
	switch {
	case stuck && empty:
		d.fail(t, senseEmptyLocked)
	case stuck:
		d.fail(t, senseLocked)
	default:
		d.good(t)
	}
}

// attend has the next command fail with a unit attention. The caller holds mu.
func (d *Unit) attend(s Sense) {
	if s.before(d.attention) {
		d.attention = s
	}
}

// takeAttention returns the unit attention that waits, or that all units of the bus have.
func (d *Unit) takeAttention() (Sense, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.attention
	if s == senseNone {
		return s, false
	}
	d.attention = senseNone
	if d.changed {
		d.changed = false
		d.attend(senseMediumChanged)
	}
	return s, true
}

// Resized tells the guest that the medium has another size.
func (d *Unit) Resized() {
	d.mu.Lock()
	d.measure()
	if d.kind == typeDisk {
		d.attend(senseCapacityChanged)
	}
	d.mu.Unlock()
	if d.kind == typeDisk {
		d.host.Changed(d, senseCapacityChanged)
	}
}

// measure looks how large the medium is. The caller holds mu.
func (d *Unit) measure() {
	n := uint64(0)
	if d.medium != nil {
		n = d.medium.Size()
	}
	d.size.Store(n)
}

// available reports whether there is a medium, and the tray is closed.
func (d *Unit) available() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.medium != nil && !d.open
}

// blocks returns how many blocks the medium has.
func (d *Unit) blocks() uint64 { return d.size.Load() / d.block }
