package vcpu

import (
	"errors"
	"testing"

	"hv/hypervisor/kvm"
)

// TestRealAt checks where a processor goes on that firmware wakes.
func TestRealAt(t *testing.T) {
	b := newBox(t)
	c := b.add()
	if err := c.Reset(Entry{Mode: ModeRealAt, RIP: 0x9a123}); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(func(kv *kvm.VCPU) {
		r, err1 := kv.Regs()
		s, err2 := kv.Sregs()
		if err := errors.Join(err1, err2); err != nil {
			t.Error(err)
			return
		}
		if r.RIP != 3 || s.CS.Selector != 0x9a12 || s.CS.Base != 0x9a120 || s.CR0&1 != 0 || s.DS.Base != 0 {
			t.Errorf("%+v, CS %+v, CR0 %#x", r, s.CS, s.CR0)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
