package acpi

import "encoding/binary"

// Resources is a resource template of descriptors (§6.4).
func Resources(descriptors ...[]byte) Term {
	var b []byte
	for _, d := range descriptors {
		b = append(b, d...)
	}
	return Buffer(append(b, 0x79, 0)) // end tag, no checksum
}

// IO is a fixed range of ports.
func IO(base uint16, size uint8) []byte {
	return []byte{0x47, 1, byte(base), byte(base >> 8), byte(base), byte(base >> 8), 1, size}
}

// IRQ is an ISA interrupt: edge-triggered, active high, exclusive.
func IRQ(n int) []byte {
	m := uint16(1) << n
	return []byte{0x22, byte(m), byte(m >> 8)}
}

// Memory32Fixed is a range of memory below 4 GiB.
func Memory32Fixed(base, size uint32) []byte {
	b := []byte{0x86, 9, 0, 1}
	b = binary.LittleEndian.AppendUint32(b, base)
	return binary.LittleEndian.AppendUint32(b, size)
}

// Interrupt is a global system interrupt, level-triggered and active high or
// edge-triggered.
func Interrupt(gsi uint32, level bool) []byte {
	flags := byte(1 | 2) // consumer, edge
	if level {
		flags = 1
	}
	return binary.LittleEndian.AppendUint32([]byte{0x89, 6, 0, flags, 1}, gsi)
}

// Kinds of address space descriptor.
const (
	spaceMemory = 0
	spaceIO     = 1
	spaceBus    = 2

	producerFixed = 0x0c // minimum and maximum fixed, produced for children
)

// WordBus is a range of bus numbers that a bridge passes on.
func WordBus(first, last uint16) []byte { return word(spaceBus, 0, first, last) }

// WordIO is a range of ports that a bridge passes on.
func WordIO(first, last uint16) []byte { return word(spaceIO, 3, first, last) }

func word(kind, flags byte, first, last uint16) []byte {
	b := []byte{0x88, 13, 0, kind, producerFixed, flags}
	for _, v := range []uint16{0, first, last, 0, last - first + 1} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// DWordMemory is a range of memory below 4 GiB that a bridge passes on.
func DWordMemory(first, last uint32) []byte {
	b := []byte{0x87, 23, 0, spaceMemory, producerFixed, 1}
	for _, v := range []uint32{0, first, last, 0, last - first + 1} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// QWordMemory is a range of memory that a bridge passes on.
func QWordMemory(first, last uint64) []byte {
	b := []byte{0x8a, 43, 0, spaceMemory, producerFixed, 3} // cacheable, read-write
	for _, v := range []uint64{0, first, last, 0, last - first + 1} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}
