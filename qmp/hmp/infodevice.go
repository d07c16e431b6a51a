package hmp

import (
	"slices"
	"strings"
)

// infoDeviceCommands show devices.
func infoDeviceCommands() []*command {
	return []*command{
		show("query-pci", "pci", "", "", "show the PCI devices", (*call).infoPCI),
		{
			name: "qom-tree", args: "path:string?", params: "[path]", help: "show the objects below the machine, or a path",
			needs: []string{"qom-list", "qom-get"}, run: (*call).infoQOM, complete: completePath,
		},
	}
}

// pciRange is what a bridge forwards.
type pciRange struct{ Base, Limit uint64 }

// pciDevice is what query-pci says of a device.
type pciDevice struct {
	Bus, Slot, Function int64
	Class               struct {
		Desc  *string
		Class uint64
	} `json:"class_info"`
	ID struct {
		Device, Vendor  uint64
		Subsystem       *uint64
		SubsystemVendor *uint64 `json:"subsystem-vendor"`
	}
	IRQ     *int64
	Pin     int64  `json:"irq_pin"`
	QdevID  string `json:"qdev_id"`
	Regions []pciRegion
	Bridge  *struct {
		Bus struct {
			Number, Secondary, Subordinate int64
			IO                             pciRange `json:"io_range"`
			Memory                         pciRange `json:"memory_range"`
			Prefetchable                   pciRange `json:"prefetchable_range"`
		}
		Devices []pciDevice
	} `json:"pci_bridge"`
}

type pciRegion struct {
	Bar           int64
	Type          string
	Address, Size int64
	Prefetch      bool
	Wide          bool `json:"mem_type_64"`
}

func (c *call) infoPCI() error {
	var buses []struct{ Devices []pciDevice }
	if c.query("query-pci", nil, &buses) != nil {
		c.printf("PCI devices not supported\n")
		return nil
	}
	for _, b := range buses {
		for _, d := range b.Devices {
			c.pciDevice(&d)
		}
	}
	return nil
}

func (c *call) pciDevice(d *pciDevice) {
	c.printf("  Bus %2d, device %3d, function %d:\n    ", d.Bus, d.Slot, d.Function)
	if d.Class.Desc != nil {
		c.printf("%s", *d.Class.Desc)
	} else {
		c.printf("Class %04d", d.Class.Class)
	}
	c.printf(": PCI device %04x:%04x\n", d.ID.Vendor, d.ID.Device)
	if d.ID.SubsystemVendor != nil && d.ID.Subsystem != nil {
		c.printf("      PCI subsystem %04x:%04x\n", *d.ID.SubsystemVendor, *d.ID.Subsystem)
	}
	if d.IRQ != nil {
		c.printf("      IRQ %d, pin %c\n", *d.IRQ, 'A'+rune(d.Pin)-1)
	}
	if d.Bridge != nil {
		b := &d.Bridge.Bus
		c.printf("      BUS %d.\n      secondary bus %d.\n      subordinate bus %d.\n", b.Number, b.Secondary, b.Subordinate)
		c.printf("      IO range [0x%04x, 0x%04x]\n", b.IO.Base, b.IO.Limit)
		c.printf("      memory range [0x%08x, 0x%08x]\n", b.Memory.Base, b.Memory.Limit)
		c.printf("      prefetchable memory range [0x%08x, 0x%08x]\n", b.Prefetchable.Base, b.Prefetchable.Limit)
	}
	for _, r := range d.Regions {
		c.pciRegion(&r)
	}
	c.printf("      id \"%s\"\n", d.QdevID)
	if d.Bridge != nil {
		for _, sub := range d.Bridge.Devices {
			c.pciDevice(&sub)
		}
	}
}

func (c *call) pciRegion(r *pciRegion) {
	from, to := uint64(r.Address), uint64(r.Address+r.Size-1)
	if r.Type == "io" {
		c.printf("      BAR%d: I/O at 0x%04x [0x%04x].\n", r.Bar, from, to)
		return
	}
	c.printf("      BAR%d: %s bit%s memory at 0x%08x [0x%08x].\n", r.Bar, choose(r.Wide, "64", "32"), choose(r.Prefetch, " prefetchable", ""), from, to)
}

// qomProperty is what qom-list says of a property.
type qomProperty struct{ Name, Type string }

// child returns the type of the object that a property holds.
func (p *qomProperty) child() (string, bool) {
	t, ok := strings.CutPrefix(p.Type, "child<")
	return strings.TrimSuffix(t, ">"), ok
}

// maxObjects bounds how many objects one command shows.
const maxObjects = 100_000

func (c *call) infoQOM() error {
	path := "/machine"
	if c.args.has("path") {
		path = c.args.str("path")
	}
	typ := "container"
	if c.query("qom-list", obj{"path": path}, nil) != nil {
		c.printf("Path '%s' could not be resolved.\n", path)
		return nil
	}
	if err := c.query("qom-get", obj{"path": path, "property": "type"}, &typ); err != nil {
		return err
	}
	left := maxObjects
	return c.qomTree(strings.TrimRight(path, "/"), typ, 0, &left)
}

func (c *call) qomTree(path, typ string, depth int, left *int) error {
	if *left--; *left < 0 {
		return nil
	}
	c.printf("%s", indented(2*depth, "/%s (%s)\n", path[strings.LastIndexByte(path, '/')+1:], typ))
	children, err := c.children(path)
	if err != nil {
		return err
	}
	for _, p := range children {
		t, _ := p.child()
		if err := c.qomTree(path+"/"+p.Name, t, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}

// children lists the properties that hold objects, by name.
func (c *call) children(path string) ([]qomProperty, error) {
	var list []qomProperty
	if err := c.query("qom-list", obj{"path": path + choose(path == "", "/", "")}, &list); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(p qomProperty) bool {
		_, ok := p.child()
		return !ok
	})
	slices.SortFunc(list, func(a, b qomProperty) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
