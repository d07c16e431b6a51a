package qapi

import (
	"slices"
	"strconv"
)

// entity is a command, an event or a type as cmd/qapigen writes it down.
type entity struct {
	name     string
	meta     SchemaMetaType
	features []string
	members  []field // of an object; the values of an enumeration; what an alternate may be
	tag      string
	variants []field // a tag's values and the branches
	arg      string  // a command's arguments, an event's data, an array's elements
	ret      string
	oob      bool
}

// field is a member of an entity.
type field struct {
	name, typ string
	optional  bool
	features  []string
}

// builtins are the types that are not defined anywhere, and what they are on the wire.
var builtins = map[string]JSONType{
	"str": JSONTypeString, "bool": JSONTypeBoolean, "int": JSONTypeInt, "number": JSONTypeNumber,
	"null": JSONTypeNull, "any": JSONTypeValue,
}

// describer makes the description of a schema.
type describer struct {
	out   SchemaInfoList
	types map[string]*entity
	names map[string]string // how types are called, by their own names
	queue []string          // types that are used but not described yet
}

// Schema describes the given commands, all events, and the types that they use.
// Names of types are numbers, so that nobody relies on them.
func Schema(commands []string) SchemaInfoList { return describe(schemaTables, commands) }

func describe(tables [][]entity, commands []string) SchemaInfoList {
	d := &describer{types: map[string]*entity{"Empty": {meta: SchemaMetaTypeObject}}, names: map[string]string{}}
	for _, file := range tables {
		for i := range file {
			d.types[file[i].name] = &file[i]
		}
	}
	for _, file := range tables {
		for _, e := range file {
			d.declared(&e, commands)
		}
	}
	for len(d.queue) > 0 {
		name := d.queue[0]
		d.queue = d.queue[1:]
		d.describe(name)
	}
	return d.out
}

// declared describes a command or an event.
func (d *describer) declared(e *entity, commands []string) {
	info := SchemaInfo{Name: e.name, MetaType: e.meta, Features: e.features}
	switch {
	case e.meta == SchemaMetaTypeCommand && slices.Contains(commands, e.name):
		info.Command = &SchemaInfoCommand{ArgType: d.use(e.arg), RetType: d.use(e.ret)}
		if e.oob {
			info.Command.AllowOob = &e.oob
		}
		d.add(info)
	case e.meta == SchemaMetaTypeEvent:
		info.Event = &SchemaInfoEvent{ArgType: d.use(e.arg)}
		d.add(info)
	}
}

func (d *describer) add(info SchemaInfo) { d.out = append(d.out, info) }

// use returns what a type is called, and sees to it that it is described.
func (d *describer) use(name string) string {
	if called, ok := d.names[name]; ok {
		return called
	}
	t := d.types[name]
	switch {
	case t == nil:
		d.names[name] = name // builtin
	case t.meta == SchemaMetaTypeArray:
		called := "[" + d.use(t.arg) + "]"
		for other, c := range d.names {
			if c == called {
				return d.names[other] // an array of the same type
			}
		}
		d.names[name] = called
	default:
		d.names[name] = strconv.Itoa(len(d.names))
	}
	d.queue = append(d.queue, name)
	return d.names[name]
}

func (d *describer) describe(name string) {
	t := d.types[name]
	if t == nil {
		d.add(SchemaInfo{Name: name, MetaType: SchemaMetaTypeBuiltin, Builtin: &SchemaInfoBuiltin{JsonType: builtins[name]}})
		return
	}
	info := SchemaInfo{Name: d.names[name], MetaType: t.meta, Features: t.features}
	switch t.meta {
	case SchemaMetaTypeEnum:
		info.Enum = describeEnum(t)
	case SchemaMetaTypeArray:
		info.Array = &SchemaInfoArray{ElementType: d.use(t.arg)}
	case SchemaMetaTypeAlternate:
		info.Alternate = &SchemaInfoAlternate{}
		for _, m := range t.members {
			info.Alternate.Members = append(info.Alternate.Members, SchemaInfoAlternateMember{Type: d.use(m.typ)})
		}
	default:
		info.Object = d.object(t)
	}
	d.add(info)
}

func describeEnum(t *entity) *SchemaInfoEnum {
	info := &SchemaInfoEnum{}
	for _, m := range t.members {
		info.Members = append(info.Members, SchemaInfoEnumMember{Name: m.name, Features: m.features})
		info.Values = append(info.Values, m.name)
	}
	return info
}

func (d *describer) object(t *entity) *SchemaInfoObject {
	info := &SchemaInfoObject{}
	for _, m := range t.members {
		member := SchemaInfoObjectMember{Name: m.name, Type: d.use(m.typ), Features: m.features}
		if m.optional {
			member.Default = NewValue((*Document).AddNull)
		}
		info.Members = append(info.Members, member)
	}
	if t.tag != "" {
		info.Tag = &t.tag
		for _, v := range t.variants {
			info.Variants = append(info.Variants, SchemaInfoObjectVariant{Case: v.name, Type: d.use(v.typ)})
		}
	}
	return info
}
