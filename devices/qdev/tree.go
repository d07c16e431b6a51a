package qdev

import (
	"fmt"
	"slices"
)

// Tree holds the devices of a machine under their ids and QOM paths.
type Tree struct {
	devices []*Instance
	anon    int
}

// Add puts a device into the tree: under /machine/peripheral if it has an id,
// else under /machine/peripheral-anon. An id that is taken is an error.
func (t *Tree) Add(d *Instance) error {
	if d.ID != "" {
		if t.Find(d.ID) != nil {
			return fmt.Errorf("Duplicate device ID '%s'", d.ID)
		}
		d.path = "/machine/peripheral/" + d.ID
	} else {
		d.path = fmt.Sprintf("/machine/peripheral-anon/device[%d]", t.anon)
		t.anon++
	}
	t.devices = append(t.devices, d)
	return nil
}

// Find returns the device with an id, nil when there is none.
func (t *Tree) Find(id string) *Instance {
	i := slices.IndexFunc(t.devices, func(d *Instance) bool { return d.ID == id })
	if i < 0 || id == "" {
		return nil
	}
	return t.devices[i]
}

// Remove takes a device out of the tree.
func (t *Tree) Remove(d *Instance) {
	t.devices = slices.DeleteFunc(t.devices, func(x *Instance) bool { return x == d })
}

// Children returns the devices on d's buses.
func (t *Tree) Children(d *Instance) []*Instance {
	var out []*Instance
	for _, x := range t.devices {
		if x.Parent == d {
			out = append(out, x)
		}
	}
	return out
}

// FindPath returns the device with a QOM path, nil when there is none.
func (t *Tree) FindPath(path string) *Instance {
	i := slices.IndexFunc(t.devices, func(d *Instance) bool { return d.path == path })
	if i < 0 {
		return nil
	}
	return t.devices[i]
}

// Devices returns the devices in the order in which they were added.
func (t *Tree) Devices() []*Instance { return slices.Clone(t.devices) }
