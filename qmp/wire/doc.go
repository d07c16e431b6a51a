// Package wire reads QMP's dialect of JSON from a stream and writes its messages.
//
// The dialect is RFC 8259 with strings in single quotes too and the escape \'.
// Input is a stream of values, not of lines: a value ends with its last bracket.
// After a lexical error everything up to a bracket, a comma, a colon, a control
// character other than tab, or a byte 0xFE or 0xFF is skipped, so that a client
// can force the reader into a known state (QMP specification 2.6). A value is
// bounded in text, tokens and nesting as QEMU bounds it.
//
// A Reader and a Parser belong to one goroutine. In steady state reading a small
// value allocates nothing. The package depends on qmp/qapi.
package wire
