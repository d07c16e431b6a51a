// Package acpi builds ACPI tables and the AML in them, and models the registers
// that they describe: ICH9's power management block and the generic event
// device of hardware-reduced machines.
//
// Builders are pure; terms are byte slices that nest. Register blocks are safe
// for concurrent use; their callbacks run on the vCPU thread that made the access, without
// locks held, and must not block.
//
// Implements ACPI 6.4 §5.2 (tables), §20.2 (AML), §4.8 (fixed hardware), §5.6.9
// (GED). It depends on devices/bus and devices/irq.
package acpi

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Term is a piece of AML.
type Term []byte

func concat(terms []Term) []byte {
	var b []byte
	for _, t := range terms {
		b = append(b, t...)
	}
	return b
}

// pkgLength returns the encoding of a package's length, which counts itself
// (§20.2.4).
func pkgLength(n int) []byte {
	switch {
	case n+1 < 1<<6:
		return []byte{byte(n + 1)}
	case n+2 < 1<<12:
		n += 2
		return []byte{1<<6 | byte(n&0xf), byte(n >> 4)}
	case n+3 < 1<<20:
		n += 3
		return []byte{2<<6 | byte(n&0xf), byte(n >> 4), byte(n >> 12)}
	}
	n += 4
	return []byte{3<<6 | byte(n&0xf), byte(n >> 4), byte(n >> 12), byte(n >> 20)}
}

func pkg(op []byte, body []byte) Term {
	return append(append(append(Term{}, op...), pkgLength(len(body))...), body...)
}

// NameString encodes a path such as \_SB.PCI0 (§20.2.2). Segments are padded to four
// characters.
func NameString(path string) Term {
	var out Term
	if strings.HasPrefix(path, `\`) {
		out, path = append(out, '\\'), path[1:]
	}
	var segs []string
	if path != "" {
		segs = strings.Split(path, ".")
	}
	switch len(segs) {
	case 0:
		return append(out, 0)
	case 1:
	case 2:
		out = append(out, 0x2e)
	default:
		out = append(out, 0x2f, byte(len(segs)))
	}
	for _, s := range segs {
		out = append(out, fmt.Sprintf("%-4s", s)...)
		for i := len(out) - 4; i < len(out); i++ {
			if out[i] == ' ' {
				out[i] = '_'
			}
		}
	}
	return out
}

// Scope opens a scope that exists.
func Scope(path string, body ...Term) Term {
	return pkg([]byte{0x10}, append(NameString(path), concat(body)...))
}

// Device declares a device.
func Device(name string, body ...Term) Term {
	return pkg([]byte{0x5b, 0x82}, append(NameString(name), concat(body)...))
}

// Name gives a value a name.
func Name(name string, value Term) Term {
	return append(append(Term{0x08}, NameString(name)...), value...)
}

// Method declares a method with a number of arguments.
func Method(name string, args int, body ...Term) Term {
	return pkg([]byte{0x14}, append(append(NameString(name), byte(args)), concat(body)...))
}

// Int is an integer in its shortest form.
func Int(v uint64) Term {
	switch {
	case v < 2:
		return Term{byte(v)}
	case v < 1<<8:
		return Term{0x0a, byte(v)}
	case v < 1<<16:
		return binary.LittleEndian.AppendUint16(Term{0x0b}, uint16(v))
	case v < 1<<32:
		return binary.LittleEndian.AppendUint32(Term{0x0c}, uint32(v))
	}
	return binary.LittleEndian.AppendUint64(Term{0x0e}, v)
}

// String is a string of ASCII characters.
func String(s string) Term { return append(append(Term{0x0d}, s...), 0) }

// Package is a package of elements.
func Package(elements ...Term) Term {
	return pkg([]byte{0x12}, append([]byte{byte(len(elements))}, concat(elements)...))
}

// Buffer is a buffer of bytes.
func Buffer(b []byte) Term { return pkg([]byte{0x11}, append(Int(uint64(len(b))), b...)) }

// EISAID encodes a plug-and-play id such as PNP0A08 as an integer.
func EISAID(id string) Term {
	c := func(i int) uint32 { return uint32(id[i]-'@') & 0x1f }
	var hex uint32
	if _, err := fmt.Sscanf(id[3:], "%04X", &hex); err != nil {
		panic("bad EISA id " + id)
	}
	v := c(0)<<26 | c(1)<<21 | c(2)<<16 | hex
	return append(Term{0x0c}, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// UUID encodes a UUID as ToUUID does (§19.6.142).
func UUID(s string) Term {
	var b []byte
	for i := 0; i+1 < len(s); {
		if s[i] == '-' {
			i++
			continue
		}
		var v byte
		if _, err := fmt.Sscanf(s[i:i+2], "%02x", &v); err != nil {
			panic("bad UUID " + s)
		}
		b, i = append(b, v), i+2
	}
	for _, swap := range [][2]int{{0, 3}, {1, 2}, {4, 5}, {6, 7}} {
		b[swap[0]], b[swap[1]] = b[swap[1]], b[swap[0]]
	}
	return Buffer(b)
}

// Arg and Local are a method's arguments (0-6) and local variables (0-7).
func Arg(n int) Term   { return Term{0x68 + byte(n)} }
func Local(n int) Term { return Term{0x60 + byte(n)} }

// Return returns a value.
func Return(v Term) Term { return append(Term{0xa4}, v...) }

// Store stores a value.
func Store(v, to Term) Term { return append(append(Term{0x70}, v...), to...) }

// And, Or and Equal are operators; the first two store their result in a target,
// which Nil ignores.
func And(a, b, to Term) Term { return append(Term{0x7b}, concat([]Term{a, b, to})...) }
func Or(a, b, to Term) Term  { return append(Term{0x7d}, concat([]Term{a, b, to})...) }
func Equal(a, b Term) Term   { return append(Term{0x93}, concat([]Term{a, b})...) }

// Not is the logical negation.
func Not(a Term) Term { return append(Term{0x92}, a...) }

// Nil is no target.
var Nil = Term{0}

// If runs body when a condition holds; Else follows it.
func If(cond Term, body ...Term) Term {
	return pkg([]byte{0xa0}, append(append([]byte{}, cond...), concat(body)...))
}

// Else is the other branch of the If before it.
func Else(body ...Term) Term { return pkg([]byte{0xa1}, concat(body)) }

// Notify tells the operating system something about a device.
func Notify(path string, v uint64) Term {
	return append(append(Term{0x86}, NameString(path)...), Int(v)...)
}

// CreateDWordField names 32 bits of a buffer at a byte offset.
func CreateDWordField(buffer Term, offset uint64, name string) Term {
	return append(Term{0x8a}, concat([]Term{buffer, Int(offset), NameString(name)})...)
}

// SystemMemory is an operation region's address space.
const SystemMemory = 0

// OpRegion declares an operation region.
func OpRegion(name string, space byte, base, size uint64) Term {
	return append(Term{0x5b, 0x80}, concat([]Term{NameString(name), {space}, Int(base), Int(size)})...)
}

// Field declares fields of an operation region, each of 32 bits, one after another.
func Field(region string, names ...string) Term {
	body := append(NameString(region), 3) // DWordAcc, NoLock, Preserve
	for _, n := range names {
		body = append(append(body, n...), 32)
	}
	return pkg([]byte{0x5b, 0x81}, body)
}
