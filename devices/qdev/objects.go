package qdev

import (
	"net"
	"reflect"

	"hv/devices/qom"
)

// Objects returns the properties of a configuration struct, given as a pointer to one, as
// those of an object: what it has now, and the defaults of its tags.
func Objects(cfg any) []qom.Property {
	defaults := reflect.New(reflect.TypeOf(cfg).Elem())
	_ = SetDefaults(defaults.Interface()) // tags that are wrong fail when a driver is used
	var out []qom.Property
	for _, p := range Properties(cfg) {
		q := qom.Property{Name: p.Name, Type: p.Type, Desc: p.Desc, Get: getter(reflect.ValueOf(cfg).Elem().FieldByIndex(p.field))}
		if p.Link != "" {
			q.Type, q.Get = "link<"+p.Link+">", link(reflect.ValueOf(cfg).Elem().FieldByIndex(p.field).String())
		}
		if p.Default != "" {
			q.Default = getter(defaults.Elem().FieldByIndex(p.field))
		}
		out = append(out, q)
	}
	return out
}

// link is the path of an object, "" for none.
func link(id string) qom.Getter {
	if id == "" {
		return qom.Str("")
	}
	return qom.Str("/objects/" + id)
}

// getter reads a field as it is now.
func getter(v reflect.Value) qom.Getter {
	switch {
	case v.Type() == macType:
		return qom.Str(v.Interface().(net.HardwareAddr).String())
	case v.Kind() == reflect.String:
		return qom.Str(v.String())
	case v.Kind() == reflect.Bool:
		return qom.Bool(v.Bool())
	case v.CanUint():
		return qom.Uint(v.Uint())
	}
	return qom.Int(v.Int())
}
