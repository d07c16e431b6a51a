package cpuid

import "slices"

// xstate says which features extended state components belong to (Intel SDM
// volume 1 §13.1). Components 0 and 1 are of every processor with XSAVE.
var xstate = [...]string{2: "avx", 3: "mpx", 4: "mpx", 5: "avx512f", 6: "avx512f", 7: "avx512f", 9: "pku", 17: "amx-tile", 18: "amx-tile"}

const (
	leafXState   = 0xd
	legacyXState = 3
	// legacySize is that of the area that every component comes after.
	legacySize = 576
)

// components returns the extended state that the features need.
func (s set) components() uint64 {
	if !s.has("xsave") {
		return 0
	}
	mask := uint64(legacyXState)
	for i, f := range xstate {
		if f != "" && s.has(f) {
			mask |= 1 << i
		}
	}
	return mask
}

// components returns the extended state that the host can save.
func (h *Host) components() uint64 {
	return uint64(h.register(leafXState, 0, EAX)) | uint64(h.register(leafXState, 0, EDX))<<32
}

// extendedState leaves those components in leaf 0xd whose features the guest has.
func (b *Builder) extendedState(leaves []Entry) []Entry {
	mask := b.words.components() & b.host.components()
	leaves = slices.DeleteFunc(leaves, func(e Entry) bool {
		user := e.ECX&1 == 0 // others are of the system: XSAVES saves them
		return e.Function == leafXState && e.Index > 1 && user && mask&(1<<e.Index) == 0
	})
	size := uint32(0)
	if mask != 0 {
		size = legacySize
	}
	for _, e := range leaves {
		if e.Function == leafXState && e.Index > 1 && e.ECX&1 == 0 {
			size = max(size, e.EAX+e.EBX)
		}
	}
	for i := range leaves {
		if e := &leaves[i]; e.Function == leafXState && e.Index == 0 {
			e.EAX, e.EDX = e.EAX&uint32(mask), e.EDX&uint32(mask>>32)
			e.EBX, e.ECX = min(e.EBX, size), size
		}
	}
	return leaves
}
