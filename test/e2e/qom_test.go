package e2e

import (
	"context"
	"strings"
	"testing"

	machinery "hv/hypervisor/vm"
	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// ask runs a command for what it returns.
func ask[A, R any, PA qapi.Codec[A], PR qapi.Codec[R]](t testing.TB, v *vm, cmd qapi.Command[A, R], a A) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	r, err := client.Call[A, R, PA, PR](ctx, v.c, cmd, a)
	if err != nil {
		t.Fatalf("%s: %v", cmd.Name, err)
	}
	return r
}

// walk reads every property below a path and returns them by path.
func walk(t *testing.T, v *vm, path string, found map[string]qapi.Value) {
	t.Helper()
	for _, p := range ask(t, v, qapi.CmdQomList, qapi.QomListArgs{Path: path}) {
		at := strings.TrimSuffix(path, "/") + "/" + p.Name
		found[at] = ask(t, v, qapi.CmdQomGet, qapi.QomGetArgs{Path: path, Property: p.Name})
		if strings.HasPrefix(p.Type, "child<") {
			walk(t, v, at, found)
		}
	}
}

// TestObjectTree reads all objects, and makes and removes some.
func TestObjectTree(t *testing.T) {
	v := start(t, bare(t, "spin", "-smp", "2", "-device", "pcie-root-port,id=rp0,slot=1", "-device", "virtio-balloon-pci,id=balloon0", "-object", "rng-builtin,id=o0")...)
	found := map[string]qapi.Value{}
	walk(t, v, "/", found)
	for path, want := range map[string]string{
		"/machine/type":           "pc-q35-7.2-machine",
		"/machine/peripheral/rp0": "/machine/peripheral/rp0",
		"/machine/peripheral/balloon0/virtio-backend/type":  "virtio-balloon-device",
		"/machine/unattached/device[1]/type":                "host-x86_64-cpu",
		"/objects/o0/type":                                  "rng-builtin",
		"/machine/peripheral/balloon0/guest-stats/nonsense": "",
		"/objects/pc.ram/type":                              "memory-backend-ram",
		"/machine/peripheral-anon/type":                     "container",
		"/chardevs/serial0/type":                            "chardev-stdio",
	} {
		if got := string(found[path].Text()); got != want {
			t.Errorf("%s is %q, not %q", path, got, want)
		}
	}
	v.works(t, "qom-set", `{"path":"balloon0","property":"guest-stats-polling-interval","value":5}`)
	if n, _ := ask(t, v, qapi.CmdQomGet, qapi.QomGetArgs{Path: "balloon0", Property: "guest-stats-polling-interval"}).Int64(); n != 5 {
		t.Errorf("interval %d", n)
	}
	v.failing(t, "after it was realized", "qom-set", `{"path":"rp0","property":"slot","value":5}`)
	v.failing(t, "Device '/nothing' not found", "qom-list", `{"path":"/nothing"}`)

	v.works(t, "object-add", `{"qom-type":"rng-random","id":"o1","filename":"/dev/urandom"}`)
	v.failing(t, "attempt to add duplicate property 'o1'", "object-add", `{"qom-type":"rng-random","id":"o1"}`)
	v.works(t, "device_add", `{"driver":"virtio-rng-pci","bus":"rp0","id":"r","rng":"o1"}`)
	v.failing(t, "object 'o1' is in use, can not be deleted", "object-del", `{"id":"o1"}`)
	v.works(t, "object-del", `{"id":"o0"}`)
	v.failing(t, "object 'o0' not found", "object-del", `{"id":"o0"}`)
	v.failing(t, "Parameter 'qom-type' does not accept value 'pony'", "object-add", `{"qom-type":"pony","id":"p"}`)
}

// TestTypes: the lists of types have what -device takes, and each has its properties.
func TestTypes(t *testing.T) {
	v := start(t, "-machine", "none", "-nodefaults", "-display", "none")
	device := "device"
	types := map[string]bool{}
	for _, x := range ask(t, v, qapi.CmdQomListTypes, qapi.QomListTypesArgs{Implements: &device}) {
		types[x.Name] = true
		ask(t, v, qapi.CmdQomListProperties, qapi.TypenameArgs{Typename: x.Name})
		ask(t, v, qapi.CmdDeviceListProperties, qapi.TypenameArgs{Typename: x.Name})
	}
	for _, d := range machinery.Registry().Drivers() {
		if !types[d.Name] {
			t.Errorf("qom-list-types does not have %s", d.Name)
		}
	}
	v.failing(t, "Device 'pony' not found", "device-list-properties", `{"typename":"pony"}`)
	v.failing(t, "expects a non-abstract device type", "device-list-properties", `{"typename":"rng-random"}`)
	v.failing(t, "Class 'pony' not found", "qom-list-properties", `{"typename":"pony"}`)
}
