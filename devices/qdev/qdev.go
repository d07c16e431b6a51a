// Package qdev knows which devices can be made, what properties they have, and
// which ones there are: the one source behind -device, device_add, their help
// and the QOM tree.
//
// A device package exports a configuration struct whose fields carry tags:
//
//	NumQueues uint16 `prop:"num-queues" default:"1" desc:"number of request queues"`
//
// hypervisor/vm registers a Driver for it in a Registry, with a function that
// makes the device. Embedded structs contribute their fields. A Registry is
// built once and read from then on; a Tree belongs to the control goroutine.
//
// It follows QEMU's qdev in names, formats and messages. It depends on devices/qom.
package qdev

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Driver is a kind of device.
type Driver struct {
	Name    string
	Aliases []string
	Parent  string // parent type in the QOM hierarchy
	Bus     string // kind of bus it plugs into: PCI, virtio-serial-bus, ISA; "" for none
	// Category is the heading it is listed under.
	Category Category
	Desc     string
	// NewConfig returns a pointer to a zero configuration struct.
	NewConfig func() any
	// Make creates the device that an Instance describes. env is what
	// hypervisor/vm hands to Create.
	Make func(env any, d *Instance) error
}

// Category is a heading of -device help.
type Category int

// Categories, in the order in which they are listed.
const (
	Bridge Category = iota
	Storage
	Network
	Input
	Misc
	Watchdog
	CPU
)

var categoryNames = [...]string{"Controller/Bridge/Hub", "Storage", "Network", "Input", "Misc", "Watchdog", "CPU"}

// Instance is a device that was asked for, before and after it is made.
type Instance struct {
	Driver *Driver
	ID     string // "" for an anonymous device
	// Bus and Addr say where it goes; "" leaves the choice to the machine.
	Bus, Addr     string
	Multifunction bool
	// Config is the driver's configuration struct with all properties set.
	Config any
	// Device is what Make made, for whoever knows its type.
	Device any
	// Parent is the device that has the bus on which this one sits; nil for those on
	// the machine's own.
	Parent *Instance
	// Hotplugged says that it came to a machine that was complete.
	Hotplugged bool
	// Unplugging is until when the guest has to let the device go, once it was asked.
	Unplugging time.Time

	path string
	undo []func() error
}

// Later notes what is to be done when the device goes.
func (d *Instance) Later(f func() error) { d.undo = append(d.undo, f) }

// Release does what Later noted, the last first.
func (d *Instance) Release() error {
	var errs []error
	for _, f := range slices.Backward(d.undo) {
		errs = append(errs, f())
	}
	d.undo = nil
	return errors.Join(errs...)
}

// Path returns the device's QOM path, once it is in a Tree.
func (d *Instance) Path() string { return d.path }

// Label names the device in messages.
func (d *Instance) Label() string {
	if d.ID != "" {
		return d.ID
	}
	return d.Driver.Name
}

// Registry is the set of drivers.
type Registry struct {
	drivers []*Driver
	byName  map[string]*Driver
}

// NewRegistry returns a registry of drivers. Two of one name are a programming
// error and panic.
func NewRegistry(drivers ...*Driver) *Registry {
	r := &Registry{byName: map[string]*Driver{}}
	for _, d := range drivers {
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			if r.byName[name] != nil {
				panic("two drivers named " + name)
			}
			r.byName[name] = d
		}
		r.drivers = append(r.drivers, d)
	}
	return r
}

// Lookup returns the driver with a name or an alias.
func (r *Registry) Lookup(name string) (*Driver, error) {
	if d := r.byName[name]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("'%s' is not a valid device model name%s", name, Near(name, r.names()))
}

func (r *Registry) names() []string {
	names := make([]string, 0, len(r.byName))
	for n := range r.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Drivers returns all drivers in the order of their names.
func (r *Registry) Drivers() []*Driver {
	d := slices.Clone(r.drivers)
	slices.SortFunc(d, func(a, b *Driver) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// New returns an instance of a driver with its properties at their defaults.
func (r *Registry) New(driver string) (*Instance, error) {
	d, err := r.Lookup(driver)
	if err != nil {
		return nil, err
	}
	cfg := d.NewConfig()
	if err := SetDefaults(cfg); err != nil {
		return nil, fmt.Errorf("device %s: %w", driver, err)
	}
	return &Instance{Driver: d, Config: cfg}, nil
}

// Set sets a property, or where the device goes, from its text.
func (d *Instance) Set(name, value string) error {
	switch name {
	case "id":
		if err := CheckID(value); err != nil {
			return err
		}
		d.ID = value
		return nil
	case "bus":
		d.Bus = value
		return nil
	}
	if d.Driver.Bus == "PCI" {
		switch name {
		case "addr":
			d.Addr = value
			return nil
		case "multifunction":
			return setBool(&d.Multifunction, d.Driver.Name, name, value)
		}
	}
	return Set(d.Config, d.Driver.Name, name, value)
}

// CheckID returns an error for a text that cannot name an object: ids are
// letters, digits, '-', '.' and '_' and begin with a letter.
func CheckID(id string) error {
	ok := id != "" && isLetter(id[0])
	for i := range len(id) {
		c := id[i]
		ok = ok && (isLetter(c) || c >= '0' && c <= '9' || strings.IndexByte("-._", c) >= 0)
	}
	if !ok {
		return fmt.Errorf("parameter 'id' expects an identifier, not '%s': letters, digits, '-', '.' and '_', starting with a letter", id)
	}
	return nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
