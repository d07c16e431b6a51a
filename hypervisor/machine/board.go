// Package machine builds the boards that a VM can have: q35, a minimal microvm,
// and none. A Board is address spaces, platform devices and a PCI host, placed
// as QEMU's q35 places them, and the work that firmware would do on it.
//
// A Board is built and reset by the machine's control goroutine while no vCPU
// runs; its devices are then used by vCPU threads. It sees interrupts and RAM as
// interfaces only, so that it can be driven without KVM.
//
// Implements the address map of Intel's Q35 and ICH9 as QEMU has it. It depends
// on devices, hypervisor/mem, hypervisor/boot and hypervisor/smbios.
package machine

import (
	"errors"
	"fmt"
	"time"

	"hv/devices/acpi"
	"hv/devices/bus"
	"hv/devices/clock"
	"hv/devices/irq"
	"hv/devices/pci"
	"hv/devices/platform"
	"hv/hypervisor/mem"
)

// Hooks is what the board's devices want of the machine as a whole. They are
// called on vCPU threads, must not block and must not be nil.
type Hooks struct {
	Reset    func()                    // the guest resets the machine
	PowerOff func()                    // the guest powers it off
	Suspend  func()                    // the guest suspends itself
	Panic    func(platform.PanicEvent) // the guest says that it crashed
	ClockSet func(seconds int64)       // the guest moved its clock, now this far ahead
}

// Config describes a board.
type Config struct {
	Type   *Type
	Layout Layout
	RAM    *mem.Memory
	IRQ    irq.Controller
	// Clock is where devices take time from; nil is the host's.
	Clock clock.Clock
	// ClockOffset is what the guest's clock is ahead of UTC at the start.
	ClockOffset time.Duration
	Hooks       Hooks
}

// resetter is a device that a machine reset concerns.
type resetter interface{ Reset() }

// power is where the board's guests are powered off from, and its button.
type power interface {
	resetter
	PowerButton()
}

// Board is a machine without CPUs.
type Board struct {
	// Ports and MMIO are what the vCPUs see.
	Ports, MMIO bus.Space
	// PCI is nil on a board of type none.
	PCI *pci.Host

	cfg     Config
	rtc     *platform.RTC
	power   power
	devices []resetter
	serial  [4]*platform.UART
	facs    uint64             // where the FACS is, as of Boot
	genID   *acpi.GenerationID // nil for none
	cpus    *acpi.CPUHotplug   // nil where processors are fixed
	// panicPort is pvpanic's, 0 when there is none.
	panicPort uint16
}

// Type returns what the board is.
func (b *Board) Type() *Type { return b.cfg.Type }

// com is where serial ports are.
var com = [4]struct {
	port uint64
	irq  int
}{{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}}

// New builds a board.
func New(cfg Config) (*Board, error) {
	b := &Board{cfg: cfg}
	var steps []func() error
	switch cfg.Type.Kind {
	case Q35:
		steps = []func() error{b.addPC, b.addPM, b.addHost, b.addLPC}
	case MicroVM:
		steps = []func() error{b.addClock, b.addGED, b.addHost}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			b.Close()
			return nil, fmt.Errorf("machine %s: %w", cfg.Type.Name, err)
		}
	}
	return b, nil
}

// Close ends what the board's devices run.
func (b *Board) Close() {
	if b.rtc != nil {
		b.rtc.Close()
	}
}

// addPC adds what every PC has at fixed ports.
func (b *Board) addPC() error {
	h := b.cfg.Hooks
	kbd := platform.NewI8042(platform.I8042Config{
		KbdIRQ: b.cfg.IRQ.Line(1), AuxIRQ: b.cfg.IRQ.Line(12), Reset: h.Reset,
	})
	port92 := platform.NewPort92(h.Reset)
	b.devices = append(b.devices, kbd, port92)
	return errors.Join(b.addClock(), kbd.Map(&b.Ports), port92.Map(&b.Ports), platform.PostCodes{}.Map(&b.Ports))
}

func (b *Board) addClock() error {
	b.rtc = platform.NewRTC(platform.RTCConfig{
		IRQ: b.cfg.IRQ.Line(8), Clock: b.cfg.Clock, Offset: b.cfg.ClockOffset, Change: b.cfg.Hooks.ClockSet,
		Below4G: b.cfg.Layout.Low, Above4G: b.cfg.Layout.High,
	})
	b.devices = append(b.devices, b.rtc)
	return b.rtc.Map(&b.Ports)
}

// addPM adds the ICH9's power management registers.
func (b *Board) addPM() error {
	cfg := acpi.PMConfig{SCI: b.cfg.IRQ.Line(sciGSI), PowerOff: b.cfg.Hooks.PowerOff, Suspend: b.cfg.Hooks.Suspend}
	if c := b.cfg.Clock; c != nil {
		start := c.Now()
		cfg.Now = func() time.Duration { return c.Now().Sub(start) }
	}
	pm := acpi.NewPM(cfg)
	b.power = pm
	return pm.Map(&b.Ports, pmBase)
}

// addGED adds the minimal board's event and power device.
func (b *Board) addGED() error {
	ged := acpi.NewGED(acpi.GEDConfig{IRQ: b.cfg.IRQ.Line(sciGSI), PowerOff: b.cfg.Hooks.PowerOff, Reset: b.cfg.Hooks.Reset})
	b.power = ged
	return ged.Map(&b.MMIO, gedWindow)
}

func (b *Board) addHost() error {
	reset := platform.NewResetControl(b.cfg.Hooks.Reset)
	b.devices = append(b.devices, reset)
	host, err := pci.NewHost(pci.HostConfig{
		Ports: &b.Ports, MMIO: &b.MMIO, IRQ: b.cfg.IRQ,
		ECAMBase: ecamBase, ECAMSize: ecamSize,
		Window32:     pci.Window{Base: window32Base, Size: b.window32End() - window32Base},
		Window64:     pci.Window{Base: b.cfg.Layout.Window64, Size: window64Size},
		ResetControl: reset,
	})
	b.PCI = host
	return err
}

// window32End returns where the 32-bit PCI window ends.
func (b *Board) window32End() uint64 {
	if b.cfg.Type.Kind == MicroVM {
		return gedWindow
	}
	return window32End
}

// addLPC adds the ISA bridge that guests look for.
func (b *Board) addLPC() error {
	_, err := b.PCI.Root().Attach(&pci.Addr{Slot: 31}, pci.NewLPC(pmBase), true)
	return err
}

// AddSerial adds COM1 (i is 0) to COM4. The caller feeds it input.
func (b *Board) AddSerial(i int, out platform.Output, space func()) (*platform.UART, error) {
	if i < 0 || i >= len(com) {
		return nil, fmt.Errorf("serial port index %d: there are %d", i, len(com))
	}
	if b.serial[i] != nil {
		return nil, fmt.Errorf("serial port index %d is taken", i)
	}
	if b.cfg.Type.Kind == None {
		return nil, fmt.Errorf("machine %s has no serial ports", b.cfg.Type.Name)
	}
	u := platform.NewUART(platform.UARTConfig{IRQ: b.cfg.IRQ.Line(com[i].irq), Output: out, Space: space})
	if err := u.Map(&b.Ports, com[i].port); err != nil {
		return nil, err
	}
	b.serial[i] = u
	b.devices = append(b.devices, u)
	return u, nil
}

// FreeSerial returns the index of the first serial port that is not taken.
func (b *Board) FreeSerial() int {
	for i, u := range b.serial {
		if u == nil {
			return i
		}
	}
	return len(b.serial)
}

// AddPVPanic adds a pvpanic device that announces events at a port.
func (b *Board) AddPVPanic(port uint16, events platform.PanicEvent) error {
	p := platform.NewPVPanic(platform.PVPanicConfig{Events: events, Event: b.cfg.Hooks.Panic})
	if err := p.Map(&b.Ports, uint64(port)); err != nil {
		return err
	}
	b.panicPort = port
	return nil
}

// PowerButton presses the power button, if the board has one.
func (b *Board) PowerButton() {
	if b.power != nil {
		b.power.PowerButton()
	}
}

// Reset puts all devices into their state at power-on. Firmware's work is then
// to be done again.
func (b *Board) Reset() {
	for _, d := range b.devices {
		d.Reset()
	}
	if b.power != nil {
		b.power.Reset()
	}
	if b.PCI != nil {
		b.PCI.Reset()
	}
}
