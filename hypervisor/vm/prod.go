package vm

import (
	"encoding/binary"
	"errors"

	"hv/hypervisor/kvm"
)

// NMI sends a non-maskable interrupt to all vCPUs whose local APIC takes one. Control
// goroutine only.
func (v *VM) NMI() error {
	if v.hw.cpus == nil {
		return errors.New("machine does not provide NMIs")
	}
	for _, c := range v.hw.cpus.VCPUs() {
		err := onCPU(c, func(kv *kvm.VCPU) error {
			l, err := kv.LAPIC()
			if err != nil || !takesNMI(binary.LittleEndian.Uint32(l.Regs[lapicLINT1:])) {
				return err
			}
			return kv.NMI()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// LINT1 of the local APIC (Intel SDM volume 3 §11.5.1), to which the NMI line goes.
const (
	lapicLINT1 = 0x360
	lvtReset   = 1 << 16
	lvtMasked  = 1 << 16
	lvtMode    = 7 << 8
	lvtModeNMI = 4 << 8
)

// takesNMI reports whether LINT1 passes an NMI on. One that the guest has left alone does:
// firmware would have set it so.
func takesNMI(lvt uint32) bool {
	return lvt == lvtReset || lvt&lvtMasked == 0 && lvt&lvtMode == lvtModeNMI
}
