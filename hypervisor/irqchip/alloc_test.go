//go:build !race

package irqchip

import "testing"

// The race detector makes some calls allocate, which is not what is tested.

func TestSignalsAllocateNothing(t *testing.T) {
	b := newBox(t)
	v, l := b.vector(), b.chip.Line(5)
	b.message(v, 0x41, false)
	if n := testing.AllocsPerRun(100, func() { v.Signal(); l.Set(true); l.Set(false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
