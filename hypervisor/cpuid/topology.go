package cpuid

// Levels of the topology leaves.
const (
	levelSMT  = 1
	levelCore = 2
	levelDie  = 5
)

// topology returns the leaves that say where the vCPU with an APIC ID is.
func (b *Builder) topology(apic uint32) []Entry {
	core, die, socket := b.topo.shifts()
	threads, perDie := max(b.topo.Threads, 1), max(b.topo.Threads, 1)*max(b.topo.Cores, 1)
	level := func(leaf, index uint32, shift, count int, kind uint32) Entry {
		return Entry{Function: leaf, Index: index, Flags: FlagIndex, EAX: uint32(shift), EBX: uint32(count), ECX: kind<<8 | index, EDX: apic}
	}
	out := []Entry{
		level(0xb, 0, core, threads, levelSMT),
		level(0xb, 1, socket, b.perSocket(), levelCore),
		level(0xb, 2, 0, 0, 0),
	}
	if b.topo.Dies > 1 {
		out = append(out, level(0x1f, 0, core, threads, levelSMT), level(0x1f, 1, die, perDie, levelCore),
			level(0x1f, 2, socket, b.perSocket(), levelDie), level(0x1f, 3, 0, 0, 0))
	}
	return out
}

// cacheKind is a cache of a common processor.
type cacheKind struct {
	kind, level uint32
	ways, sets  int
	die         bool   // shared by all of a die, not by a core's threads
	edx         uint32 // of leaf 4
}

// caches of every vCPU: 32 KiB for data and for instructions, 2 MiB a core, 16 MiB
// a die.
var caches = []cacheKind{
	{kind: 1, level: 1, ways: 8, sets: 64, edx: 1},
	{kind: 2, level: 1, ways: 8, sets: 64, edx: 1},
	{kind: 3, level: 2, ways: 16, sets: 2048, edx: 1},
	{kind: 3, level: 3, ways: 16, sets: 16384, die: true, edx: 6},
}

// sharing returns how many vCPUs may share a cache.
func (b *Builder) sharing(c cacheKind) int {
	n := max(b.topo.Threads, 1)
	if c.die {
		n *= max(b.topo.Cores, 1)
	}
	return n
}

// caches returns leaf 4.
func (b *Builder) caches() []Entry {
	cores := uint32(1<<width(max(b.topo.Cores, 1)) - 1)
	var out []Entry
	for i, c := range caches {
		out = append(out, Entry{Function: 4, Index: uint32(i), Flags: FlagIndex,
			EAX: c.kind | c.level<<5 | 1<<8 | uint32(1<<width(b.sharing(c))-1)<<14 | cores<<26,
			EBX: uint32(c.ways-1)<<22 | 63, ECX: uint32(c.sets - 1), EDX: c.edx})
	}
	return append(out, Entry{Function: 4, Index: uint32(len(caches)), Flags: FlagIndex})
}

// topoext returns what AMD's leaves 0x8000001d and 0x8000001e say of a vCPU: its
// caches, and where it is.
func (b *Builder) topoext(index int) []Entry {
	_, core, die, socket := b.topo.Place(index)
	var out []Entry
	for i, c := range caches {
		out = append(out, Entry{Function: 0x8000001d, Index: uint32(i), Flags: FlagIndex,
			EAX: c.kind | c.level<<5 | 1<<8 | uint32(b.sharing(c)-1)<<14,
			EBX: uint32(c.ways-1)<<22 | 63, ECX: uint32(c.sets - 1), EDX: c.edx &^ 1})
	}
	dies := max(b.topo.Dies, 1)
	return append(out, Entry{Function: 0x8000001d, Index: uint32(len(caches)), Flags: FlagIndex}, Entry{
		Function: 0x8000001e, EAX: b.topo.APICID(index),
		EBX: uint32(max(b.topo.Threads, 1)-1)<<8 | uint32(die*max(b.topo.Cores, 1)+core)&0xff,
		ECX: uint32(dies-1)&7<<8 | uint32(socket*dies+die)&0xff,
	})
}
