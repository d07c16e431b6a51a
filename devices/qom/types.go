package qom

import (
	"fmt"
	"slices"
	"strings"

	"hv/qmp/qapi"
)

// Type is a kind of object.
type Type struct {
	Name, Parent string // Parent is "" for object itself
	Abstract     bool
	// Props returns the properties that objects of the type have from the start, without
	// those of the parent; nil for none.
	Props func() []Property
}

// Types is the hierarchy of types, which is built once.
type Types struct{ byName map[string]Type }

// NewTypes returns a hierarchy. A parent that is not in it, and two of a name, are
// mistakes in the program and panic.
func NewTypes(types ...Type) *Types {
	t := &Types{byName: map[string]Type{}}
	for _, x := range types {
		if _, ok := t.byName[x.Name]; ok {
			panic("two types named " + x.Name)
		}
		t.byName[x.Name] = x
	}
	for _, x := range types {
		if _, ok := t.byName[x.Parent]; !ok && x.Parent != "" {
			panic("type " + x.Name + " has an unknown parent " + x.Parent)
		}
	}
	return t
}

// Is reports whether a type is, or descends from, another.
func (t *Types) Is(name, ancestor string) bool {
	for name != "" {
		if name == ancestor {
			return true
		}
		name = t.byName[name].Parent
	}
	return false
}

// List returns the types below one ("" for all), sorted by name. Abstract ones are left
// out unless they are wanted.
func (t *Types) List(ancestor string, abstract bool) []Type {
	var out []Type
	for _, x := range t.byName {
		if (ancestor == "" || t.Is(x.Name, ancestor)) && (abstract || !x.Abstract) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Properties returns what objects of a type have, with what they inherit, sorted by name.
func (t *Types) Properties(name string) ([]Property, error) {
	x, ok := t.byName[name]
	if !ok {
		return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Class '%s' not found", name)
	}
	return t.inherited(x), nil
}

// DeviceProperties is Properties of a type that a device can be made of.
func (t *Types) DeviceProperties(name string) ([]Property, error) {
	x, ok := t.byName[name]
	switch {
	case !ok:
		return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", name)
	case x.Abstract || !t.Is(name, "device"):
		return nil, fmt.Errorf("Parameter 'typename' expects a non-abstract device type")
	}
	return slices.DeleteFunc(t.inherited(x), func(p Property) bool { return slices.Contains(common, p.Name) }), nil
}

// common is what all objects or devices have, and lists of a device's properties leave out.
var common = []string{"type", "realized", "hotpluggable", "hotplugged", "parent_bus"}

func (t *Types) inherited(x Type) []Property {
	var all []Property
	for {
		if x.Props != nil {
			for _, p := range x.Props() {
				if !slices.ContainsFunc(all, func(o Property) bool { return o.Name == p.Name }) {
					all = append(all, p)
				}
			}
		}
		if x.Parent == "" {
			break
		}
		x = t.byName[x.Parent]
	}
	slices.SortFunc(all, func(a, b Property) int { return strings.Compare(a.Name, b.Name) })
	return all
}
