package boot

// Where boot data lies, in guest-physical memory. The real-mode vectors and the
// BIOS data area stay free; a kernel may use all of it once it has taken over.
const (
	gdtAddr       = 0x500   // flat descriptors
	startInfoAddr = 0x1000  // PVH start info, module list
	memMapAddr    = 0x2000  // PVH memory map
	zeroPageAddr  = 0x7000  // boot_params
	stackTop      = 0x9000  // a page of stack grows down from here
	pageTableAddr = 0x9000  // PML4, PDPT, four page directories
	cmdlineAddr   = 0x20000 // command line and its NUL
	lowEnd        = 0x30000 // one past the boot data
)

const (
	pageSize   = 0x1000
	cmdlineMax = lowEnd - cmdlineAddr - 1 // bytes without the NUL
	// kernelMin is the lowest address that a kernel may be loaded at.
	kernelMin = 1 << 20
	// limit32 is one past what 32-bit addresses reach.
	limit32 = 1 << 32
)

func alignUp(v, align uint64) uint64 { return (v + align - 1) &^ (align - 1) }
