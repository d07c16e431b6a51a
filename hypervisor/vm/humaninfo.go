package vm

import (
	"fmt"
	"io"
	"net"
	"strings"

	"hv/devices/bus"
	"hv/devices/qdev"
	"hv/devices/qom"
	"hv/qmp/qapi"
)

// writeNetwork prints the back ends that no NIC has, and the NICs, each with its back end
// below it.
func (v *VM) writeNetwork(w io.Writer) {
	for _, b := range v.net.backs {
		for q := range b.Queues() {
			if b.nic == nil {
				b.write(w, q)
			}
		}
	}
	for _, n := range v.net.nics {
		queues := 1
		if n.back != nil {
			queues = n.back.Queues()
		}
		mac := n.dev.Filter().MAC
		for q := range queues {
			fmt.Fprintf(w, "%s: index=%d,type=nic,model=%s,macaddr=%s\n", n.name, q, n.in.Driver.Name, net.HardwareAddr(mac[:]))
			if n.back != nil {
				fmt.Fprint(w, " \\ ")
				n.back.write(w, q)
			}
		}
	}
}

func (b *netback) write(w io.Writer, queue int) {
	fmt.Fprintf(w, "%s: index=%d,type=%s,%s\n", b.id, queue, b.kind, b.Info(queue))
	if len(b.dumps) > 0 {
		fmt.Fprintln(w, "filters:")
	}
	for _, d := range b.dumps {
		fmt.Fprintf(w, "  - %s: type=filter-dump,file=%s,maxlen=%d,netdev=%s,queue=%s,status=%s\n", d.id, d.cfg.File, d.cfg.MaxLen, d.cfg.Netdev, d.cfg.Queue, d.cfg.Status)
	}
}

// writeMemory prints who answers at which address.
func (v *VM) writeMemory(w io.Writer) {
	line := func(base, size uint64, kind, name string) {
		fmt.Fprintf(w, "    %016x-%016x (prio 0, %s): %s\n", base, base+size-1, kind, name)
	}
	space := func(s *bus.Space) {
		for _, m := range s.Mappings() {
			line(m.Base, m.Size, "i/o", m.Name)
		}
	}
	fmt.Fprintf(w, "address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n")
	if v.hw.mem != nil {
		for _, r := range v.hw.mem.Regions() {
			line(r.Base, uint64(len(r.Data)), "ram", "ram")
		}
	}
	space(&v.hw.board.MMIO)
	fmt.Fprintf(w, "\naddress-space: I/O\n  0000000000000000-000000000000ffff (prio 0, i/o): io\n")
	space(&v.hw.board.Ports)
	fmt.Fprintln(w)
}

// writeTree prints the devices on their buses, with their properties.
func (v *VM) writeTree(w io.Writer) {
	fmt.Fprintf(w, "bus: main-system-bus\n  type System\n")
	v.writeDevices(w, nil, 2)
}

func (v *VM) writeDevices(w io.Writer, parent *qdev.Instance, depth int) {
	title := ""
	for _, in := range v.tree.Devices() {
		if v.parent(in) != parent {
			continue
		}
		indent := strings.Repeat(" ", depth)
		if t := busTitle(in, parent); t != title {
			title = t
			fmt.Fprintf(w, "%sbus: %s\n%s  type %s\n", indent, title, indent, strings.Replace(in.Driver.Bus, "PCI", "PCIE", 1))
		}
		fmt.Fprintf(w, "%s  dev: %s, id \"%s\"\n", indent, in.Driver.Name, in.ID)
		for _, p := range qdev.Objects(in.Config) {
			fmt.Fprintf(w, "%s    %s = %s\n", indent, p.Name, valueText(p))
		}
		v.writeDevices(w, in, depth+4)
	}
}

// parent returns the device that has the bus on which in sits, nil for the machine.
func (v *VM) parent(in *qdev.Instance) *qdev.Instance {
	if in.Parent != nil {
		return in.Parent
	}
	return v.tree.Find(in.Bus)
}

func busTitle(in, parent *qdev.Instance) string {
	switch {
	case parent == nil && in.Driver.Bus == "PCI":
		return "pcie.0"
	case parent == nil:
		return strings.ToLower(in.Driver.Bus) + ".0"
	}
	return parent.Label() + choose(in.Driver.Bus == "PCI", "", ".0")
}

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// valueText prints a property's value.
func valueText(p qom.Property) string {
	if p.Get == nil {
		return "<null>"
	}
	e := qapi.NewEncoder(false)
	e.Value(qapi.NewValue(p.Get))
	return string(e.Bytes())
}
