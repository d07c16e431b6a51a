package pci

// Behind returns the bus behind a bridge, nil for other functions.
func (f *Function) Behind() *Bus {
	if f.bridge == nil {
		return nil
	}
	return f.bridge.secondary
}

// Number returns the number that the bus was given, 0 for the root bus.
func (b *Bus) Number() uint8 { return b.number() }

// Ranges is what a bridge forwards, first and last address of each kind; a closed window has
// its first above its last.
type Ranges struct{ IO, Memory, Prefetch [2]uint64 }

// Ranges returns what the bridge in front of the bus forwards to it (Bridge 1.2 §3.2.5);
// nothing for the root bus.
func (b *Bus) Ranges() Ranges {
	if b.bridge == nil {
		return Ranges{}
	}
	f := b.bridge.Function
	f.mu.Lock()
	defer f.mu.Unlock()
	memory := func(base, limit int) [2]uint64 {
		return [2]uint64{uint64(f.get16(base)&0xfff0) << 16, uint64(f.get16(limit)&0xfff0)<<16 | (memGranularity - 1)}
	}
	r := Ranges{
		IO:       [2]uint64{uint64(f.cfg[regIOBase]&0xf0) << 8, uint64(f.cfg[regIOLimit]&0xf0)<<8 | (ioGranularity - 1)},
		Memory:   memory(regMemBase, regMemLimit),
		Prefetch: memory(regPrefBase, regPrefLimit),
	}
	r.Prefetch[0] |= uint64(f.get32(regPrefBaseUpper)) << 32
	r.Prefetch[1] |= uint64(f.get32(regPrefLimitUpper)) << 32
	return r
}
