package pci

import (
	"encoding/binary"
	"fmt"
)

// AddCapability appends a capability to the function's list and returns its
// offset. body is what follows the identifier and next pointer, at offset 2;
// writable says which of its bits the guest may write, nil for none.
func (f *Function) AddCapability(id uint8, body, writable []byte) (int, error) {
	off := f.capNext
	end := off + 2 + len(body)
	if end > configSize {
		return 0, fmt.Errorf("%s: no room for capability %#x of %d bytes", f.name(), id, 2+len(body))
	}
	f.set8(off, id)
	f.put(off+2, body)
	copy(f.wmask[off+2:end], writable)
	f.set8(f.capTail, uint8(off))
	f.set16(regStatus, f.get16(regStatus)|statusCapList)
	f.capTail, f.capNext = off+1, (end+3)&^3
	return off, nil
}

// AddExtCapability appends an extended capability, for which the function
// needs its PCI Express capability first. body follows the 4-byte header.
func (f *Function) AddExtCapability(id uint16, version uint8, body, writable []byte) (int, error) {
	off := f.extNext
	end := off + 4 + len(body)
	if f.express == 0 || end > extConfigSize {
		return 0, fmt.Errorf("%s: no room for extended capability %#x", f.name(), id)
	}
	f.set32(off, uint32(id)|uint32(version&0xf)<<16)
	f.put(off+4, body)
	copy(f.wmask[off+4:end], writable)
	if f.extTail != 0 {
		f.set32(f.extTail, f.get32(f.extTail)|uint32(off)<<20)
	}
	f.extTail, f.extNext = off, (end+3)&^3
	return off, nil
}

// PCIeKind is the device/port type of a PCI Express capability (PCIe 3.0
// §7.8.2).
type PCIeKind uint8

// Device and port types.
const (
	PCIeEndpoint   PCIeKind = 0
	PCIeRootPort   PCIeKind = 4
	PCIeIntegrated PCIeKind = 9 // root complex integrated endpoint
)

// Offsets into the PCI Express capability (PCIe 3.0 §7.8), and its bits.
const (
	expFlags   = 0x02
	expDevCap  = 0x04
	expDevCtl  = 0x08
	expDevSta  = 0x0a
	expLnkCap  = 0x0c
	expLnkCtl  = 0x10
	expLnkSta  = 0x12
	expSltCap  = 0x14
	expSltCtl  = 0x18
	expSltSta  = 0x1a
	expRtCtl   = 0x1c
	expDevCap2 = 0x24
	expDevCtl2 = 0x28
	expLnkCap2 = 0x2c
	expLnkCtl2 = 0x30
	expSize    = 0x3c

	expVersion2    = 2
	expFlagsSlot   = 1 << 8
	devCapRBER     = 1 << 15
	devCapFLR      = 1 << 28
	devCtlErrors   = 0xf
	devCtlFLR      = 1 << 15
	devStaErrors   = 0xf
	lnkCapX1Gen1   = 1<<4 | 1 | 1<<10 // width x1, 2.5 GT/s, L0s
	lnkStaX1Gen1   = 1<<4 | 1
	devCap2Default = 1<<20 | 1<<21 // extended fmt field, end-to-end TLP prefix
	devCap2ARI     = 1 << 5
	devCtl2EETLPPB = 1 << 15
	devCtl2ARI     = 1 << 5
)

// AddPCIeCap makes the function a PCI Express function of a kind and returns
// the capability's offset. Endpoints get function-level reset.
func (f *Function) AddPCIeCap(kind PCIeKind) (int, error) {
	if f.express != 0 {
		return 0, fmt.Errorf("%s: it already has a PCI Express capability", f.name())
	}
	off, err := f.AddCapability(CapPCIe, make([]byte, expSize-2), nil)
	if err != nil {
		return 0, err
	}
	f.express = off
	f.grow(extConfigSize)
	f.set16(off+expFlags, expVersion2|uint16(kind)<<4)
	f.set32(off+expDevCap, devCapRBER)
	f.allow16(off+expDevCtl, devCtlErrors)
	binary.LittleEndian.PutUint16(f.w1c[off+expDevSta:], devStaErrors)
	f.set32(off+expDevCap2, devCap2Default)
	f.allow16(off+expDevCtl2, devCtl2EETLPPB)
	if kind != PCIeIntegrated {
		f.set32(off+expLnkCap, lnkCapX1Gen1)
		f.set16(off+expLnkSta, lnkStaX1Gen1)
	}
	if kind != PCIeRootPort {
		f.addFLR(off)
	}
	return off, nil
}

// addFLR makes the function-level reset bit work (PCIe 3.0 §6.6.2). It reads
// as zero: the hook acts on the byte written.
func (f *Function) addFLR(off int) {
	f.set32(off+expDevCap, devCapRBER|devCapFLR)
	f.OnConfig(off+expDevCtl+1, 1, nil, func(_ int, data []byte) {
		if data[0]&(devCtlFLR>>8) != 0 {
			f.Reset()
		}
	})
}

// AddPMCap adds a power management capability (PCI PM 1.2 §3.2) whose power
// state the guest may set, without effect: leaving D3hot resets nothing.
func (f *Function) AddPMCap() (int, error) {
	const version, noSoftReset, stateMask = 3, 1 << 3, 3
	return f.AddCapability(CapPM, []byte{version, 0, noSoftReset, 0, 0, 0}, []byte{0, 0, stateMask, 0, 0, 0})
}
