package vm

import (
	"testing"

	"hv/devices/qdev"
	"hv/hypervisor/kvm"
)

func TestRegisterNames(t *testing.T) {
	r := &kvm.Regs{RAX: 1, RSP: 2, RIP: 3, RFLAGS: 4, R15: 5}
	s := &kvm.Sregs{CR0: 6, CR3: 7, EFER: 8, CS: kvm.Segment{Selector: 9, Base: 10, Limit: 11}}
	for name, want := range map[string]uint64{
		"rax": 1, "eax": 1, "rsp": 2, "rip": 3, "eip": 3, "pc": 3, "eflags": 4, "rflags": 4, "r15": 5, "cr0": 6, "cr3": 7, "efer": 8, "cs": 9, "cs.base": 10, "cs.limit": 11, "gs": 0,
	} {
		if got, ok := register(r, s, name); got != want || !ok {
			t.Errorf("%s is %d, %t", name, got, ok)
		}
	}
	for _, name := range []string{"", "e", "xax", "r16", "cs.x", "cr1", "ax", "ip"} {
		if got, ok := register(r, s, name); ok {
			t.Errorf("%q is %d", name, got)
		}
	}
}

func TestBusTitles(t *testing.T) {
	port := &qdev.Instance{ID: "rp", Driver: &qdev.Driver{Name: "pcie-root-port", Bus: "PCI"}}
	card := &qdev.Instance{Driver: &qdev.Driver{Name: "virtio-rng-pci", Bus: "PCI"}}
	line := &qdev.Instance{Driver: &qdev.Driver{Name: "isa-serial", Bus: "ISA"}}
	console := &qdev.Instance{Driver: &qdev.Driver{Name: "virtconsole", Bus: "virtio-serial-bus"}}
	for _, c := range []struct {
		in, parent *qdev.Instance
		want       string
	}{{port, nil, "pcie.0"}, {card, port, "rp"}, {line, nil, "isa.0"}, {console, port, "rp.0"}} {
		if got := busTitle(c.in, c.parent); got != c.want {
			t.Errorf("%s is on %s, not %s", c.in.Driver.Name, got, c.want)
		}
	}
}
