package qtest

// pageSize is what RAM comes in: a page is RAM or not.
const pageSize = 4096

// memory is all that a processor would see at guest-physical addresses.
type memory struct {
	ram  RAM
	mmio Space
}

// read reads RAM and devices; what is neither reads as ones.
func (m memory) read(addr uint64, data []byte) {
	each(addr, data, func(addr uint64, page []byte) {
		if m.ram != nil && m.ram.ReadAt(page, addr) == nil {
			return
		}
		units(addr, page, func(addr uint64, unit []byte) { m.mmio.Read(addr, unit) })
	})
}

// write writes RAM and devices.
func (m memory) write(addr uint64, data []byte) {
	each(addr, data, func(addr uint64, page []byte) {
		if m.ram != nil && m.ram.WriteAt(page, addr) == nil {
			return
		}
		units(addr, page, func(addr uint64, unit []byte) { m.mmio.Write(addr, unit) })
	})
}

// each calls f with the pieces of data that lie in different pages.
func each(addr uint64, data []byte, f func(addr uint64, page []byte)) {
	for len(data) > 0 {
		n := min(len(data), int(pageSize-addr%pageSize))
		f(addr, data[:n])
		addr += uint64(n)
		data = data[n:]
	}
}

// units calls f with pieces as a bus has them: aligned, of 1, 2, 4 or 8 bytes. An access
// that has such a size as a whole stays whole wherever it begins.
func units(addr uint64, data []byte, f func(addr uint64, unit []byte)) {
	if n := len(data); n == 1 || n == 2 || n == 4 || n == 8 {
		f(addr, data)
		return
	}
	for len(data) > 0 {
		n := 8
		for n > len(data) || addr%uint64(n) != 0 {
			n /= 2
		}
		f(addr, data[:n])
		addr += uint64(n)
		data = data[n:]
	}
}
