package vm

import (
	"fmt"
	"path"
	"strings"

	"hv/devices/qdev"
	"hv/devices/qom"
	"hv/hypervisor/config"
	"hv/hypervisor/cpuid"
	"hv/qmp/qapi"
)

// Types returns the types of objects.
func (v *VM) Types() *qom.Types { return newTypes(v.opt.Registry) }

// Objects returns the tree of objects as it is now. Control goroutine only.
func (v *VM) Objects() *qom.Object {
	root := qom.New("container")
	m := root.Add("machine", qom.New(machineType(v.board()), v.machineProps()...))
	peripheral := m.Add("peripheral", qom.New("container"))
	anon := m.Add("peripheral-anon", qom.New("container"))
	for _, in := range v.tree.Devices() {
		parent := anon
		if in.ID != "" {
			parent = peripheral
		}
		v.addDeviceObject(parent, in)
	}
	v.addUnattached(m.Add("unattached", qom.New("container")))
	objects := root.Add("objects", qom.New("container"))
	if v.cfg.Machine.MemoryBackend == "" && v.hw.mem != nil {
		objects.Add("pc.ram", qom.New("memory-backend-ram", qom.Property{Name: "size", Type: "int", Get: qom.Uint(v.cfg.Memory.Size)}))
	}
	chardevs := root.Add("chardevs", qom.New("container"))
	for _, c := range v.chardevs.List() {
		chardevs.Add(c.Label, qom.New(chardevType(c.Filename), qom.Property{Name: "label", Type: "string", Get: qom.Str(c.Label)},
			qom.Property{Name: "filename", Type: "string", Get: qom.Str(c.Filename)}))
	}
	for _, o := range v.objects.all {
		props := objectTexts(qdev.Objects(o.Props()))
		if o.Limits != nil {
			props = v.groupProps(o.ID)
		}
		if o.Thread != nil {
			props = o.threadProps()
		}
		if o.dump != nil {
			props = o.dump.props()
		}
		objects.Add(o.ID, qom.New(o.Type, props...))
	}
	return root
}

// chardevType returns the type of a chardev that is described by a filename such as
// pty:/dev/pts/1.
func chardevType(filename string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(filename, "disconnected:"), ":")
	switch kind {
	case "unix", "tcp", "telnet":
		kind = "socket"
	}
	return "chardev-" + kind
}

// machineProps are the properties of /machine.
func (v *VM) machineProps() []qom.Property {
	smp := v.cfg.SMP
	number := func(n int) qom.Getter { return qom.Int(int64(n)) }
	props := []qom.Property{
		{Name: "smp", Type: "SMPConfiguration", Get: qom.Struct(
			qom.Member{Name: "cpus", Value: number(smp.CPUs)}, qom.Member{Name: "sockets", Value: number(smp.Sockets)},
			qom.Member{Name: "dies", Value: number(smp.Dies)}, qom.Member{Name: "cores", Value: number(smp.Cores)},
			qom.Member{Name: "threads", Value: number(smp.Threads)}, qom.Member{Name: "maxcpus", Value: number(smp.MaxCPUs)})},
		{Name: "memory", Type: "MemorySizeConfiguration", Get: qom.Struct(
			qom.Member{Name: "size", Value: qom.Uint(v.cfg.Memory.Size)}, qom.Member{Name: "slots", Value: number(v.cfg.Memory.Slots)},
			qom.Member{Name: "max-size", Value: qom.Uint(max(v.cfg.Memory.Size, v.cfg.Memory.MaxSize))})},
		{Name: "acpi", Type: "OnOffAuto", Get: qom.Str("auto")},
	}
	for _, p := range []struct{ name, value string }{
		{"kernel", v.cfg.Kernel}, {"initrd", v.cfg.Initrd}, {"append", v.cfg.Append}, {"memory-backend", v.cfg.Machine.MemoryBackend},
	} {
		props = append(props, qom.Property{Name: p.name, Type: "string", Get: qom.Str(p.value)})
	}
	return props
}

// realized are the properties of a device that is there.
func realized(hotpluggable, hotplugged bool) []qom.Property {
	return []qom.Property{
		{Name: "realized", Type: "bool", Get: qom.Bool(true)},
		{Name: "hotpluggable", Type: "bool", Get: qom.Bool(hotpluggable)},
		{Name: "hotplugged", Type: "bool", Get: qom.Bool(hotplugged)},
	}
}

// addDeviceObject adds the object of a device.
func (v *VM) addDeviceObject(parent *qom.Object, in *qdev.Instance) {
	props := realized(in.Driver.Bus != "ISA", in.Hotplugged)
	if p := v.places[in]; p != nil {
		_, at := p.fn.Addr()
		props = append(props, qom.Property{Name: "addr", Type: "int32", Get: qom.Int(int64(at.Slot)<<3 | int64(at.Func))},
			qom.Property{Name: "multifunction", Type: "bool", Get: qom.Bool(in.Multifunction)})
	}
	own := qdev.Objects(in.Config)
	for i := range own {
		own[i].Set = func(qapi.Value) error {
			return fmt.Errorf("Attempt to set property '%s' on device '%s' (type '%s') after it was realized", own[i].Name, in.ID, in.Driver.Name)
		}
	}
	if live, ok := in.Device.(liveObject); ok {
		own = override(own, live.QOM())
	}
	o := parent.Add(path.Base(in.Path()), qom.New(in.Driver.Name, append(props, own...)...))
	if isVirtio(in.Driver) {
		o.Add("virtio-backend", qom.New(virtioType(in.Driver), append(realized(true, in.Hotplugged), own...)...))
	}
}

// liveObject is a device with properties of its own that can be read and set at any time.
type liveObject interface{ QOM() []qom.Property }

// override returns props with those in over in place of ones of the same name.
func override(props, over []qom.Property) []qom.Property {
	for _, o := range over {
		replaced := false
		for i := range props {
			if props[i].Name == o.Name {
				props[i], replaced = o, true
			}
		}
		if !replaced {
			props = append(props, o)
		}
	}
	return props
}

// addUnattached adds what the machine has without being asked: its vCPUs and clock.
func (v *VM) addUnattached(o *qom.Object) {
	spec, err := cpuid.Parse(v.cfg.CPU)
	if err != nil {
		return // a machine without processors takes any
	}
	for _, c := range v.CPUs() {
		if v.cpuDevices[int(c.CpuIndex)] != nil {
			continue // it is a peripheral
		}
		props := realized(true, false)
		for _, p := range []struct {
			name  string
			value *int64
		}{{"socket-id", c.Props.SocketId}, {"die-id", c.Props.DieId}, {"core-id", c.Props.CoreId}, {"thread-id", c.Props.ThreadId}} {
			at := int64(0)
			if p.value != nil {
				at = *p.value
			}
			props = append(props, qom.Property{Name: p.name, Type: "int32", Get: qom.Int(at)})
		}
		var missing []qom.Getter
		if b := v.hw.cpuid; b != nil { // qtest has no host to miss anything of
			for _, f := range b.Unavailable {
				missing = append(missing, qom.Str(f))
			}
		}
		props = append(props, qom.Property{Name: "unavailable-features", Type: "strList", Get: qom.List(missing...)})
		o.Add(fmt.Sprintf("device[%d]", c.CpuIndex), qom.New(cpuid.TypeName(spec.Model), props...))
	}
	o.Add("rtc", qom.New("mc146818rtc", realized(false, false)...))
}

// AddObject makes an object. Control goroutine only.
func (v *VM) AddObject(o qapi.ObjectOptions) error {
	cfg, err := config.NewObject(&o)
	if err != nil {
		return err
	}
	return v.addObject(cfg)
}

// RemoveObject removes an object. Control goroutine only.
func (v *VM) RemoveObject(id string) error { return v.removeObject(id) }
