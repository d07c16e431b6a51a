// Package qapi holds everything that goes over QMP: the wire types, a descriptor
// for each command and event, and the strict decoders and ordered encoders that
// cmd/qapigen derives from them. A file whose first line is "//qapi:schema" is
// schema: every type in it is a wire type.
//
//   - a struct is an object; the tag `qapi:"name"` gives a member's name, a
//     pointer (or the tag option "optional", for lists and Values) an optional
//     member; an embedded struct is a base, whose members are the object's;
//   - a struct with a member tagged "discriminator", its own or a base's, is a flat
//     union, and its members tagged `qapi:",branch=VALUE"`, pointers to structs or
//     unions, are the branches;
//   - a member tagged `qapi:",rest"`, a Value, makes an object take members that it
//     does not declare, as commands with 'gen': false do;
//   - a struct of pointers all tagged `qapi:"name,alternate"` is an alternate: the
//     one that fits the JSON value is set;
//   - a string type is an enumeration of the constants declared with it;
//   - a slice type is a list;
//   - string, bool, float64 (QAPI's number) and the integers of 8 to 64 bits (int and
//     size are int64 and uint64) are themselves; a Value is QAPI's any, NullType null, and
//     Text is a string that is all of what a command returns.
//
// Special features, such as deprecated and unstable, are named by a member's tag
// option "feature=NAME", and for types, values of enumerations, commands and events
// by a line "//qapi:features NAME..." at the end of their comment.
//
// Doc comments of types, members and descriptors become docs/qmp-reference.md; one of
// a command names the classes of errors with which it fails besides GenericError.
//
// Names, member types, optionality, defaults and errors are those of QEMU 7.2's
// QAPI schema, and members are written in the order in which QEMU prints them.
//
// Descriptors and decoded values are plain data. A Document and an Encoder belong
// to one goroutine at a time. The package depends on the standard library alone.
package qapi

//go:generate go run hv/cmd/qapigen . ../../docs/qmp-reference.md
