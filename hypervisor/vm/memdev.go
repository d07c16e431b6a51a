package vm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"hv/devices/qdev"
	"hv/devices/virtio/virtiomem"
	"hv/devices/virtio/vpci"
	"hv/hypervisor/machine"
	"hv/hypervisor/mem"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// memConfig is the properties of virtio-mem-pci.
type memConfig struct {
	Memdev       string         `prop:"memdev" link:"memory-backend" desc:"ID of the memory back end that the memory is of"`
	Block        qdev.Size      `prop:"block-size" default:"0" desc:"bytes that are plugged at once; 0 suits the back end"`
	Requested    qdev.Size      `prop:"requested-size" default:"0" desc:"bytes that the guest is to plug"`
	Node         uint32         `prop:"node" default:"0" desc:"NUMA node that the memory belongs to"`
	Prealloc     bool           `prop:"prealloc" default:"off" desc:"take memory from the host when it is plugged"`
	Addr         uint64         `prop:"memaddr" default:"0" desc:"guest-physical address; 0 is the first that is free"`
	Inaccessible qdev.OnOffAuto `prop:"unplugged-inaccessible" default:"auto" desc:"refuse guests that may touch what is unplugged"`
	vpci.Options
}

const memDriverName = "virtio-mem-pci"

func memDriver() *qdev.Driver {
	return driver(qdev.Driver{Name: memDriverName, Parent: memDriverName + "-base", Bus: "PCI", Category: qdev.Misc}, makeMem)
}

// isMemory reports whether a driver's devices are guest memory.
func isMemory(d *qdev.Driver) bool { return d.Name == memDriverName }

// errMemoryStays is the answer to device_del: devices may hold views of the memory, and so
// it stays as long as the VM does.
var errMemoryStays = errors.New("virtio based memory devices cannot be unplugged.")

// makeMem makes a memory device. Neither vCPUs nor devices run meanwhile: what fails
// leaves no view of the memory behind.
func makeMem(v *VM, in *qdev.Instance, c *memConfig) error {
	backend, err := v.claimMemory(c, in)
	if err != nil {
		return err
	}
	kept := false
	in.Later(func() error {
		if kept {
			return nil // hardware closes it, when all devices are gone
		}
		return backend.Close()
	})
	cfg, err := v.memDevice(c, backend)
	if err != nil {
		return err
	}
	cfg.Changed = func(size uint64) { v.memoryChanged(in, size) }
	dev, err := virtiomem.New(cfg)
	if err != nil {
		return err
	}
	if err := v.addVirtio(in, dev, c.Options); err != nil {
		return err
	}
	if err := v.hw.addMemory(backend, cfg.Addr); err != nil {
		return err
	}
	kept = true
	v.hw.memories = append(v.hw.memories, dev)
	return nil
}

// claimMemory allocates the RAM of a memory back end for one device's use.
func (v *VM) claimMemory(c *memConfig, in *qdev.Instance) (*mem.Backend, error) {
	o := v.objects.find(c.Memdev)
	switch {
	case c.Memdev == "":
		return nil, errors.New("'memdev' property is not set")
	case o == nil || o.Memory == nil:
		return nil, fmt.Errorf("Property '%s.memdev' can't find value '%s'", in.Driver.Name, c.Memdev)
	case o.users > 0:
		return nil, fmt.Errorf("'memdev' property specifies a busy memdev: %s", o.ID)
	case v.cfg.MemLock:
		return nil, errors.New("Incompatible with mlock")
	case c.Node > 0:
		return nil, fmt.Errorf("'node' property has value '%d', which exceeds the number of numa nodes: 1", c.Node)
	}
	o.users++
	in.Later(func() error { o.users--; return nil })
	b := backendConfig(&o.Object)
	b.Prealloc = false // nothing is plugged, and memory comes with what is
	return mem.Allocate(b)
}

// memDevice returns the configuration of a memory device: what the user left open suits
// the memory.
func (v *VM) memDevice(c *memConfig, b *mem.Backend) (virtiomem.Config, error) {
	if c.Block == 0 {
		c.Block = qdev.Size(virtiomem.DefaultBlock(b.PageSize()))
	}
	cfg := virtiomem.Config{
		Memory: b, Addr: c.Addr, Region: uint64(len(b.Data)), Block: uint64(c.Block), Requested: uint64(c.Requested),
		Node: uint16(c.Node), HasNodes: true, Prealloc: c.Prealloc,
		Inaccessible: c.Inaccessible == "on" || c.Inaccessible == "auto" && !b.ZeroPage(),
	}
	if cfg.Block < b.PageSize() {
		return cfg, fmt.Errorf("'block-size' property has to be at least the page size (0x%x)", b.PageSize())
	}
	if err := cfg.Check(); err != nil {
		return cfg, err
	}
	if c.Inaccessible == "off" && !b.ZeroPage() {
		v.opt.Log.Warn("'unplugged-inaccessible' property set to 'off' with a memdev that does not support the shared zeropage")
	}
	err := v.net.growable(v.hw.mem, b)
	if err != nil {
		return cfg, err
	}
	cfg.Addr, err = v.placeMemory(cfg, max(cfg.Block, b.PageSize(), thpSize))
	return cfg, err
}

// thpSize is what memory in guests is aligned to at least, so that the host can use its
// transparent huge pages for it.
const thpSize = 2 << 20

// maxRegions is how many pieces of memory the kernel's vhost devices know.
const maxRegions = 64

// placeMemory returns where in the area of memory devices a new one goes.
func (v *VM) placeMemory(c virtiomem.Config, align uint64) (uint64, error) {
	area := v.hw.layout
	switch {
	case v.hw.board.Type().Kind != machine.Q35:
		return 0, errors.New("memory devices (e.g. for memory hotplug) are not supported by the machine")
	case area.DeviceSize == 0:
		return 0, errors.New("memory devices (e.g. for memory hotplug) are not enabled, please specify the maxmem option")
	case c.Region%align != 0:
		return 0, fmt.Errorf("backend memory size must be multiple of 0x%x", align)
	}
	var used uint64
	var taken []mem.Region
	for _, r := range v.hw.mem.Regions() {
		if r.Device {
			used += uint64(len(r.Data))
			taken = append(taken, r)
		}
	}
	if len(v.hw.mem.Regions()) >= maxRegions {
		return 0, errNoSlots
	}
	if total := v.cfg.Memory.MaxSize - v.cfg.Memory.Size; c.Region > total-used {
		return 0, fmt.Errorf("not enough space, currently 0x%x in use of total space for memory devices 0x%x", used, total)
	}
	if c.Addr != 0 {
		return c.Addr, checkPlace(area, c, taken, align)
	}
	at := (area.Device + align - 1) &^ (align - 1)
	for _, r := range taken {
		if at+c.Region > r.Base {
			at = max(at, (r.End()+align-1)&^(align-1))
		}
	}
	if at+c.Region > area.Device+area.DeviceSize {
		return 0, errors.New("could not find position in guest address space for memory device - memory fragmented due to alignments")
	}
	return at, nil
}

// checkPlace refuses an address that the user chose and that is not free.
func checkPlace(area machine.Layout, c virtiomem.Config, taken []mem.Region, align uint64) error {
	switch {
	case c.Addr%align != 0:
		return fmt.Errorf("address must be aligned to 0x%x bytes", align)
	case c.Addr < area.Device || c.Addr-area.Device > area.DeviceSize || c.Region > area.DeviceSize-(c.Addr-area.Device):
		return fmt.Errorf("can't add memory device [0x%x:0x%x], usable range for memory devices [0x%x:0x%x]",
			c.Addr, c.Region, area.Device, area.DeviceSize)
	case slices.ContainsFunc(taken, func(r mem.Region) bool { return c.Addr < r.End() && r.Base < c.Addr+c.Region }):
		return fmt.Errorf("address range [0x%x:0x%x] conflicts with a memory device", c.Addr, c.Region)
	}
	return nil
}

// addMemory makes the memory of a device part of guest RAM, for good.
func (h *hardware) addMemory(b *mem.Backend, addr uint64) error {
	unmap := func() error { return nil }
	if h.kvm != nil {
		slot, err := h.kvm.MapRAM(addr, b.Data, false)
		if err != nil {
			return err
		}
		unmap = slot.Unmap
	}
	if err := h.mem.Add(mem.Region{Base: addr, Data: b.Data, FD: b.SharedFD(), Device: true}); err != nil {
		return errors.Join(err, unmap())
	}
	h.shared = h.shared || b.FD >= 0
	h.undo.later(b.Close)
	h.undo.later(unmap)
	return nil
}

// still runs f while neither vCPUs nor devices do.
func (v *VM) still(f func() error) error {
	if v.control.State() == qapi.RunStateRunning {
		v.hw.Hold()
		defer v.hw.Resume()
	}
	return f()
}

// MemoryDevices describes the memory devices in the order of their addresses.
func (v *VM) MemoryDevices() qapi.MemoryDeviceInfoList {
	out := qapi.MemoryDeviceInfoList{}
	for _, in := range v.tree.Devices() {
		d, ok := in.Device.(*virtiomem.Device)
		if !ok {
			continue
		}
		c := d.Config()
		info := qapi.VirtioMEMDeviceInfo{
			Memaddr: c.Addr, RequestedSize: d.RequestedSize(), Size: d.PluggedSize(), MaxSize: c.Region, BlockSize: c.Block, Node: int64(c.Node),
			Memdev: "/objects/" + in.Config.(*memConfig).Memdev,
		}
		if in.ID != "" {
			info.Id = &in.ID
		}
		out = append(out, qapi.MemoryDeviceInfo{
			Type: qapi.MemoryDeviceInfoKindVirtioMem, VirtioMem: &qapi.VirtioMEMDeviceInfoWrapper{Data: info},
		})
	}
	slices.SortFunc(out, func(a, b qapi.MemoryDeviceInfo) int {
		return cmp.Compare(a.VirtioMem.Data.Memaddr, b.VirtioMem.Data.Memaddr)
	})
	return out
}

// hasNode reports whether the machine has a NUMA node, as it does if memory can come.
func (v *VM) hasNode() bool {
	return v.hw.board != nil && v.hw.board.Type().Kind == machine.Q35 && v.hw.layout.DeviceSize > 0
}

// Nodes lists the NUMA nodes with their processors and memory.
func (v *VM) Nodes() string {
	if !v.hasNode() {
		return "0 nodes\n"
	}
	out := "1 nodes\nnode 0 cpus:"
	for _, c := range v.CPUs() {
		out += fmt.Sprintf(" %d", c.CpuIndex)
	}
	m := v.MemorySize()
	plugged := *m.PluggedMemory
	return out + fmt.Sprintf("\nnode 0 size: %d MB\nnode 0 plugged: %d MB\n", (m.BaseMemory+plugged)>>20, plugged>>20)
}

// plugged returns regions without what is unplugged: to read that would take memory from
// the host.
func (h *hardware) plugged(regions []mem.Region) []mem.Region {
	var out []mem.Region
	for _, r := range regions {
		i := slices.IndexFunc(h.memories, func(d *virtiomem.Device) bool { return d.Config().Addr == r.Base })
		if i < 0 {
			out = append(out, r)
			continue
		}
		for off, n := range h.memories[i].Plugged() {
			out = append(out, mem.Region{
				Base: r.Base + off, Data: r.Data[off : off+n : off+n], FD: r.FD, Offset: r.Offset + int64(off), Device: true,
			})
		}
	}
	return out
}

// memoryChanged tells that a guest plugged or unplugged memory.
func (v *VM) memoryChanged(in *qdev.Instance, size uint64) {
	e := qapi.MemoryDeviceSizeChangeEvent{Size: size, QomPath: in.Path()}
	if in.ID != "" {
		e.Id = &in.ID
	}
	events.Emit(v.events, qapi.EventMemoryDeviceSizeChange, e)
}
