// Package platform models the devices of a PC that sit at fixed addresses: the
// 16550A UART, the RTC with its CMOS memory, the i8042 keyboard controller,
// the reset registers at 0x92 and 0xCF9, pvpanic, and the debug ports.
//
// Each device is a Config, a constructor, Read and Write for a bus.Space, a Map
// helper, and Reset. All are safe for concurrent use: each has one lock of its
// own. The functions in a Config are called on the vCPU thread that made the
// access, the RTC's also on a timer; they must not block and must not call
// back into the device. Unless said otherwise they are called without locks.
//
// Implements the National Semiconductor PC16550D, Motorola MC146818, Intel
// 8042 with PS/2 keyboard and mouse, Intel ICH9 §13.7 (reset control) and
// QEMU's pvpanic and isa-debug-exit. It depends on devices/bus and devices/irq.
package platform

import "hv/devices/bus"

// Output takes what a guest prints. Write never waits: what cannot be taken is
// lost, and it keeps no reference to the slice.
type Output interface {
	Write(p []byte) (int, error)
}

// byteDevice is a register file of single bytes. Wider accesses are split, as
// an ISA bus does.
type byteDevice interface {
	readByte(off uint64) byte
	writeByte(off uint64, v byte)
}

func readBytes(d byteDevice, off uint64, data []byte) {
	for i := range data {
		data[i] = d.readByte(off + uint64(i))
	}
}

func writeBytes(d byteDevice, off uint64, data []byte) {
	for i, v := range data {
		d.writeByte(off+uint64(i), v)
	}
}

// portRange is one mapping that a device needs.
type portRange struct {
	base, size uint64
	name       string
	handler    bus.Handler
}

// mapAll maps all ranges or none.
func mapAll(s *bus.Space, ranges ...portRange) error {
	for i, r := range ranges {
		if err := s.Map(r.base, r.size, r.name, r.handler); err != nil {
			for _, done := range ranges[:i] {
				s.Unmap(done.base)
			}
			return err
		}
	}
	return nil
}
