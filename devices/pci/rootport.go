package pci

import (
	"encoding/binary"
	"sync"

	"hv/devices/irq"
)

// RootPortConfig describes a pcie-root-port.
type RootPortConfig struct {
	ID string
	// Port is the link's port number; Chassis and Slot identify the slot.
	Port    uint8
	Chassis uint8
	Slot    uint16 // 13 bits
	// Hotplug makes the slot announce native hot-plug; without it Plug and
	// RequestUnplug fail.
	Hotplug bool
	Reserve Reserve
	// IRQ gives the port an MSI-X vector for its events. With nil it has INTA
	// only.
	IRQ irq.Controller
	// Unplugged is told of functions that left the slot because the guest
	// powered it off. They are detached, but not closed. It runs on a vCPU
	// thread, or within RequestUnplug, and must not block.
	Unplugged func([]*Function)
}

// RootPort is a PCI Express root port with a hot-plug slot.
type RootPort struct {
	*Bridge
	cfg RootPortConfig

	mu       sync.Mutex // orders slot changes; guards what follows
	ctl, sta uint16     // slot control and status before the current change
	notified bool       // an enabled event is pending
}

const (
	linkWidth32Gen4  = 32<<4 | 4 // of link capabilities
	lnkCapLBNC       = 1 << 21
	lnkCapDLLLARC    = 1 << 20
	lnkCapPortShift  = 24
	lnkSpeedsGen1to4 = 0x1e
	lnkStaDLLLA      = 1 << 13

	rtCtlErrors = 0x7
)

// NewRootPort returns QEMU's pcie-root-port (1b36:000c), whose bus is named by
// its ID.
func NewRootPort(cfg RootPortConfig) (*RootPort, error) {
	p := &RootPort{cfg: cfg}
	p.Bridge = newBridge("pcie-root-port", cfg.ID, Identity{Vendor: vendorRedHat, Device: 0x000c, Class: classBridge}, cfg.Reserve)
	p.hotplug = cfg.Hotplug
	p.allow16(regBridgeControl, bridgeCtlPCIe)
	p.secondary.express, p.secondary.oneSlot, p.secondary.port = true, true, p
	p.secondary.attached = p.slotReset
	p.set8(regInterruptPin, 1)
	for _, add := range []func() error{p.addCaps, p.addMSIX, p.addAER, p.addACS, p.addReserveCap} {
		if err := add(); err != nil {
			return nil, err
		}
	}
	if io := cfg.Reserve.IO; io != nil && *io == 0 {
		p.dropIO()
	}
	p.slotReset()
	return p, nil
}

// addCaps adds the PCI Express and subsystem capabilities.
func (p *RootPort) addCaps() error {
	off, err := p.AddPCIeCap(PCIeRootPort)
	if err != nil {
		return err
	}
	p.set32(off+expLnkCap, uint32(p.cfg.Port)<<lnkCapPortShift|1<<10|lnkCapLBNC|lnkCapDLLLARC|linkWidth32Gen4)
	p.set32(off+expLnkCap2, lnkSpeedsGen1to4)
	p.set16(off+expLnkCtl2, linkWidth32Gen4&0xf)
	p.set32(off+expDevCap2, devCap2Default|devCap2ARI)
	p.allow16(off+expDevCtl2, devCtl2EETLPPB|devCtl2ARI)
	p.allow16(off+expRtCtl, rtCtlErrors)
	p.addSlot(off)
	_, err = p.AddCapability(CapSSVID, []byte{0, 0, vendorRedHat & 0xff, vendorRedHat >> 8, 0, 0}, nil)
	return err
}

// addMSIX adds BAR 0 with one vector.
func (p *RootPort) addMSIX() error {
	if p.cfg.IRQ == nil {
		return nil
	}
	if err := p.AddBAR(0, BAR{Size: 4096, Name: "pcie-root-port-msix"}); err != nil {
		return err
	}
	_, err := p.AddMSIX(p.cfg.IRQ, 1, 0, 0, 2048)
	return err
}

// Advanced error reporting (PCIe 3.0 §7.10), offsets into the structure and
// the errors that QEMU's ports have. Nothing here ever reports one.
const (
	aerUncorStatus = 0x04
	aerUncorMask   = 0x08
	aerUncorSever  = 0x0c
	aerCorStatus   = 0x10
	aerCorMask     = 0x14
	aerCap         = 0x18
	aerRootCommand = 0x2c
	aerRootStatus  = 0x30
	aerSize        = 0x48

	aerUncorErrors  = 0x017ff010
	aerSeverDefault = 0x00463010
	aerCorErrors    = 0xf1c1
	aerCorMasked    = 0xe000
	aerECRCCapable  = 1<<5 | 1<<7
	aerECRCEnable   = 1<<6 | 1<<8
	aerRootEvents   = 0x7f
)

func (p *RootPort) addAER() error {
	off, err := p.AddExtCapability(ExtCapAER, 2, make([]byte, aerSize-4), nil)
	if err != nil {
		return err
	}
	p.set32(off+aerUncorSever, aerSeverDefault)
	p.set32(off+aerCorMask, aerCorMasked)
	p.set32(off+aerCap, aerECRCCapable)
	for reg, mask := range map[int]uint32{
		aerUncorMask: aerUncorErrors, aerUncorSever: aerUncorErrors, aerCorMask: aerCorErrors,
		aerCap: aerECRCEnable, aerRootCommand: 0x7,
	} {
		p.allow32(off+reg, mask)
	}
	for reg, mask := range map[int]uint32{
		aerUncorStatus: aerUncorErrors, aerCorStatus: aerCorErrors, aerRootStatus: aerRootEvents,
	} {
		binary.LittleEndian.PutUint32(p.w1c[off+reg:], mask)
	}
	return nil
}

// addACS adds access control services (PCIe 3.0 §7.16) as a downstream port
// must have them; the control bits change nothing.
func (p *RootPort) addACS() error {
	const bits = 0x5f // SV, TB, RR, CR, UF, DT
	_, err := p.AddExtCapability(ExtCapACS, 1, []byte{bits, 0, 0, 0}, []byte{0, 0, bits, 0})
	return err
}

// dropIO takes away the I/O window, which io-reserve=0 asks for.
func (p *RootPort) dropIO() {
	p.wmask[regCommand] &^= cmdIO
	p.wmask[regIOBase], p.wmask[regIOLimit] = 0, 0
}
