package acpi

import "encoding/binary"

// SystemIO is the operation region's address space of ports.
const SystemIO = 1

// Serialized declares a method that one thread at a time runs.
func Serialized(name string, args int, body ...Term) Term {
	const serialize = 1 << 3
	return pkg([]byte{0x14}, append(append(NameString(name), byte(args)|serialize), concat(body)...))
}

// Call invokes a method.
func Call(path string, args ...Term) Term { return append(NameString(path), concat(args)...) }

// Mutex declares a mutex, Acquire waits for it without end, Release lets it go.
func Mutex(name string) Term { return append(append(Term{0x5b, 0x01}, NameString(name)...), 0) }
func Acquire(path string) Term {
	return append(append(Term{0x5b, 0x23}, NameString(path)...), 0xff, 0xff)
}
func Release(path string) Term { return append(Term{0x5b, 0x27}, NameString(path)...) }

// While runs body as long as a condition holds.
func While(cond Term, body ...Term) Term {
	return pkg([]byte{0xa2}, append(append([]byte{}, cond...), concat(body)...))
}

// NotifyValue tells the operating system about a device what a term says.
func NotifyValue(path string, v Term) Term {
	return append(append(Term{0x86}, NameString(path)...), v...)
}

// Access is how a field's region is accessed: the width, and what is written to the bits
// beside a field.
type Access byte

// Accesses.
const (
	ByteZeros Access = 0x41 // by bytes, zeros beside the field
	DWord     Access = 0x03 // by 32 bits, the rest preserved
)

// Bits is a field of an operation region; one without a name is a gap.
type Bits struct {
	Name  string
	Width int
}

// BitFields declares fields of an operation region, one after another.
func BitFields(region string, access Access, fields ...Bits) Term {
	body := append(NameString(region), byte(access))
	for _, f := range fields {
		if f.Name == "" {
			body = append(body, 0)
		} else {
			body = append(body, f.Name...)
		}
		body = append(body, fieldLength(f.Width)...)
	}
	return pkg([]byte{0x5b, 0x81}, body)
}

// fieldLength encodes a field's width as package lengths are, but not counting itself.
func fieldLength(n int) []byte {
	if n < 1<<6 {
		return []byte{byte(n)}
	}
	return binary.LittleEndian.AppendUint16(nil, uint16(n>>4<<8|1<<6|n&0xf))
}
