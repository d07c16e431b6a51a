package platform

// PS/2 replies and the commands that both devices share.
const (
	ps2Ack      = 0xfa
	ps2SelfTest = 0xaa
	ps2Echo     = 0xee
	ps2Resend   = 0xfe

	ps2GetID    = 0xf2
	ps2SetRate  = 0xf3
	ps2Enable   = 0xf4
	ps2Disable  = 0xf5
	ps2Defaults = 0xf6
	ps2Reset    = 0xff
)

// ps2Queue holds the replies of a device until the guest reads them; what does
// not fit is lost, as no driver asks for that much.
type ps2Queue struct {
	buf  [16]byte
	r, n int
}

func (q *ps2Queue) push(bytes ...byte) {
	for _, b := range bytes {
		if q.n < len(q.buf) {
			q.buf[(q.r+q.n)%len(q.buf)] = b
			q.n++
		}
	}
}

func (q *ps2Queue) pop() byte {
	b := q.buf[q.r]
	q.r = (q.r + 1) % len(q.buf)
	q.n--
	return b
}

// Keyboard commands.
const (
	kbdSetLEDs      = 0xed
	kbdScancodeSet  = 0xf0
	kbdTypematicAll = 0xfa
	kbdMakeBreak    = 0xfc

	kbdID          = 0xab
	kbdID2         = 0x83
	kbdIDTranslate = 0x41
)

// keyboard is an MF2 keyboard without keys.
type keyboard struct {
	queue     ps2Queue
	pending   byte // command that waits for its parameter, or 0
	set       byte // scancode set, 1 to 3
	translate bool // the controller translates set 2 to set 1
}

func (k *keyboard) reset() { k.set, k.pending, k.queue = 2, 0, ps2Queue{} }

func (k *keyboard) write(v byte) {
	pending := k.pending
	k.pending = 0
	k.queue = ps2Queue{} // a new command cancels the last one's reply
	switch pending {
	case kbdScancodeSet:
		k.scancodeSet(v)
	case kbdSetLEDs, ps2SetRate, kbdMakeBreak:
		k.queue.push(ps2Ack)
	default:
		k.command(v)
	}
}

func (k *keyboard) command(v byte) {
	switch v {
	case ps2GetID:
		id := byte(kbdID2)
		if k.translate {
			id = kbdIDTranslate
		}
		k.queue.push(ps2Ack, kbdID, id)
	case ps2Echo:
		k.queue.push(ps2Echo)
	case kbdScancodeSet, kbdSetLEDs, ps2SetRate, kbdMakeBreak:
		k.pending = v
		k.queue.push(ps2Ack)
	case 0, ps2Enable, kbdTypematicAll:
		k.queue.push(ps2Ack)
	case ps2Disable, ps2Defaults:
		k.reset()
		k.queue.push(ps2Ack)
	case ps2Reset:
		k.reset()
		k.queue.push(ps2Ack, ps2SelfTest)
	default:
		k.queue.push(ps2Resend)
	}
}

// scancodeSet chooses a scancode set, or with 0 reports it.
func (k *keyboard) scancodeSet(v byte) {
	switch {
	case v == 0 && k.translate:
		k.queue.push(ps2Ack, [4]byte{0, 0x43, 0x41, 0x3f}[k.set])
	case v == 0:
		k.queue.push(ps2Ack, k.set)
	case v <= 3:
		k.set = v
		k.queue.push(ps2Ack)
	default:
		k.queue.push(ps2Resend)
	}
}

// Mouse commands and status bits.
const (
	mouseScale11   = 0xe6
	mouseScale21   = 0xe7
	mouseSetRes    = 0xe8
	mouseStatus    = 0xe9
	mouseStream    = 0xea
	mousePoll      = 0xeb
	mouseResetWrap = 0xec
	mouseSetWrap   = 0xee
	mouseRemote    = 0xf0

	mouseIsScale21 = 0x10
	mouseIsEnabled = 0x20
	mouseIsRemote  = 0x40

	mouseTypeIMPS2 = 3
	mouseTypeIMEX  = 4
)

// mouse is an IntelliMouse Explorer at rest.
type mouse struct {
	queue   ps2Queue
	pending byte
	status  byte
	res     byte
	rate    byte
	kind    byte    // 0 until the driver knocks for more
	rates   [3]byte // the last sample rates set, the knock
	wrap    bool
}

func (m *mouse) reset() { *m = mouse{res: 2, rate: 100} }

func (m *mouse) write(v byte) {
	pending := m.pending
	m.pending = 0
	switch {
	case pending == ps2SetRate:
		m.setRate(v)
	case pending == mouseSetRes:
		m.res = v
		m.queue.push(ps2Ack)
	case m.wrap && v == mouseResetWrap:
		m.wrap = false
		m.queue.push(ps2Ack)
	case m.wrap && v != ps2Reset:
		m.queue.push(v)
	case v == ps2Reset:
		m.reset()
		m.queue.push(ps2Ack, ps2SelfTest, 0)
	default:
		m.command(v)
	}
}

// setRate sets the sample rate. Three special ones in a row change what the
// mouse says it is.
func (m *mouse) setRate(v byte) {
	m.rate = v
	m.rates = [3]byte{m.rates[1], m.rates[2], v}
	switch m.rates {
	case [3]byte{200, 100, 80}:
		m.kind = mouseTypeIMPS2
	case [3]byte{200, 200, 80}:
		m.kind = mouseTypeIMEX
	}
	m.queue.push(ps2Ack)
}

func (m *mouse) command(v byte) {
	switch v {
	case mouseScale11:
		m.status &^= mouseIsScale21
	case mouseScale21:
		m.status |= mouseIsScale21
	case mouseStream:
		m.status &^= mouseIsRemote
	case mouseRemote:
		m.status |= mouseIsRemote
	case mouseSetWrap:
		m.wrap = true
	case ps2Enable:
		m.status |= mouseIsEnabled
	case ps2Disable:
		m.status &^= mouseIsEnabled
	case ps2Defaults:
		m.status, m.res, m.rate = 0, 2, 100
	case ps2SetRate, mouseSetRes:
		m.pending = v
	case ps2GetID, mouseStatus, mousePoll:
	default:
		return // as QEMU's mouse does, leave the driver to its timeout
	}
	m.queue.push(ps2Ack)
	m.report(v)
}

// report appends the data that some commands ask for.
func (m *mouse) report(v byte) {
	switch v {
	case ps2GetID:
		m.queue.push(m.kind)
	case mouseStatus:
		m.queue.push(m.status, m.res, m.rate)
	case mousePoll:
		const alwaysOne = 0x08
		m.queue.push(alwaysOne, 0, 0)
		if m.kind != 0 {
			m.queue.push(0)
		}
	}
}
