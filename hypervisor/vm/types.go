package vm

import (
	"slices"
	"strings"

	"hv/devices/qdev"
	"hv/devices/qom"
	"hv/hypervisor/config"
	"hv/hypervisor/machine"
)

// abstracts are the types of which there are no objects, each with its parent.
var abstracts = [][2]string{
	{"device", "object"}, {"bus", "object"}, {"event-loop-base", "object"}, {"machine", "object"}, {"memory-backend", "object"}, {"rng-backend", "object"},
	{"secret_common", "object"}, {"tls-creds", "object"}, {"authz", "object"}, {"chardev", "object"}, {"chardev-fd", "chardev"},
	{"pci-device", "device"}, {"isa-device", "device"}, {"sys-bus-device", "device"}, {"cpu", "device"}, {"virtio-device", "device"},
	{"virtio-serial-port", "device"}, {"scsi-device", "device"}, {"scsi-disk-base", "scsi-device"}, {"x86_64-cpu", "cpu"}, {"x86-machine", "machine"}, {"generic-pc-machine", "x86-machine"},
	{"pci-host-bridge", "sys-bus-device"}, {"pcie-host-bridge", "pci-host-bridge"}, {"virtio-pci", "pci-device"}, {"virtio-bus", "bus"},
	{"base-pci-bridge", "pci-device"}, {"pcie-port", "base-pci-bridge"}, {"pcie-slot", "pcie-port"}, {"pcie-root-port-base", "pcie-slot"},
}

// concretes are the types of what users do not make with -device, each with its parent.
var concretes = [][2]string{
	{"container", "object"}, {"PCI", "bus"}, {"PCIE", "PCI"}, {"ISA", "bus"}, {"virtio-pci-bus", "virtio-bus"}, {"virtio-serial-bus", "bus"}, {"SCSI", "bus"},
	{"q35-pcihost", "pcie-host-bridge"}, {"mch", "pci-device"}, {"ICH9-LPC", "pci-device"}, {"mc146818rtc", "isa-device"}, {"i8042", "isa-device"},
	{"iothread", "event-loop-base"}, {"rng-random", "rng-backend"}, {"rng-builtin", "rng-backend"}, {"secret", "secret_common"}, {"throttle-group", "object"}, {"tls-creds-x509", "tls-creds"}, {"authz-simple", "authz"},
	{"memory-backend-ram", "memory-backend"}, {"memory-backend-file", "memory-backend"}, {"memory-backend-memfd", "memory-backend"},
	{"pc-q35-7.2-machine", "generic-pc-machine"}, {"microvm-machine", "x86-machine"}, {"none-machine", "machine"},
}

// deviceProps are what all devices have.
func deviceProps() []qom.Property {
	return []qom.Property{
		{Name: "realized", Type: "bool"}, {Name: "hotpluggable", Type: "bool"}, {Name: "hotplugged", Type: "bool"}, {Name: "parent_bus", Type: "link<bus>"},
	}
}

// pciProps are what all PCI devices have.
func pciProps() []qom.Property {
	return []qom.Property{
		{Name: "addr", Type: "int32", Desc: "slot and optional function number, example: 06.0 or 06", Default: qom.Int(-1)},
		{Name: "multifunction", Type: "bool", Desc: "on/off", Default: qom.Bool(false)},
	}
}

// newTypes returns the types of all objects that a VM can have.
func newTypes(r *qdev.Registry) *qom.Types {
	types := []qom.Type{{Name: "object", Abstract: true, Props: func() []qom.Property { return []qom.Property{{Name: "type", Type: "string"}} }}}
	for _, x := range abstracts {
		t := qom.Type{Name: x[0], Parent: x[1], Abstract: true}
		switch t.Name {
		case "device":
			t.Props = deviceProps
		case "pci-device":
			t.Props = pciProps
		}
		types = append(types, t)
	}
	for _, x := range concretes {
		types = append(types, qom.Type{Name: x[0], Parent: x[1], Props: objectProps(x[0])})
	}
	return qom.NewTypes(append(types, driverTypes(r)...)...)
}

// objectProps returns the properties of a type that -object makes, nil for others.
func objectProps(name string) func() []qom.Property {
	if !slices.Contains(config.ObjectTypes(), name) {
		return nil
	}
	if name == throttleGroup {
		return throttleProps
	}
	return func() []qom.Property { return objectTexts(qdev.Objects(config.ObjectProps(name))) }
}

// objectTexts gives the properties of an object that are texts the type that those of
// objects have; devices' have another.
func objectTexts(props []qom.Property) []qom.Property {
	for i := range props {
		switch props[i].Type {
		case "str":
			props[i].Type = "string"
		case "int64":
			props[i].Type = "int"
		}
	}
	return props
}

// driverTypes returns the types of devices, with the abstract ones that only they have.
func driverTypes(r *qdev.Registry) []qom.Type {
	var types []qom.Type
	for _, d := range r.Drivers() {
		props := func() []qom.Property { return qdev.Objects(d.NewConfig()) }
		if isVirtio(d) {
			types = append(types, qom.Type{Name: d.Parent, Parent: "virtio-pci", Abstract: true},
				qom.Type{Name: virtioType(d), Parent: "virtio-device", Props: props})
		}
		types = append(types, qom.Type{Name: d.Name, Parent: d.Parent, Props: props})
		for _, a := range d.Aliases {
			if strings.HasSuffix(a, "-non-transitional") {
				types = append(types, qom.Type{Name: a, Parent: d.Parent, Props: props})
			}
		}
	}
	return types
}

// isVirtio reports whether a driver's devices are virtio devices behind PCI functions.
func isVirtio(d *qdev.Driver) bool {
	return d.Parent == d.Name+"-base" && (strings.HasPrefix(d.Name, "virtio-") || strings.HasPrefix(d.Name, "vhost-"))
}

// virtioType returns the type of the device behind a virtio driver's PCI function.
func virtioType(d *qdev.Driver) string {
	name := strings.TrimSuffix(d.Name, "-pci")
	if isMemory(d) {
		return name // unlike all others
	}
	return name + "-device"
}

// machineType returns the type of the machine object.
func machineType(t *machine.Type) string { return t.Name + "-machine" }
