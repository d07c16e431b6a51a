// Package qapi holds everything that goes over QMP: the wire types, a descriptor
// for each command and event, and the strict decoders and ordered encoders that
// cmd/qapigen derives from them. A file whose first line is "//qapi:schema" is
// schema: every type in it is a wire type.
//
//   - a struct is an object; the tag `qapi:"name"` gives a member's name, a
//     pointer (or the tag option "optional", for lists) an optional member;
//   - a struct with a member tagged "discriminator" is a flat union, and its
//     members tagged `qapi:",branch=VALUE"` are the branches;
//   - a string type is an enumeration of the constants declared with it;
//   - a slice type is a list.
//
// Names, member types, optionality, defaults and errors are those of QEMU 7.2's
// QAPI schema, and members are written in the order in which QEMU prints them.
//
// Descriptors and decoded values are plain data. A Document and an Encoder belong
// to one goroutine at a time. The package depends on the standard library alone.
package qapi

//go:generate go run hv/cmd/qapigen .
