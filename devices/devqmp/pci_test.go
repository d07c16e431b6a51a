package devqmp

import (
	"testing"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
	"hv/devices/pci"
	"hv/qmp/qapi"
)

// encoded returns a value as it goes over the wire.
func encoded(x qapi.Encodable) string {
	e := qapi.NewEncoder(false)
	x.EncodeQAPI(e)
	return string(e.Bytes())
}

// TestQueryPCI compares the answer for a small machine with what QEMU 7.2 says of the same
// devices.
func TestQueryPCI(t *testing.T) {
	var ports, mmio bus.Space
	var irq irqtest.Controller
	host, err := pci.NewHost(pci.HostConfig{
		Ports: &ports, MMIO: &mmio, IRQ: &irq, ECAMBase: 0xb0000000, ECAMSize: 256 << 20, Window32: pci.Window{Base: 0xc0000000, Size: 1 << 28},
	})
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := pci.NewPCIBridge("br", 1, pci.Reserve{})
	if err != nil {
		t.Fatal(err)
	}
	disk := pci.NewFunction(pci.Identity{Vendor: 0x1af4, Device: 0x1042, Class: 0x010000})
	disk.SetName("disk", "d0")
	if err := disk.SetInterruptPin(1); err != nil {
		t.Fatal(err)
	}
	for i, b := range map[int]pci.BAR{0: {Size: 32, Kind: pci.BARIO}, 4: {Size: 16384, Kind: pci.BARMem64, Prefetch: true}} {
		if err := disk.AddBAR(i, b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := host.Root().Attach(&pci.Addr{Slot: 3}, bridge.Function, false); err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.Secondary().Attach(&pci.Addr{Slot: 1}, disk, false); err != nil {
		t.Fatal(err)
	}
	const unassigned = `{"irq_pin": 0, "bus": 0, "pci_bridge": {"bus": {"prefetchable_range": {"limit": 1048575, "base": 4293918720}, ` +
		`"memory_range": {"limit": 1048575, "base": 4293918720}, "secondary": 0, "io_range": {"limit": 4095, "base": 61440}, ` +
		`"number": 0, "subordinate": 0}}, "qdev_id": "br", "slot": 3, "class_info": {"class": 1540, "desc": "PCI bridge"}, ` +
		`"id": {"device": 1, "vendor": 6966}, "function": 0, "regions": []}`
	before := pciDevices(host.Root())
	if got := encoded(&before[1]); got != unassigned {
		t.Errorf("before firmware:\n%s, want\n%s", got, unassigned)
	}
	if err := host.Assign(); err != nil {
		t.Fatal(err)
	}
	after := pciDevices(host.Root())
	if len(after) != 2 || len(after[1].PciBridge.Devices) != 1 {
		t.Fatalf("%+v", after)
	}
	const want = `{"irq_pin": 1, "bus": 1, "qdev_id": "d0", "irq": 10, "slot": 1, "class_info": {"class": 256, "desc": "SCSI controller"}, ` +
		`"id": {"device": 4162, "subsystem-vendor": 6900, "vendor": 6900, "subsystem": 4352}, "function": 0, ` +
		`"regions": [{"bar": 0, "size": 32, "address": 49152, "type": "io"}, ` +
		`{"prefetch": true, "mem_type_64": true, "bar": 4, "size": 16384, "address": 3221225472, "type": "memory"}]}`
	if got := encoded(&after[1].PciBridge.Devices[0]); got != want {
		t.Errorf("the disk:\n%s, want\n%s", got, want)
	}
	// A BAR that is not decoded has no address.
	disk.WriteConfig(4, []byte{0, 0})
	if r := pciRegions(disk); r[0].Address != -1 || r[1].Address != -1 {
		t.Errorf("%+v", r)
	}
}
