package machine

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"hv/hypervisor/machine/tables"
)

// TestCPUs: a processor comes, the guest hears of it by its event, and lets it go.
func TestCPUs(t *testing.T) {
	r := newRig(t, "q35")
	var gone []int
	if err := r.AddCPUs([]tables.CPU{{APICID: 0, Present: true}, {APICID: 2}}, CPUHooks{Eject: func(i int) { gone = append(gone, i) }}); err != nil {
		t.Fatal(err)
	}
	const gpe = pmBase + 0x20
	r.out(gpe+8, 1<<tables.CPUEvent)
	if err := r.PlugCPU(1); err != nil {
		t.Fatal(err)
	}
	if status := r.in(gpe, 1)[0]; status != 1<<tables.CPUEvent || !r.irq.Level(sciGSI) {
		t.Errorf("event status %#x, interrupt %v", status, r.irq.Level(sciGSI))
	}
	r.out(cpuBlock, 0, 0, 0, 0)
	r.out(cpuBlock+5, 0)
	if n := binary.LittleEndian.Uint32(r.in(cpuBlock+8, 4)); n != 1 || r.in(cpuBlock+4, 1)[0] != 3 {
		t.Errorf("processor %d has the event", n)
	}
	if err := r.RequestUnplugCPU(1); err != nil {
		t.Fatal(err)
	}
	r.out(cpuBlock+4, 8)
	if !slices.Equal(gone, []int{1}) || r.RequestUnplugCPU(1) == nil {
		t.Errorf("gone %v", gone)
	}
	r.Board.Reset()
	if r.irq.Level(sciGSI) {
		t.Error("the event outlives a reset")
	}
}

func TestFixedCPUs(t *testing.T) {
	r := newRig(t, "microvm")
	if err := r.AddCPUs([]tables.CPU{{Present: true}, {}}, CPUHooks{}); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(r.PlugCPU(1), ErrFixedCPUs) || !errors.Is(r.RequestUnplugCPU(0), ErrFixedCPUs) {
		t.Error("a processor came or went")
	}
}
