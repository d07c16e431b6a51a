package platform

import (
	"sync"

	"hv/devices/bus"
	"hv/devices/irq"
)

// Ports, commands and bits of the controller (8042, IBM PS/2 technical
// reference).
const (
	i8042Data    = 0x60
	i8042Command = 0x64

	cmdReadMode      = 0x20
	cmdWriteMode     = 0x60
	cmdDisableAux    = 0xa7
	cmdEnableAux     = 0xa8
	cmdTestAux       = 0xa9
	cmdSelfTest      = 0xaa
	cmdTestKbd       = 0xab
	cmdDisableKbd    = 0xad
	cmdEnableKbd     = 0xae
	cmdReadInput     = 0xc0
	cmdReadOutput    = 0xd0
	cmdWriteOutput   = 0xd1
	cmdWriteKbdBuf   = 0xd2
	cmdWriteAuxBuf   = 0xd3
	cmdWriteAux      = 0xd4
	cmdDisableA20    = 0xdd
	cmdEnableA20     = 0xdf
	cmdPulse         = 0xf0 // to 0xff: pulses the low output bits that are zero
	cmdPulseResetBit = 1

	statusOutput   = 0x01
	statusSelfTest = 0x04
	statusCommand  = 0x08
	statusUnlocked = 0x10
	statusAux      = 0x20

	modeKbdInt     = 0x01
	modeAuxInt     = 0x02
	modeDisableKbd = 0x10
	modeDisableAux = 0x20
	modeTranslate  = 0x40

	outNotReset  = 0x01
	outA20       = 0x02
	outOutput    = 0x10
	outAuxOutput = 0x20
	outOnes      = 0xcc

	inputPort    = 0x80 // keyboard not locked
	selfTestDone = 0x55
)

// I8042Config describes the keyboard controller.
type I8042Config struct {
	KbdIRQ, AuxIRQ irq.Line // IRQ 1 and IRQ 12
	// Reset is called when the guest pulses the reset line.
	Reset func()
}

// I8042 is the keyboard controller with a PS/2 keyboard and mouse that nobody
// touches: they answer commands, and that is what drivers probe for.
type I8042 struct {
	cfg I8042Config

	mu      sync.Mutex
	status  byte // without the output buffer bits
	mode    byte // the command byte
	outport byte
	pending byte // command that waits for its parameter, or 0
	last    byte // what the data port reads as when there is nothing
	reply   byte // the controller's own byte
	replyTo source
	kbd     keyboard
	mouse   mouse
}

// source is where the byte in the output buffer comes from.
type source uint8

const (
	fromNone source = iota
	fromKbd
	fromAux
)

// NewI8042 returns a controller in its reset state.
func NewI8042(cfg I8042Config) *I8042 {
	k := &I8042{cfg: cfg}
	k.Reset()
	return k
}

// Map maps the data port 0x60 and the command port 0x64.
func (k *I8042) Map(ports *bus.Space) error {
	return mapAll(ports,
		portRange{i8042Data, 1, "i8042-data", dataPort{k}},
		portRange{i8042Command, 1, "i8042-cmd", commandPort{k}})
}

// Reset puts controller, keyboard and mouse into their power-on state.
func (k *I8042) Reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status = statusCommand | statusUnlocked
	k.mode = modeKbdInt | modeAuxInt
	k.outport = outNotReset | outA20 | outOnes
	k.pending, k.last, k.reply, k.replyTo = 0, 0, 0, fromNone
	k.kbd, k.mouse = keyboard{}, mouse{}
	k.kbd.reset()
	k.mouse.reset()
	k.update()
}

// dataPort is port 0x60.
type dataPort struct{ k *I8042 }

// Read takes the byte in the output buffer.
func (p dataPort) Read(_ uint64, data []byte) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	for i := range data {
		data[i] = p.k.take()
	}
}

// Write gives a parameter to a command, or a byte to the keyboard.
func (p dataPort) Write(_ uint64, data []byte) { p.k.write(data, (*I8042).parameter) }

// commandPort is port 0x64.
type commandPort struct{ k *I8042 }

// Read reads the status.
func (p commandPort) Read(_ uint64, data []byte) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	for i := range data {
		data[i] = p.k.statusByte()
	}
}

// Write gives the controller a command.
func (p commandPort) Write(_ uint64, data []byte) { p.k.write(data, (*I8042).command) }

// write has act take each byte; if one of them resets the machine, Reset is
// called once the lock is free.
func (k *I8042) write(data []byte, act func(*I8042, byte) (reset bool)) {
	k.mu.Lock()
	reset := false
	for _, v := range data {
		reset = act(k, v) || reset
		k.update()
	}
	k.mu.Unlock()
	if reset && k.cfg.Reset != nil {
		k.cfg.Reset()
	}
}

// source says whose byte is in the output buffer: the controller's first, then
// the keyboard's and the mouse's unless they are disabled.
func (k *I8042) source() source {
	switch {
	case k.replyTo != fromNone:
		return k.replyTo
	case k.kbd.queue.n > 0 && k.mode&modeDisableKbd == 0:
		return fromKbd
	case k.mouse.queue.n > 0 && k.mode&modeDisableAux == 0:
		return fromAux
	}
	return fromNone
}

func (k *I8042) statusByte() byte {
	switch k.source() {
	case fromKbd:
		return k.status | statusOutput
	case fromAux:
		return k.status | statusOutput | statusAux
	}
	return k.status
}

// take removes the byte in the output buffer. Both lines go down in between,
// so that the next byte makes another edge.
func (k *I8042) take() byte {
	k.cfg.KbdIRQ.Set(false)
	k.cfg.AuxIRQ.Set(false)
	switch s := k.source(); {
	case k.replyTo != fromNone:
		k.last, k.replyTo = k.reply, fromNone
	case s == fromKbd:
		k.last = k.kbd.queue.pop()
	case s == fromAux:
		k.last = k.mouse.queue.pop()
	}
	k.update()
	return k.last
}

// update sets the interrupt lines.
func (k *I8042) update() {
	s := k.source()
	k.cfg.KbdIRQ.Set(s == fromKbd && k.mode&(modeKbdInt|modeDisableKbd) == modeKbdInt)
	k.cfg.AuxIRQ.Set(s == fromAux && k.mode&modeAuxInt != 0)
}

// answer puts the controller's own byte into the output buffer.
func (k *I8042) answer(v byte, as source) bool {
	k.reply, k.replyTo = v, as
	return false
}

// command carries out a command; it reports whether that resets the machine.
func (k *I8042) command(v byte) bool {
	switch v {
	case cmdReadMode:
		return k.answer(k.mode, fromKbd)
	case cmdWriteMode, cmdWriteOutput, cmdWriteKbdBuf, cmdWriteAuxBuf, cmdWriteAux:
		k.pending = v
	case cmdDisableAux:
		k.mode |= modeDisableAux
	case cmdEnableAux:
		k.mode &^= modeDisableAux
	case cmdDisableKbd:
		k.mode |= modeDisableKbd
	case cmdEnableKbd:
		k.mode &^= modeDisableKbd
	case cmdTestAux, cmdTestKbd:
		return k.answer(0, fromKbd)
	case cmdSelfTest:
		k.status |= statusSelfTest
		return k.answer(selfTestDone, fromKbd)
	case cmdReadInput:
		return k.answer(inputPort, fromKbd)
	case cmdReadOutput:
		return k.answer(k.outputPort(), fromKbd)
	case cmdDisableA20:
		k.outport &^= outA20
	case cmdEnableA20:
		k.outport |= outA20
	}
	return v >= cmdPulse && v&cmdPulseResetBit == 0
}

// outputPort returns the output port, which shows the buffer's state.
func (k *I8042) outputPort() byte {
	v := k.outport
	switch k.source() {
	case fromKbd:
		v |= outOutput
	case fromAux:
		v |= outOutput | outAuxOutput
	}
	return v
}

// parameter takes a byte written to the data port; it reports whether that
// resets the machine.
func (k *I8042) parameter(v byte) bool {
	pending := k.pending
	k.pending = 0
	switch pending {
	case cmdWriteMode:
		k.mode = v
		k.kbd.translate = v&modeTranslate != 0
	case cmdWriteOutput:
		k.outport = v
		return v&outNotReset == 0
	case cmdWriteKbdBuf:
		return k.answer(v, fromKbd)
	case cmdWriteAuxBuf:
		return k.answer(v, fromAux)
	case cmdWriteAux:
		k.mouse.write(v)
		k.mode &^= modeDisableAux
	default:
		k.kbd.write(v)
		k.mode &^= modeDisableKbd
	}
	return false
}
