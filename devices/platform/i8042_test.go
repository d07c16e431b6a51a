package platform

import (
	"bytes"
	"testing"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
)

// kbdRig is a keyboard controller on its ports.
type kbdRig struct {
	*I8042
	t      testing.TB
	ports  bus.Space
	irq    irqtest.Controller
	resets int
}

func newKbdRig(t testing.TB) *kbdRig {
	r := &kbdRig{t: t}
	r.I8042 = NewI8042(I8042Config{KbdIRQ: r.irq.Line(1), AuxIRQ: r.irq.Line(12), Reset: func() { r.resets++ }})
	if err := r.Map(&r.ports); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *kbdRig) in(port uint64) byte {
	data := []byte{0}
	r.ports.Read(port, data)
	return data[0]
}

func (r *kbdRig) command(v ...byte) {
	r.ports.Write(i8042Command, v[:1])
	for i := range v[1:] {
		r.ports.Write(i8042Data, v[i+1:i+2])
	}
}

func (r *kbdRig) data(v byte) { r.ports.Write(i8042Data, []byte{v}) }

// drain reads the output buffer until it is empty.
func (r *kbdRig) drain() (out []byte) {
	for r.in(i8042Command)&statusOutput != 0 {
		out = append(out, r.in(i8042Data))
	}
	return out
}

func (r *kbdRig) expect(what string, want ...byte) {
	r.t.Helper()
	if got := r.drain(); !bytes.Equal(got, want) {
		r.t.Errorf("%s: % x, want % x", what, got, want)
	}
}

// TestI8042AsLinuxProbesIt follows drivers/input/serio/i8042.c.
func TestI8042AsLinuxProbesIt(t *testing.T) {
	r := newKbdRig(t)
	r.expect("flush")
	r.command(cmdSelfTest)
	r.expect("self test", selfTestDone)
	if r.in(i8042Command)&statusSelfTest == 0 {
		t.Error("no system flag")
	}
	r.command(cmdReadMode)
	r.expect("command byte", modeKbdInt|modeAuxInt)
	r.command(cmdWriteMode, modeDisableKbd|modeDisableAux)
	r.command(cmdWriteAuxBuf, 0x5a)
	if r.in(i8042Command)&(statusOutput|statusAux) != statusOutput|statusAux {
		t.Error("a looped byte is not the mouse's")
	}
	r.expect("AUX loop", 0x5a)
	r.command(cmdWriteAuxBuf, 0xa4)
	r.expect("no multiplexing", 0xa4)
	r.command(cmdTestAux)
	r.expect("AUX test", 0)
	r.command(cmdTestKbd)
	r.expect("keyboard test", 0)
	r.command(cmdEnableAux)
	r.command(cmdDisableAux)
	r.command(cmdReadMode)
	r.expect("AUX disabled", modeDisableKbd|modeDisableAux)
	r.command(cmdWriteMode, modeAuxInt|modeDisableKbd)
	before := r.irq.Rises(12)
	r.command(cmdWriteAuxBuf, 0xa5)
	if r.irq.Rises(12) != before+1 {
		t.Error("no IRQ 12")
	}
	r.expect("AUX interrupt", 0xa5)
}

func TestI8042Ports(t *testing.T) {
	r := newKbdRig(t)
	r.command(cmdReadInput)
	r.expect("input port", inputPort)
	r.command(cmdDisableA20)
	r.command(cmdReadOutput)
	r.expect("output port", outNotReset|outOnes)
	r.command(cmdEnableA20)
	r.command(cmdWriteAuxBuf, 1)
	r.command(cmdReadOutput)
	r.expect("output port with a byte waiting", outNotReset|outA20|outOnes|outOutput|outAuxOutput)
	r.command(cmdWriteKbdBuf, 0x1c)
	if r.in(i8042Command)&statusAux != 0 || !r.irq.Level(1) {
		t.Error("a keyboard byte looks like the mouse's")
	}
	r.expect("keyboard buffer", 0x1c)
	if r.in(i8042Data) != 0x1c {
		t.Error("an empty buffer forgets")
	}
	if r.Map(&r.ports) == nil || r.ports.Unmap(0x61) {
		t.Error("mapped twice")
	}
}

func TestI8042Resets(t *testing.T) {
	r := newKbdRig(t)
	r.command(0xfe)
	r.command(0xf0)
	r.command(cmdWriteOutput, outA20)
	r.command(0xff)
	r.command(cmdWriteOutput, outA20|outNotReset)
	if r.resets != 3 {
		t.Errorf("%d resets, want 3", r.resets)
	}
	r.Reset()
	r.command(cmdReadOutput)
	r.expect("output port", outNotReset|outA20|outOnes)
}

func TestKeyboardCommands(t *testing.T) {
	r := newKbdRig(t)
	for _, c := range []struct{ send, want []byte }{
		{[]byte{ps2Reset}, []byte{ps2Ack, ps2SelfTest}},
		{[]byte{ps2GetID}, []byte{ps2Ack, kbdID, kbdID2}},
		{[]byte{kbdSetLEDs, 7}, []byte{ps2Ack}},
		{[]byte{ps2SetRate, 0}, []byte{ps2Ack}},
		{[]byte{kbdMakeBreak, 1}, []byte{ps2Ack}},
		{[]byte{kbdScancodeSet, 0}, []byte{ps2Ack, 2}},
		{[]byte{kbdScancodeSet, 3}, []byte{ps2Ack}},
		{[]byte{kbdScancodeSet, 0}, []byte{ps2Ack, 3}},
		{[]byte{kbdScancodeSet, 9}, []byte{ps2Resend}},
		{[]byte{ps2Enable}, []byte{ps2Ack}},
		{[]byte{ps2Disable}, []byte{ps2Ack}},
		{[]byte{ps2Echo}, []byte{ps2Echo}},
		{[]byte{0x05}, []byte{ps2Resend}},
		{[]byte{0}, []byte{ps2Ack}},
	} {
		for _, b := range c.send {
			r.data(b)
		}
		r.expect("keyboard", c.want...)
	}
	r.command(cmdWriteMode, modeKbdInt|modeTranslate)
	r.data(ps2GetID)
	r.expect("translated id", ps2Ack, kbdID, kbdIDTranslate)
	r.data(kbdScancodeSet)
	r.data(0)
	r.expect("translated set", ps2Ack, 0x41)
}

func TestKeyboardRaisesAnEdgeForEachByte(t *testing.T) {
	r := newKbdRig(t)
	before := r.irq.Rises(1)
	r.data(ps2GetID)
	r.expect("id", ps2Ack, kbdID, kbdID2)
	if got := r.irq.Rises(1) - before; got != 3 || r.irq.Level(1) {
		t.Errorf("%d interrupts for three bytes", got)
	}
	r.data(ps2Echo)
	r.command(cmdDisableKbd)
	if r.in(i8042Command)&statusOutput != 0 || r.irq.Level(1) {
		t.Error("a disabled keyboard is heard")
	}
	r.command(cmdEnableKbd)
	r.expect("after enabling", ps2Echo)
}

func TestMouseCommands(t *testing.T) {
	r := newKbdRig(t)
	for _, c := range []struct{ send, want []byte }{
		{[]byte{ps2Reset}, []byte{ps2Ack, ps2SelfTest, 0}},
		{[]byte{ps2GetID}, []byte{ps2Ack, 0}},
		{[]byte{mouseSetRes, 3}, []byte{ps2Ack, ps2Ack}},
		{[]byte{mouseScale21, mouseRemote, ps2Enable}, []byte{ps2Ack, ps2Ack, ps2Ack}},
		{[]byte{mouseStatus}, []byte{ps2Ack, 0x70, 3, 100}},
		{[]byte{mouseScale11, mouseStream, ps2Disable}, []byte{ps2Ack, ps2Ack, ps2Ack}},
		{[]byte{mousePoll}, []byte{ps2Ack, 8, 0, 0}},
		{[]byte{mouseSetWrap, 0x12, mouseResetWrap}, []byte{ps2Ack, 0x12, ps2Ack}},
		{[]byte{ps2SetRate, 200, ps2SetRate, 100, ps2SetRate, 80}, bytes.Repeat([]byte{ps2Ack}, 6)},
		{[]byte{ps2GetID}, []byte{ps2Ack, mouseTypeIMPS2}},
		{[]byte{ps2SetRate, 200, ps2SetRate, 200, ps2SetRate, 80}, bytes.Repeat([]byte{ps2Ack}, 6)},
		{[]byte{ps2GetID, mousePoll}, []byte{ps2Ack, mouseTypeIMEX, ps2Ack, 8, 0, 0, 0}},
		{[]byte{ps2Defaults, mouseStatus}, []byte{ps2Ack, ps2Ack, 0, 2, 100}},
		{[]byte{0x01}, nil},
	} {
		for _, b := range c.send {
			r.command(cmdWriteAux, b)
		}
		r.expect("mouse", c.want...)
	}
	if r.irq.Level(12) || r.irq.Rises(12) == 0 {
		t.Error("no interrupts from the mouse, or one too many")
	}
}

func FuzzI8042(f *testing.F) {
	f.Add([]byte{1, 0xaa, 2, 0, 1, 0x60, 0, 0x43, 0, 0xf2, 2, 0, 2, 0})
	f.Add([]byte{1, 0xd4, 0, 0xff, 2, 0, 1, 0xd3, 0, 9, 3, 0, 1, 0xfe})
	f.Fuzz(func(t *testing.T, ops []byte) {
		r := newKbdRig(t)
		for ; len(ops) >= 2; ops = ops[2:] {
			switch ops[0] & 3 {
			case 0:
				r.data(ops[1])
			case 1:
				r.command(ops[1])
			case 2:
				r.in(i8042Data)
			case 3:
				r.Reset()
			}
			status := r.in(i8042Command)
			if up := r.irq.Level(1) || r.irq.Level(12); up && status&statusOutput == 0 {
				t.Fatalf("an interrupt without a byte, status %#x", status)
			}
		}
		if n := len(r.drain()); n > 2*16+1 {
			t.Errorf("%d bytes were waiting", n)
		}
	})
}
