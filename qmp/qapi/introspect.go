//qapi:schema

package qapi

// CmdQueryQmpSchema describes the commands and events that there are, and the types
// that they use.
var CmdQueryQmpSchema = Command[Empty, SchemaInfoList]{Name: "query-qmp-schema", Preconfig: true, Concurrent: true}

// SchemaMetaType is a kind of entity.
type SchemaMetaType string

// The kinds.
const (
	SchemaMetaTypeBuiltin   SchemaMetaType = "builtin"   // a type that needs no definition, such as int
	SchemaMetaTypeEnum      SchemaMetaType = "enum"      // one string of several
	SchemaMetaTypeArray     SchemaMetaType = "array"     // a list
	SchemaMetaTypeObject    SchemaMetaType = "object"    // an object or a union
	SchemaMetaTypeAlternate SchemaMetaType = "alternate" // one type of several
	SchemaMetaTypeCommand   SchemaMetaType = "command"   // a command
	SchemaMetaTypeEvent     SchemaMetaType = "event"     // an event
)

// JSONType is what a builtin type is on the wire.
type JSONType string

// The JSON types.
const (
	JSONTypeString  JSONType = "string"
	JSONTypeNumber  JSONType = "number"
	JSONTypeInt     JSONType = "int" // a number without fraction
	JSONTypeBoolean JSONType = "boolean"
	JSONTypeNull    JSONType = "null"
	JSONTypeObject  JSONType = "object"
	JSONTypeArray   JSONType = "array"
	JSONTypeValue   JSONType = "value" // any of them
)

// StringList is a list of strings.
type StringList []string

// SchemaInfo describes a command, an event or a type.
type SchemaInfo struct {
	Name      string               `qapi:"name"` // unique; of types without meaning
	MetaType  SchemaMetaType       `qapi:"meta-type,discriminator"`
	Features  StringList           `qapi:"features,optional"` // such as deprecated and unstable
	Builtin   *SchemaInfoBuiltin   `qapi:",branch=builtin"`
	Enum      *SchemaInfoEnum      `qapi:",branch=enum"`
	Array     *SchemaInfoArray     `qapi:",branch=array"`
	Object    *SchemaInfoObject    `qapi:",branch=object"`
	Alternate *SchemaInfoAlternate `qapi:",branch=alternate"`
	Command   *SchemaInfoCommand   `qapi:",branch=command"`
	Event     *SchemaInfoEvent     `qapi:",branch=event"`
}

// SchemaInfoList is a list of entities.
type SchemaInfoList []SchemaInfo

// SchemaInfoBuiltin is what there is besides of a builtin type.
type SchemaInfoBuiltin struct {
	JsonType JSONType `qapi:"json-type"`
}

// SchemaInfoEnum is what there is besides of an enumeration.
type SchemaInfoEnum struct {
	Members SchemaInfoEnumMemberList `qapi:"members"`
	Values  StringList               `qapi:"values,feature=deprecated"` // the members' names
}

// SchemaInfoEnumMember is a value of an enumeration.
type SchemaInfoEnumMember struct {
	Name     string     `qapi:"name"`
	Features StringList `qapi:"features,optional"`
}

// SchemaInfoEnumMemberList is a list of values.
type SchemaInfoEnumMemberList []SchemaInfoEnumMember

// SchemaInfoArray is what there is besides of a list.
type SchemaInfoArray struct {
	ElementType string `qapi:"element-type"`
}

// SchemaInfoObject is what there is besides of an object.
type SchemaInfoObject struct {
	Members  SchemaInfoObjectMemberList  `qapi:"members"`           // those that it always has
	Tag      *string                     `qapi:"tag"`               // the member that tells a union's branch
	Variants SchemaInfoObjectVariantList `qapi:"variants,optional"` // the branches, if there is a tag
}

// SchemaInfoObjectMember is a member of an object.
type SchemaInfoObjectMember struct {
	Name     string     `qapi:"name"`
	Type     string     `qapi:"type"`
	Default  Value      `qapi:"default,optional"` // null if the member is optional
	Features StringList `qapi:"features,optional"`
}

// SchemaInfoObjectMemberList is a list of members.
type SchemaInfoObjectMemberList []SchemaInfoObjectMember

// SchemaInfoObjectVariant is a branch of a union.
type SchemaInfoObjectVariant struct {
	Case string `qapi:"case"` // the tag's value
	Type string `qapi:"type"` // an object with the members that there are then
}

// SchemaInfoObjectVariantList is a list of branches.
type SchemaInfoObjectVariantList []SchemaInfoObjectVariant

// SchemaInfoAlternate is what there is besides of an alternate.
type SchemaInfoAlternate struct {
	Members SchemaInfoAlternateMemberList `qapi:"members"`
}

// SchemaInfoAlternateMember is what an alternate may be.
type SchemaInfoAlternateMember struct {
	Type string `qapi:"type"`
}

// SchemaInfoAlternateMemberList is a list of what an alternate may be.
type SchemaInfoAlternateMemberList []SchemaInfoAlternateMember

// SchemaInfoCommand is what there is besides of a command.
type SchemaInfoCommand struct {
	ArgType  string `qapi:"arg-type"`  // an object, its members the arguments
	RetType  string `qapi:"ret-type"`  // of what it returns
	AllowOob *bool  `qapi:"allow-oob"` // present if it may be executed out of band
}

// SchemaInfoEvent is what there is besides of an event.
type SchemaInfoEvent struct {
	ArgType string `qapi:"arg-type"` // an object, its members the data
}
