package e2e

import (
	"strings"
	"testing"

	"hv/qmp/qapi"
)

// failing runs a command that must fail with a text.
func (v *vm) failing(t testing.TB, want, name, args string) {
	t.Helper()
	if err := v.call(name, args); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s %s: %v, want %q", name, args, err, want)
	}
}

// works runs a command that must succeed.
func (v *vm) works(t testing.TB, name, args string) {
	t.Helper()
	if err := v.call(name, args); err != nil {
		t.Fatalf("%s %s: %v", name, args, err)
	}
}

// deleted waits for DEVICE_DELETED, which must be of a path.
func (v *vm) deleted(t testing.TB, path string) {
	t.Helper()
	e := v.event(t, qapi.EventDeviceDeleted.Name)
	if got := string(e.Data.Get("path").Text()); got != path {
		t.Errorf("DEVICE_DELETED of %q, not %q", got, path)
	}
}

// TestPlug makes and removes devices while the guest runs. What needs the guest's driver to
// let a device go is shown by the suite with Linux.
func TestPlug(t *testing.T) {
	v := start(t, bare(t, "spin", "-device", "pcie-root-port,id=rp0,slot=1", "-device", "pcie-root-port,id=rp1,slot=2,hotplug=off",
		"-device", "virtio-serial-pci,id=vs", "-chardev", "null,id=c0", "-device", "vmgenid,id=g")...)
	v.failing(t, "Device 'vmgenid' does not support hotplugging", "device_del", `{"id":"g"}`)
	v.failing(t, "'nonsense' is not a valid device model name", "device_add", `{"driver":"nonsense"}`)
	v.failing(t, "Parameter 'driver' is missing", "device_add", `{"id":"x"}`)
	v.failing(t, "Property 'virtio-rng-pci.colour' not found", "device_add", `{"driver":"virtio-rng-pci","bus":"rp0","colour":"red"}`)
	v.failing(t, "Bus 'nowhere' not found", "device_add", `{"driver":"virtio-rng-pci","bus":"nowhere"}`)
	v.failing(t, "Bus 'pcie.0' does not support hotplugging", "device_add", `{"driver":"virtio-rng-pci"}`)
	v.failing(t, "hot-plug failed: unsupported by the port device 'rp1'", "device_add", `{"driver":"virtio-rng-pci","bus":"rp1"}`)
	v.failing(t, "Bus 'isa.0' does not support hotplugging", "device_add", `{"driver":"pvpanic"}`)
	v.works(t, "device_add", `{"driver":"virtio-rng-pci","bus":"rp0","id":"r","max-bytes":1024,"period":100}`)
	v.failing(t, "Duplicate device ID 'r'", "device_add", `{"driver":"virtio-rng-pci","bus":"rp0","id":"r"}`)
	v.failing(t, "already occupied", "device_add", `{"driver":"virtio-rng-pci","bus":"rp0"}`)
	v.failing(t, "Device 'none' not found", "device_del", `{"id":"none"}`)
	v.failing(t, "Bus 'pcie.0' does not support hotplugging", "device_del", `{"id":"vs"}`)
	v.works(t, "device_del", `{"id":"/machine/peripheral/r"}`)
	// No guest has powered the slot, so it is emptied at once.
	v.deleted(t, "/machine/peripheral/r/virtio-backend")
	v.deleted(t, "/machine/peripheral/r")
	v.failing(t, "Device 'r' not found", "device_del", `{"id":"r"}`)
	v.works(t, "device_add", `{"driver":"virtio-rng-pci","bus":"rp0","id":"r"}`)

	for range 3 {
		v.works(t, "device_add", `{"driver":"virtserialport","id":"p","chardev":"c0","name":"port","bus":"vs.0"}`)
		v.failing(t, "is used by", "device_add", `{"driver":"virtserialport","chardev":"c0"}`)
		v.works(t, "device_del", `{"id":"p"}`)
		v.deleted(t, "/machine/peripheral/p")
	}
}

// TestNetdevs makes and removes network back ends.
func TestNetdevs(t *testing.T) {
	v := start(t, bare(t, "spin", "-device", "pcie-root-port,id=rp0,slot=1")...)
	tap := `{"type":"tap","id":"n0","ifname":"hve2e0","script":"no","downscript":"no"}`
	for range 2 {
		v.works(t, "netdev_add", tap)
		v.failing(t, "Duplicate ID 'n0'", "netdev_add", tap)
		v.works(t, "netdev_del", `{"id":"n0"}`)
		v.failing(t, "Device 'n0' not found", "netdev_del", `{"id":"n0"}`)
	}
	v.failing(t, "Parameter 'type' does not accept value 'carrier-pigeon'", "netdev_add", `{"type":"carrier-pigeon","id":"n0"}`)
	v.works(t, "netdev_add", tap)
	v.works(t, "device_add", `{"driver":"virtio-net-pci","bus":"rp0","id":"nic","netdev":"n0"}`)
	v.works(t, "netdev_del", `{"id":"n0"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}
