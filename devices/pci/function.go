package pci

import (
	"encoding/binary"
	"fmt"
	"sync"
)

// Identity is what a function says it is. Class is the 24-bit class code, base
// class in the top byte. A zero subsystem becomes QEMU's 1af4:1100.
type Identity struct {
	Vendor, Device, SubVendor, SubDevice uint16
	Class                                uint32
	Revision                             uint8
}

const (
	defaultSubVendor = 0x1af4
	defaultSubDevice = 0x1100
)

// Function is one PCI function: its configuration space, BARs and interrupts.
// The space is 256 bytes, or 4096 once a PCI Express capability is added.
type Function struct {
	driver, id string
	bridge     *Bridge // what lies behind a type 1 header
	express    int     // offset of the PCI Express capability, or 0
	capTail    int     // where the next capability's offset is written
	capNext    int
	extTail    int // last extended capability, or 0
	extNext    int
	hooks      []hook
	onReset    []func()
	msix       *MSIX
	bars       [numBARs]*barState

	mu      sync.Mutex // guards what follows
	cfg     []byte
	wmask   []byte // bits that the guest may write
	w1c     []byte // bits that the guest clears by writing ones
	initial []byte // what a reset puts into bits of the two masks
	off     bool   // behind a slot without power: not visible, decodes nothing
	host    *Host
	bus     *Bus
	addr    Addr
	intx    bool // level that the device asks for
	line    *sharedLine
	lineOn  bool // level that the line has from this function
}

// hook observes a part of configuration space.
type hook struct {
	off, size   int
	read, write func(off int, data []byte)
}

// NewFunction returns a type 0 function without BARs or capabilities.
func NewFunction(id Identity) *Function {
	f := newFunction(id)
	if id.SubVendor == 0 && id.SubDevice == 0 {
		id.SubVendor, id.SubDevice = defaultSubVendor, defaultSubDevice
	}
	f.set16(regSubVendorID, id.SubVendor)
	f.set16(regSubDeviceID, id.SubDevice)
	return f
}

// newFunction fills in what both header types share.
func newFunction(id Identity) *Function {
	f := &Function{capTail: regCapPointer, capNext: firstCap, extNext: firstExtCap}
	f.grow(configSize)
	f.set16(regVendorID, id.Vendor)
	f.set16(regDeviceID, id.Device)
	f.set8(regRevision, id.Revision)
	f.set8(regClass, uint8(id.Class))
	f.set16(regClass+1, uint16(id.Class>>8))
	f.allow16(regCommand, cmdIO|cmdMemory|cmdMaster|cmdSERR|cmdINTxDisable)
	f.wmask[regCacheLineSize] = 0xff
	f.wmask[regInterruptLine] = 0xff
	binary.LittleEndian.PutUint16(f.w1c[regStatus:], statusErrors)
	return f
}

// grow extends the configuration space to size bytes.
func (f *Function) grow(size int) {
	for _, p := range []*[]byte{&f.cfg, &f.wmask, &f.w1c, &f.initial} {
		next := make([]byte, size)
		copy(next, *p)
		*p = next
	}
}

// SetName gives the driver name and the id that errors call the function by.
func (f *Function) SetName(driver, id string) { f.driver, f.id = driver, id }

func (f *Function) name() string {
	if f.id == "" {
		return f.driver
	}
	return f.driver + ",id=" + f.id
}

// SetInterruptPin wires the function to INTA (1) to INTD (4), or to none (0).
func (f *Function) SetInterruptPin(pin uint8) error {
	if pin > 4 {
		return fmt.Errorf("%s: interrupt pin %d: want 0 to 4", f.name(), pin)
	}
	f.set8(regInterruptPin, pin)
	return nil
}

// SetConfig sets bytes of configuration space at off, together with which bits
// of them the guest may write (nil for none). It is for device-specific
// registers of chipset functions, while the function is being built.
func (f *Function) SetConfig(off int, value, writable []byte) error {
	if off < 0 || off+len(value) > len(f.cfg) {
		return fmt.Errorf("%s: configuration bytes %#x+%d lie outside its space", f.name(), off, len(value))
	}
	f.put(off, value)
	copy(f.wmask[off:off+len(value)], writable)
	return nil
}

// put sets bytes and what a reset returns them to.
func (f *Function) put(off int, b []byte) {
	copy(f.cfg[off:], b)
	copy(f.initial[off:], b)
}

func (f *Function) set8(off int, v uint8) { f.put(off, []byte{v}) }
func (f *Function) set16(off int, v uint16) {
	f.put(off, binary.LittleEndian.AppendUint16(nil, v))
}
func (f *Function) set32(off int, v uint32) {
	f.put(off, binary.LittleEndian.AppendUint32(nil, v))
}
func (f *Function) allow16(off int, v uint16) { binary.LittleEndian.PutUint16(f.wmask[off:], v) }
func (f *Function) allow32(off int, v uint32) { binary.LittleEndian.PutUint32(f.wmask[off:], v) }

// get16 and get32 read a register; the caller holds mu.
func (f *Function) get16(off int) uint16 { return binary.LittleEndian.Uint16(f.cfg[off:]) }
func (f *Function) get32(off int) uint32 { return binary.LittleEndian.Uint32(f.cfg[off:]) }

// load16 reads a register of a live function.
func (f *Function) load16(off int) uint16 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.get16(off)
}

// load8 reads a byte of a live function.
func (f *Function) load8(off int) uint8 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cfg[off]
}

// change16 replaces the bits of mask in a register of a live function,
// whatever the guest may write there, and returns the new value.
func (f *Function) change16(off int, mask, v uint16) uint16 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.get16(off)&^mask | v&mask
	binary.LittleEndian.PutUint16(f.cfg[off:], n)
	return n
}

// OnConfig has read called for the bytes of [off, off+size) that the guest
// reads, to replace what is there, and write after it wrote some. Either may
// be nil; offsets are relative to off.
func (f *Function) OnConfig(off, size int, read, write func(off int, data []byte)) {
	f.hooks = append(f.hooks, hook{off, size, read, write})
}

// OnReset has fn called whenever the function is reset: by the machine, by its
// function-level reset bit, by its bridge's secondary bus reset.
func (f *Function) OnReset(fn func()) { f.onReset = append(f.onReset, fn) }

// ReadConfig reads configuration space as the guest does; what lies outside
// reads as ones. len(data) is at most 8.
func (f *Function) ReadConfig(off int, data []byte) {
	f.mu.Lock()
	for i := range data {
		data[i] = 0xff
		if o := off + i; o >= 0 && o < len(f.cfg) {
			data[i] = f.cfg[o]
		}
	}
	f.mu.Unlock()
	for i := range f.hooks {
		h := &f.hooks[i]
		if lo, hi := h.overlap(off, len(data)); h.read != nil && lo < hi {
			h.read(lo-h.off, data[lo-off:hi-off])
		}
	}
}

// WriteConfig writes configuration space as the guest does: read-only bits
// stay, and the function's decoding and interrupts follow.
func (f *Function) WriteConfig(off int, data []byte) {
	f.mu.Lock()
	for i, v := range data {
		if o := off + i; o >= 0 && o < len(f.cfg) {
			f.cfg[o] = (f.cfg[o]&^f.wmask[o] | v&f.wmask[o]) &^ (v & f.w1c[o])
		}
	}
	f.updateINTx()
	host := f.host
	f.mu.Unlock()
	if host != nil && off < regCapPointer {
		host.remap(f)
	}
	for i := range f.hooks {
		h := &f.hooks[i]
		if lo, hi := h.overlap(off, len(data)); h.write != nil && lo < hi {
			h.write(lo-h.off, data[lo-off:hi-off])
		}
	}
}

// overlap clips the access [off, off+n) to the hook's range.
func (h *hook) overlap(off, n int) (lo, hi int) {
	return max(off, h.off), min(off+n, h.off+h.size)
}

// Reset puts the registers that the guest can write back to their initial
// values and runs the OnReset callbacks.
func (f *Function) Reset() {
	f.mu.Lock()
	for i := range f.cfg {
		m := f.wmask[i] | f.w1c[i]
		f.cfg[i] = f.cfg[i]&^m | f.initial[i]&m
	}
	f.updateINTx()
	host := f.host
	f.mu.Unlock()
	if f.msix != nil {
		f.msix.reset()
	}
	if host != nil {
		host.remap(f)
	}
	for _, fn := range f.onReset {
		fn()
	}
}

// Close gives back the function's message-signalled interrupts. The function
// must be detached, and its device quiet.
func (f *Function) Close() error {
	if f.msix == nil {
		return nil
	}
	return f.msix.close()
}

// Addr returns where the function is attached, and on which bus (nil when it
// is on none).
func (f *Function) Addr() (*Bus, Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bus, f.addr
}

// ID returns the id given to SetName.
func (f *Function) ID() string { return f.id }
