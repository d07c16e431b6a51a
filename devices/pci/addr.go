package pci

import (
	"fmt"
	"strconv"
	"strings"
)

// Addr is the place of a function on its bus: Slot 0-31, Func 0-7.
type Addr struct{ Slot, Func uint8 }

// ParseAddr reads QEMU's addr property: SLOT or SLOT.FUNC, both hexadecimal
// with or without 0x.
func ParseAddr(s string) (Addr, error) {
	slot, fn, dotted := strings.Cut(s, ".")
	sv, err := parseHex(slot, slotsPerBus)
	var fv uint8
	if err == nil && dotted {
		fv, err = parseHex(fn, funcsPerSlot)
	}
	if err != nil {
		return Addr{}, fmt.Errorf("PCI address %q: want SLOT or SLOT.FUNC in hexadecimal, slot below 20, function below 8", s)
	}
	return Addr{sv, fv}, nil
}

func parseHex(s string, limit uint64) (uint8, error) {
	if cut, ok := strings.CutPrefix(s, "0x"); ok {
		s = cut
	} else {
		s = strings.TrimPrefix(s, "0X")
	}
	v, err := strconv.ParseUint(s, 16, 8)
	if err == nil && v >= limit {
		err = strconv.ErrRange
	}
	return uint8(v), err
}

// AddrOf returns the address with a devfn number, slot in the upper five bits.
func AddrOf(devfn uint8) Addr { return Addr{devfn >> 3, devfn & 7} }

// Devfn returns the address as one byte, slot in the upper five bits.
func (a Addr) Devfn() uint8 { return a.Slot<<3 | a.Func }

// String returns the address as lspci prints it, such as 1f.0.
func (a Addr) String() string { return fmt.Sprintf("%02x.%x", a.Slot, a.Func) }
