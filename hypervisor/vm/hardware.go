package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"hv/devices/irq"
	"hv/devices/virtio/virtiomem"
	"hv/hypervisor/boot"
	"hv/hypervisor/config"
	"hv/hypervisor/cpuid"
	"hv/hypervisor/irqchip"
	"hv/hypervisor/kvm"
	"hv/hypervisor/machine"
	"hv/hypervisor/mem"
	"hv/hypervisor/softirq"
	"hv/hypervisor/vcpu"
	"hv/testdata/guest"
)

// quiet is a device with work of its own that stands still while the VM does.
type quiet interface {
	Pause()
	Resume()
}

// interrupts is the machine's interrupt controllers: KVM's, or those in software.
type interrupts interface {
	irq.Controller
	Reset() error
}

// hardware is the machine under the control goroutine: KVM, RAM, vCPUs, board,
// devices. It implements lifecycle.Hardware. cpus is nil on a machine without
// processors.
type hardware struct {
	sys  *kvm.System
	kvm  *kvm.VM
	chip interrupts
	soft *softirq.Controller // chip, when it is in software
	// bells is nil without KVM: notifications are then plain writes.
	bells irq.Doorbells
	mem   *mem.Memory
	// shared says that some RAM is a file, or shared by others.
	shared bool
	layout machine.Layout
	board  *machine.Board
	cpus   *vcpu.Group
	dummy  dummies
	cpuid  *cpuid.Builder
	mce    uint64 // what KVM can do about machine checks

	bootParams machine.BootParams
	devices    []quiet
	disks      []store
	memories   []*virtiomem.Device
	undo       undo
	failed     func(what string, err error)
}

func (h *hardware) Close() error { return h.undo.run() }

func (h *hardware) openKVM() (err error) {
	if h.sys, err = kvm.Open(kvm.DevicePath); err != nil {
		return err
	}
	h.undo.later(h.sys.Close)
	if h.kvm, err = h.sys.CreateVM(); err != nil {
		return err
	}
	h.undo.later(h.kvm.Close)
	chip, err := irqchip.New(h.kvm, true)
	h.chip, h.bells = chip, chip
	return err
}

// addRAM allocates the guest's RAM and maps it.
func (h *hardware) addRAM(cfg *config.Config) error {
	backend, err := mem.Allocate(ramConfig(cfg))
	if err != nil {
		return err
	}
	h.undo.later(backend.Close)
	h.shared = backend.FD >= 0
	if uint64(len(backend.Data)) < cfg.Memory.Size {
		return fmt.Errorf("memory backend %s is smaller than -m", cfg.Machine.MemoryBackend)
	}
	if cfg.MemLock {
		if err := lock(backend.Data); err != nil {
			return fmt.Errorf("-overcommit mem-lock=on: %w; raise the limit of locked memory (ulimit -l)", err)
		}
	}
	regions := h.layout.Regions(backend.Data[:cfg.Memory.Size], backend.SharedFD())
	if h.mem, err = mem.New(regions...); err != nil {
		return err
	}
	if h.kvm == nil {
		return nil
	}
	for _, r := range regions {
		slot, err := h.kvm.MapRAM(r.Base, r.Data, false)
		if err != nil {
			return err
		}
		h.undo.later(slot.Unmap)
	}
	return nil
}

// ramConfig describes the RAM: the object that -machine memory-backend names, or
// plain memory.
func ramConfig(cfg *config.Config) mem.BackendConfig {
	c := mem.BackendConfig{ID: "pc.ram", Size: cfg.Memory.Size, Merge: true}
	for _, o := range cfg.Objects {
		m := o.Memory
		if m == nil || o.ID != cfg.Machine.MemoryBackend {
			continue
		}
		return backendConfig(&o)
	}
	return c
}

// backendConfig describes the RAM of a memory back end.
func backendConfig(o *config.Object) mem.BackendConfig {
	m := o.Memory
	return mem.BackendConfig{
		ID: o.ID, Kind: map[string]mem.Kind{"ram": mem.Anonymous, "memfd": mem.Memfd, "file": mem.File}[m.Kind],
		Size: uint64(m.Size), Path: m.Path, Share: m.Share, HugeTLB: m.HugeTLB, HugeTLBSize: uint64(m.HugeTLBSize), Seal: m.Seal,
		Prealloc: m.Prealloc, PreallocThreads: int(m.PreallocThreads), NoReserve: !m.Reserve, Merge: m.Merge, Dump: m.Dump, DiscardData: m.DiscardData,
	}
}

// openKernel opens what is booted; without -kernel that is the guest program
// that hv carries.
func (h *hardware) openKernel(cfg *config.Config) error {
	p := &h.bootParams
	p.Cmdline = cfg.Append
	p.Reserved = []boot.E820Entry{{Base: kvm.IdentityMapAddr, Size: 4 * mem.PageSize, Type: boot.Reserved}}
	var err error
	if cfg.Kernel == "" {
		p.Kernel, err = boot.OpenBytes("guest", guest.ELF)
	} else {
		p.Kernel, err = boot.Open(cfg.Kernel)
	}
	if err != nil {
		return err
	}
	h.undo.later(p.Kernel.Close)
	if cfg.Initrd == "" {
		return nil
	}
	f, err := os.Open(cfg.Initrd)
	if err != nil {
		return fmt.Errorf("-initrd: %w", err)
	}
	h.undo.later(f.Close)
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("-initrd %s: %w", cfg.Initrd, err)
	}
	p.Initrd, p.InitrdSize = f, size
	return nil
}

// kick asks the vCPUs to leave the guest, with no instruction of it in between.
func (h *hardware) kick() {
	if h.cpus != nil {
		h.cpus.RequestPause()
	}
}

// Pause stops the vCPUs first, so that nothing new is asked of the devices.
func (h *hardware) Pause() {
	if h.cpus != nil {
		h.cpus.RequestPause()
		if err := h.cpus.Pause(); err != nil {
			h.failed("pause", err)
		}
	}
	h.pauseDevices()
}

// Hold has the vCPUs and devices of a running machine stand still while a part of it is
// changed, until Resume. The guest's clock goes on: it was not stopped, and does not see
// that it was held.
func (h *hardware) Hold() {
	if h.cpus != nil {
		h.cpus.Hold()
	}
	h.pauseDevices()
}

// pauseDevices has the devices stand still.
func (h *hardware) pauseDevices() {
	for _, d := range h.devices {
		d.Pause()
	}
}

// Resume lets the devices go on before the vCPUs do.
func (h *hardware) Resume() {
	for _, d := range h.disks {
		d.Retry()
	}
	for _, d := range h.devices {
		d.Resume()
	}
	if h.cpus == nil {
		return
	}
	if err := h.cpus.Resume(); err != nil {
		h.failed("resume", err)
	}
}

// Flush makes all disks durable.
func (h *hardware) Flush() error {
	var errs []error
	for _, d := range h.disks {
		errs = append(errs, d.Flush())
	}
	return errors.Join(errs...)
}

// Reset brings everything to its state at power-on and loads the kernel anew.
// Interrupt controllers go first, so that devices lower their lines into them.
func (h *hardware) Reset() error {
	if h.chip == nil {
		return nil
	}
	if err := h.chip.Reset(); err != nil {
		return fmt.Errorf("interrupt controllers: %w", err)
	}
	h.board.Reset()
	for _, d := range h.memories {
		if err := d.UnplugAll(); err != nil {
			h.failed("reset of a memory device", err)
		}
	}
	if h.cpus == nil {
		return nil
	}
	return h.start()
}

// start does firmware's work and puts the vCPUs where they begin.
func (h *hardware) start() error {
	entry, err := h.board.Boot(h.bootParams)
	if err != nil {
		return err
	}
	return h.cpus.Reset(func(c *vcpu.VCPU) vcpu.Entry {
		waiting := h.waiting()
		if c.Index() != 0 {
			return waiting
		}
		e := vcpu.Entry{
			Mode: vcpu.ModeProtected, RIP: entry.RIP, RSP: entry.RSP, RBX: entry.RBX, RSI: entry.RSI, CR3: entry.CR3,
			GDT: kvm.DTable{Base: entry.GDTBase, Limit: entry.GDTLimit}, MSRs: waiting.MSRs,
		}
		if entry.Mode == boot.Long64 {
			e.Mode = vcpu.ModeLong
		}
		return e
	})
}

// waiting is the state of a vCPU that another one is to start.
func (h *hardware) waiting() vcpu.Entry {
	return vcpu.Entry{Mode: vcpu.ModeWaitForSIPI, MSRs: vcpu.FirmwareMTRRs(machine.HoleBase, h.cpuid.PhysBits())}
}

// spareThreads is how many goroutines may run beside the vCPUs' at once. vCPUs
// that exit often hold on to the scheduler's slots; these keep queue workers and
// monitors from waiting for one.
const spareThreads = 4

func reserveThreads(cpus int) {
	if want := cpus + spareThreads; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
}
