package surface

import (
	"fmt"
	"maps"
	"slices"

	"hv/qmp/qapi"
)

// schema is the entities of a schema by name.
type schema map[string]qapi.SchemaInfo

func newSchema(list qapi.SchemaInfoList) schema {
	s := schema{}
	for _, e := range list {
		s[e.Name] = e
	}
	return s
}

// comparison finds where one schema is no projection of another: in the same place
// it may have less that is optional, and else must have the same.
type comparison struct {
	ours, theirs schema
	seen         map[[2]string]bool
	found        map[string]string // what is wrong, by where
}

// projection compares all commands and events of ours.
func projection(ours, theirs schema) map[string]string {
	c := &comparison{ours: ours, theirs: theirs, seen: map[[2]string]bool{}, found: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		e := ours[name]
		o, there := theirs[name]
		switch {
		case e.Command == nil && e.Event == nil:
		case !there || o.MetaType != e.MetaType:
			c.differ(name, "is no %s there", e.MetaType)
		case e.Event != nil:
			c.features(name, e.Features, o.Features)
			c.types(name, e.Event.ArgType, o.Event.ArgType)
		default:
			c.features(name, e.Features, o.Features)
			if (e.Command.AllowOob != nil) != (o.Command.AllowOob != nil) {
				c.differ(name, "out-of-band execution is allowed on one side")
			}
			c.types(name, e.Command.ArgType, o.Command.ArgType)
			c.types(name+" returns", e.Command.RetType, o.Command.RetType)
		}
	}
	return c.found
}

func (c *comparison) differ(where, format string, args ...any) {
	c.found[where] = fmt.Sprintf(format, args...)
}

func (c *comparison) features(where string, ours, theirs qapi.StringList) {
	a, b := slices.Sorted(slices.Values(ours)), slices.Sorted(slices.Values(theirs))
	if !slices.Equal(a, b) {
		c.differ(where, "features %v, there %v", a, b)
	}
}

func (c *comparison) types(where, our, their string) {
	key := [2]string{our, their}
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	a, b := c.ours[our], c.theirs[their]
	if a.MetaType != b.MetaType {
		c.differ(where, "is %s %s, there %s %s", a.MetaType, our, b.MetaType, their)
		return
	}
	c.features(where, a.Features, b.Features)
	switch a.MetaType {
	case qapi.SchemaMetaTypeBuiltin:
		if our != their || a.Builtin.JsonType != b.Builtin.JsonType {
			c.differ(where, "is %s, there %s", our, their)
		}
	case qapi.SchemaMetaTypeEnum:
		c.enums(where, a.Enum, b.Enum)
	case qapi.SchemaMetaTypeArray:
		c.types(where+"[]", a.Array.ElementType, b.Array.ElementType)
	case qapi.SchemaMetaTypeAlternate:
		c.alternates(where, a.Alternate, b.Alternate)
	case qapi.SchemaMetaTypeObject:
		c.objects(where, a.Object, b.Object)
	}
}

func (c *comparison) enums(where string, ours, theirs *qapi.SchemaInfoEnum) {
	there := map[string]qapi.SchemaInfoEnumMember{}
	for _, m := range theirs.Members {
		there[m.Name] = m
	}
	for i, m := range ours.Members {
		if o, ok := there[m.Name]; !ok {
			c.differ(where+"="+m.Name, "no such value there")
		} else {
			c.features(where+"="+m.Name, m.Features, o.Features)
		}
		if len(ours.Values) != len(ours.Members) || ours.Values[i] != m.Name {
			c.differ(where, "values %v are not its members", ours.Values)
		}
	}
}

// alternates matches what an alternate may be by the kind of type.
func (c *comparison) alternates(where string, ours, theirs *qapi.SchemaInfoAlternate) {
	for _, m := range ours.Members {
		same := func(o qapi.SchemaInfoAlternateMember) bool {
			a, b := c.ours[m.Type], c.theirs[o.Type]
			return a.MetaType == b.MetaType && (a.Builtin == nil || m.Type == o.Type)
		}
		if i := slices.IndexFunc(theirs.Members, same); i < 0 {
			c.differ(where, "may be %s %s, but not there", c.ours[m.Type].MetaType, m.Type)
		} else {
			c.types(where, m.Type, theirs.Members[i].Type)
		}
	}
}

func (c *comparison) objects(where string, ours, theirs *qapi.SchemaInfoObject) {
	there := map[string]qapi.SchemaInfoObjectMember{}
	for _, m := range theirs.Members {
		there[m.Name] = m
	}
	for _, m := range ours.Members {
		at := where + "." + m.Name
		o, ok := there[m.Name]
		if !ok {
			c.differ(at, "no such member there")
			continue
		}
		delete(there, m.Name)
		if m.Default.Kind() != o.Default.Kind() {
			c.differ(at, "is optional on one side")
		}
		c.features(at, m.Features, o.Features)
		c.types(at, m.Type, o.Type)
	}
	for name, o := range there {
		if o.Default.Kind() == qapi.None {
			c.differ(where+"."+name, "is there always, and is missing here")
		}
	}
	c.variants(where, ours, theirs)
}

func (c *comparison) variants(where string, ours, theirs *qapi.SchemaInfoObject) {
	if (ours.Tag == nil) != (theirs.Tag == nil) || ours.Tag != nil && *ours.Tag != *theirs.Tag {
		c.differ(where, "another tag decides there")
		return
	}
	there := map[string]string{}
	for _, v := range theirs.Variants {
		there[v.Case] = v.Type
	}
	for _, v := range ours.Variants {
		if t, ok := there[v.Case]; !ok {
			c.differ(where+"{"+v.Case+"}", "no such branch there")
		} else {
			c.types(where+"{"+v.Case+"}", v.Type, t)
		}
	}
}

// sorted returns where there are differences.
func sorted(found map[string]string) []string { return slices.Sorted(maps.Keys(found)) }
