// Package qom is the object tree that QMP shows of a machine: objects with a type, a name
// and properties, found by their paths.
//
// A tree is built when it is asked for, from what there is then, and its properties read
// and change the live things through functions. It belongs to the goroutine that built
// it. Follows QEMU's object model in paths, names and messages. It depends on qmp/qapi.
package qom

import (
	"fmt"
	"slices"
	"strings"

	"hv/qmp/qapi"
)

// Property is a property of an object.
type Property struct {
	Name, Type string
	// Desc and Default are for lists of a type's properties; either may be missing.
	Desc    string
	Default Getter
	// Get reads it; nil if it cannot be read.
	Get Getter
	// Set changes it; nil if it cannot be changed.
	Set func(v qapi.Value) error
}

// Getter adds a property's value to a document.
type Getter func(d *qapi.Document)

// Object is a node of the tree.
type Object struct {
	Type  string
	Props []Property

	name     string
	parent   *Object
	children []*Object
}

// New returns an object that is in no tree yet.
func New(typ string, props ...Property) *Object { return &Object{Type: typ, Props: props} }

// Add makes an object a child under a name, and returns it.
func (o *Object) Add(name string, child *Object) *Object {
	child.name, child.parent = name, o
	o.children = append(o.children, child)
	return child
}

// Path returns the object's path from the root of its tree.
func (o *Object) Path() string {
	if o.parent == nil {
		return "/"
	}
	return strings.TrimSuffix(o.parent.Path(), "/") + "/" + o.name
}

// child returns the child with a name, nil if there is none.
func (o *Object) child(name string) *Object {
	i := slices.IndexFunc(o.children, func(c *Object) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return o.children[i]
}

// walk follows the parts of a path; empty ones stay where they are.
func (o *Object) walk(parts []string) *Object {
	for _, p := range parts {
		if p == "" {
			continue
		}
		if o = o.child(p); o == nil {
			return nil
		}
	}
	return o
}

// Resolve returns the object at an absolute path, or the one object whose path ends with a
// partial one.
func (o *Object) Resolve(path string) (*Object, error) {
	parts := strings.Split(path, "/")
	var found []*Object
	if strings.HasPrefix(path, "/") {
		if x := o.walk(parts); x != nil {
			found = append(found, x)
		}
	} else {
		found = o.search(parts, nil)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", path)
	}
	return nil, fmt.Errorf("Path '%s' does not uniquely identify an object", path)
}

// search adds to found what the parts lead to from o or any object below it.
func (o *Object) search(parts []string, found []*Object) []*Object {
	if x := o.walk(parts); x != nil && !slices.Contains(found, x) {
		found = append(found, x)
	}
	for _, c := range o.children {
		found = c.search(parts, found)
	}
	return found
}

// List returns all properties: the type, the object's own, and its children.
func (o *Object) List() []Property {
	all := []Property{{Name: "type", Type: "string", Get: Str(o.Type)}}
	all = append(all, o.Props...)
	for _, c := range o.children {
		all = append(all, Property{Name: c.name, Type: "child<" + c.Type + ">", Get: Str(c.Path())})
	}
	return all
}

// find returns a property by name.
func (o *Object) find(name string) (Property, error) {
	for _, p := range o.List() {
		if p.Name == name {
			return p, nil
		}
	}
	return Property{}, fmt.Errorf("Property '%s.%s' not found", o.Type, name)
}

// Get reads a property.
func (o *Object) Get(name string) (qapi.Value, error) {
	p, err := o.find(name)
	if err != nil {
		return qapi.Value{}, err
	}
	if p.Get == nil {
		return qapi.Value{}, fmt.Errorf("Property '%s.%s' is not readable", o.Type, name)
	}
	return qapi.NewValue(p.Get), nil
}

// Set changes a property.
func (o *Object) Set(name string, v qapi.Value) error {
	p, err := o.find(name)
	if err != nil {
		return err
	}
	if p.Set == nil {
		return fmt.Errorf("Property '%s.%s' is not writable", o.Type, name)
	}
	return p.Set(v)
}
