package vcpu

import (
	"encoding/binary"
	"fmt"

	"hv/hypervisor/kvm"
)

// Reset puts the vCPU, on its thread, into the state of RESET# and then that of
// e. It may be paused or not, and have met its end; it runs afterwards as before.
func (c *VCPU) Reset(e Entry) error {
	var err error
	if e := c.Do(func(kv *kvm.VCPU) { err = c.reset(kv, &e) }); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("reset vCPU %d: %w", c.cfg.Index, err)
	}
	return nil
}

// bsp says whether this is the processor that boots: KVM takes APIC ID 0.
func (c *VCPU) bsp() bool { return c.cfg.APICID == 0 }

func (c *VCPU) reset(kv *kvm.VCPU, e *Entry) error {
	// Leave nested guest mode first: what follows is for the outer guest.
	leaveNested := []kvm.MSREntry{{Index: msrFeatureControl}, {Index: msrEFER}}
	if err := setMSRs(kv, leaveNested); err != nil {
		return err
	}
	sregs, regs := e.sregs(c.bsp()), e.regs(c.signature())
	for _, step := range [...]func() error{
		func() error { return kv.SetSregs(&sregs) }, // the APIC base before the APIC
		func() error { return kv.SetRegs(&regs) },
		func() error { return kv.SetXSave(initialXSave(kv.XSaveSize())) },
		func() error { return kv.SetXCRS(initialXCRS()) },
		func() error { return setMSRs(kv, c.resetMSRs(kv.VM())) },
		func() error { return setMSRs(kv, e.MSRs) },
		func() error { return kv.SetEvents(&kvm.VCPUEvents{Flags: kv.EventFlags()}) },
		func() error { return kv.SetLAPIC(initialLAPIC(c.cfg.APICID, c.bsp())) },
		func() error { return kv.SetDebugRegs(&kvm.DebugRegs{DR6: dr6Initial, DR7: dr7Initial}) },
		func() error { return kv.SetMPState(c.mpState(e)) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	c.wasReset = true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = false
	return nil
}

func (c *VCPU) mpState(e *Entry) uint32 {
	if e.Mode == ModeWaitForSIPI {
		return kvm.MPStateUninitialized
	}
	return kvm.MPStateRunnable
}

// leaf returns a CPUID leaf without subleaves.
func (c *VCPU) leaf(function uint32) kvm.CPUIDEntry2 {
	for _, e := range c.cfg.CPUID {
		if e.Function == function && e.Index == 0 {
			return e
		}
	}
	return kvm.CPUIDEntry2{}
}

// signature returns the processor's family, model and stepping.
func (c *VCPU) signature() uint32 { return c.leaf(1).Eax }

// Values after RESET# (Intel SDM volume 3 table 10-1).
const (
	fcwInitial   = 0x37f
	mxcsrInitial = 0x1f80
	dr6Initial   = 0xffff_0ff0
	dr7Initial   = 0x400
	xcr0Initial  = xstateX87
	xstateX87    = 1 << 0
	xstateSSE    = 1 << 1
)

// initialXSave returns the extended state after RESET#. x87 and SSE are given in
// full, because XRSTOR does not take MXCSR for part of an initial configuration;
// the other components are in theirs.
func initialXSave(size int) []byte {
	const fcwOffset, mxcsrOffset, xstateBVOffset = 0, 24, 512
	b := make([]byte, size)
	binary.LittleEndian.PutUint16(b[fcwOffset:], fcwInitial)
	binary.LittleEndian.PutUint32(b[mxcsrOffset:], mxcsrInitial)
	b[xstateBVOffset] = xstateX87 | xstateSSE
	return b
}

func initialXCRS() *kvm.XCRS {
	x := &kvm.XCRS{NrXRCS: 1}
	x.Registers[0].Value = xcr0Initial
	return x
}

// Registers of the local APIC that are not zero after RESET#, and values (Intel
// SDM volume 3 §11.4.7.1).
const (
	apicID        = 0x20
	apicDFR       = 0xe0
	apicSVR       = 0xf0
	apicLVTTimer  = 0x320
	apicLVTLINT0  = 0x350
	apicLVTLINT1  = 0x360
	apicLVTError  = 0x370
	lvtMasked     = 1 << 16
	lvtExtINT     = 7 << 8
	lvtNMI        = 4 << 8
	svrInitial    = 0xff
	dfrFlat       = 0xffff_ffff
	apicIDShift   = 24
	lvtRegisters  = apicLVTError - apicLVTTimer + apicLVTStride
	apicLVTStride = 0x10
)

// initialLAPIC returns the local APIC after RESET# and, on the processor that
// boots, after a firmware's set-up of virtual wire mode: the PICs at LINT0, NMI
// at LINT1 (MultiProcessor Specification 1.4 §3.6.2.2).
func initialLAPIC(id int, bsp bool) *kvm.LAPICState {
	l := &kvm.LAPICState{}
	put := func(reg int, v uint32) { binary.LittleEndian.PutUint32(l.Regs[reg:], v) }
	put(apicID, uint32(id)<<apicIDShift)
	put(apicDFR, dfrFlat)
	put(apicSVR, svrInitial)
	for off := 0; off < lvtRegisters; off += apicLVTStride {
		put(apicLVTTimer+off, lvtMasked)
	}
	if bsp {
		put(apicLVTLINT0, lvtExtINT)
		put(apicLVTLINT1, lvtNMI)
	}
	return l
}
