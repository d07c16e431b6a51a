package vcpu

import (
	"slices"
	"testing"
)

// TestPlug has a vCPU come, go and come again while another runs.
func TestPlug(t *testing.T) {
	b := newBox(t, spin...)
	const at = codeBase + 0x100
	b.write(at, 0xe6, 0x11, 0xeb, 0xfc) // l: out 0x11, al; jmp l
	var first, second counter
	b.port(0x10, 1, &first)
	b.port(0x11, 1, &second)
	b.add()
	b.resume()
	late := b.make(1)
	for range 3 {
		if b.group.Parked(1) != nil && b.group.Parked(1) != late {
			t.Fatal("another vCPU is parked")
		}
		if err := b.group.Plug(late, Entry{Mode: ModeProtected, RIP: at, RSP: 0x7000}); err != nil {
			t.Fatal(err)
		}
		if b.group.Parked(1) != nil || len(b.group.VCPUs()) != 2 {
			t.Fatal("the vCPU is not part of the group")
		}
		second.waitFor(b, 10)
		first.waitFor(b, 10)
		b.group.Unplug(late)
		before := second.n.Load()
		first.waitFor(b, 100)
		if n := second.n.Load(); n != before {
			t.Errorf("%d accesses of a vCPU that was taken out", n-before)
		}
		if b.group.Parked(1) != late || slices.Contains(b.group.VCPUs(), late) {
			t.Fatal("the vCPU is part of the group")
		}
	}
}

// TestPlugPaused: what is plugged into a paused group waits.
func TestPlugPaused(t *testing.T) {
	b := newBox(t, spin...)
	var count counter
	b.port(0x10, 1, &count)
	c := b.make(0)
	if err := b.group.Plug(c, flatEntry(c)); err != nil {
		t.Fatal(err)
	}
	c.WaitPaused()
	if n := count.n.Load(); n != 0 {
		t.Errorf("%d accesses in a paused group", n)
	}
	b.resume()
	count.waitFor(b, 10)
}
