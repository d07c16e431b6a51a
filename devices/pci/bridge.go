package pci

import "encoding/binary"

// Bridge is a function with a type 1 header and the bus behind it.
type Bridge struct {
	*Function
	secondary *Bus
	reserve   Reserve
	hotplug   bool // reserve address space even when empty
}

// Reserve is address space that firmware keeps free behind a bridge for
// devices plugged in later, in bytes; nil leaves the choice to the firmware.
type Reserve struct {
	Bus                     *uint32
	IO, Mem, Pref32, Pref64 *uint64
}

// newBridge returns a type 1 function with an empty secondary bus named id.
func newBridge(driver, id string, ident Identity, reserve Reserve) *Bridge {
	f := newFunction(ident)
	f.SetName(driver, id)
	b := &Bridge{Function: f, reserve: reserve}
	b.secondary = &Bus{ID: id, bridge: b}
	f.bridge = b
	f.set8(regHeaderType, headerType1)
	copy(f.wmask[regPrimaryBus:], []byte{0xff, 0xff, 0xff, 0xff})
	b.initWindows()
	binary.LittleEndian.PutUint16(f.w1c[regSecStatus:], statusErrors)
	f.OnConfig(regBridgeControl, 1, nil, b.busReset())
	return b
}

// initWindows sets up base and limit registers, each window closed: base above
// limit (Bridge 1.2 §3.2.5).
func (b *Bridge) initWindows() {
	f := b.Function
	f.set8(regIOBase, 0xf0)
	f.set16(regMemBase, 0xfff0)
	f.set16(regPrefBase, 0xfff0|prefType64)
	f.set16(regPrefLimit, prefType64)
	f.wmask[regIOBase], f.wmask[regIOLimit] = 0xf0, 0xf0
	for _, reg := range []int{regMemBase, regMemLimit, regPrefBase, regPrefLimit} {
		f.allow16(reg, 0xfff0)
	}
	f.allow32(regPrefBaseUpper, 0xffffffff)
	f.allow32(regPrefLimitUpper, 0xffffffff)
	f.allow16(regBridgeControl, bridgeCtlBits)
}

// busReset returns the hook that resets what is behind the bridge when the
// guest sets the secondary bus reset bit.
func (b *Bridge) busReset() func(int, []byte) {
	return func(_ int, data []byte) {
		if data[0]&bridgeReset != 0 {
			b.secondary.reset()
		}
	}
}

// Secondary returns the bus behind the bridge.
func (b *Bridge) Secondary() *Bus { return b.secondary }

// busRange returns the secondary and subordinate bus numbers.
func (b *Bridge) busRange() (lo, hi uint8) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg[regSecondaryBus], b.cfg[regSubordinateBus]
}

// reset resets every function on the bus and behind it.
func (b *Bus) reset() {
	for _, s := range b.Functions() {
		if s.Function.bridge != nil {
			s.Function.bridge.secondary.reset()
		}
		s.Function.Reset()
	}
}

// NewPCIBridge returns QEMU's pci-bridge: a conventional bridge without hot
// plugging, whose secondary bus is named id.
func NewPCIBridge(id string, chassis uint8, reserve Reserve) (*Bridge, error) {
	b := newBridge("pci-bridge", id, Identity{Vendor: vendorRedHat, Device: 0x0001, Class: classBridge}, reserve)
	const fastBackToBack66MHz = 0xa0
	b.set16(regStatus, fastBackToBack66MHz)
	b.set16(regSecStatus, fastBackToBack66MHz)
	if _, err := b.AddCapability(CapSlotID, []byte{0, chassis}, nil); err != nil {
		return nil, err
	}
	return b, b.addReserveCap()
}

const (
	vendorRedHat = 0x1b36
	classBridge  = 0x060400
)

// addReserveCap tells guest firmware of the reservations, if there are any, by
// the vendor capability that QEMU's bridges have.
func (b *Bridge) addReserveCap() error {
	r := &b.reserve
	if r.Bus == nil && r.IO == nil && r.Mem == nil && r.Pref32 == nil && r.Pref64 == nil {
		return nil
	}
	const length, typeResourceReserve = 32, 1
	body := []byte{length, typeResourceReserve}
	body = binary.LittleEndian.AppendUint32(body, orNone(r.Bus))
	body = binary.LittleEndian.AppendUint64(body, orNone(r.IO))
	body = binary.LittleEndian.AppendUint32(body, uint32(orNone(r.Mem)))
	body = binary.LittleEndian.AppendUint32(body, uint32(orNone(r.Pref32)))
	body = binary.LittleEndian.AppendUint64(body, orNone(r.Pref64))
	_, err := b.AddCapability(CapVendor, body, nil)
	return err
}

// orNone returns what p points to, or all ones.
func orNone[T uint32 | uint64](p *T) T {
	if p == nil {
		return ^T(0)
	}
	return *p
}
