package qtestdrv

// Virtio is a modern virtio device (virtio 1.2 §4.1) with one queue in use.
type Virtio struct {
	f     Function
	parts map[byte]uint64 // where the structures of the types are
	mult  uint64
	queue ring
}

// ring is a split virtqueue (§2.7) and where it lies.
type ring struct {
	index             uint16
	size              uint16
	desc, avail, used uint64
	sent              uint16
	notify            uint64
}

// Types of structures (§4.1.4), and their registers.
const (
	vendorCap    = 9
	typeCommon   = 1
	typeNotify   = 2
	typeISR      = 3
	typeDevice   = 4
	offFeatSel   = 0x00
	offFeature   = 0x04
	offDrvSel    = 0x08
	offDrvFeat   = 0x0c
	offQVector   = 0x1a
	offStatus    = 0x14
	offQSelect   = 0x16
	offQSize     = 0x18
	offQEnable   = 0x1c
	offQNotify   = 0x1e
	offQDesc     = 0x20
	offQDriver   = 0x28
	offQDevice   = 0x30
	noInterrupt  = 0xffff
	acknowledged = 1 | 2
	featuresOK   = 8
	driverOK     = 4
	version1     = 1 << 32
)

// NewVirtio places the device's BAR at an address and negotiates features, of which the
// version is always one, then makes queue 0 at ringAddr in RAM.
func NewVirtio(f Function, addr, features, ringAddr uint64) *Virtio {
	f.d.t.Helper()
	return NewVirtioQueue(f, addr, features, ringAddr, 0)
}

// NewVirtioQueue is NewVirtio with another queue than 0.
func NewVirtioQueue(f Function, addr, features, ringAddr uint64, queue uint16) *Virtio {
	f.d.t.Helper()
	v := &Virtio{f: f, parts: map[byte]uint64{}}
	for _, at := range f.Capabilities(vendorCap) {
		typ := byte(f.Config(at+3, 1))
		if v.parts[typ] == 0 {
			v.parts[typ] = addr + uint64(f.Config(at+8, 4))
		}
		if typ == typeNotify {
			v.mult = uint64(f.Config(at+16, 4))
		}
	}
	f.Map(4, addr)
	v.set(offStatus, 1, 0)
	v.set(offStatus, 1, acknowledged)
	features |= version1
	for half := range uint64(2) {
		v.set(offDrvSel, 4, half)
		v.set(offDrvFeat, 4, features>>(32*half)&0xffff_ffff)
	}
	v.set(offStatus, 1, acknowledged|featuresOK)
	if v.get(offStatus, 1)&featuresOK == 0 {
		f.d.t.Fatalf("features %#x are refused, of %#x", features, v.Offered())
	}
	v.makeQueue(ringAddr, queue)
	v.set(offStatus, 1, acknowledged|featuresOK|driverOK)
	return v
}

func (v *Virtio) get(off uint64, size int) uint64 {
	v.f.d.t.Helper()
	return v.f.d.Load(v.parts[typeCommon]+off, size)
}

func (v *Virtio) set(off uint64, size int, value uint64) {
	v.f.d.t.Helper()
	v.f.d.Store(v.parts[typeCommon]+off, size, value)
}

// Offered returns the device's feature bits.
func (v *Virtio) Offered() uint64 {
	v.f.d.t.Helper()
	var features uint64
	for half := range uint64(2) {
		v.set(offFeatSel, 4, half)
		features |= v.get(offFeature, 4) << (32 * half)
	}
	return features
}

// Config reads the device's configuration.
func (v *Virtio) Config(off uint64, size int) uint64 {
	v.f.d.t.Helper()
	return v.f.d.Load(v.parts[typeDevice]+off, size)
}

// ISR reads the interrupt status, which lowers the interrupt.
func (v *Virtio) ISR() uint8 {
	v.f.d.t.Helper()
	return uint8(v.f.d.Load(v.parts[typeISR], 1))
}

// ringSize is how long the queue is, ringBytes how much each of its parts may take.
const (
	ringSize  = 8
	ringBytes = 0x1000
)

func (v *Virtio) makeQueue(addr uint64, index uint16) {
	v.f.d.t.Helper()
	v.set(offQSelect, 2, uint64(index))
	v.queue = ring{index: index, size: ringSize, desc: addr, avail: addr + ringBytes, used: addr + 2*ringBytes}
	v.f.d.Do("memset %#x %#x 0", addr, 3*ringBytes)
	v.set(offQSize, 2, ringSize)
	v.set(offQVector, 2, noInterrupt)
	v.set(offQDesc, 8, v.queue.desc)
	v.set(offQDriver, 8, v.queue.avail)
	v.set(offQDevice, 8, v.queue.used)
	v.queue.notify = v.parts[typeNotify] + v.mult*v.get(offQNotify, 2)
	v.set(offQEnable, 2, 1)
}

// Buf is a buffer in RAM.
type Buf struct {
	Addr  uint64
	Len   uint32
	Write bool // the device writes it
}

// Send hands the device a chain of buffers, waits until it is used and returns how much
// was written.
func (v *Virtio) Send(chain ...Buf) uint32 {
	v.f.d.t.Helper()
	q, d := &v.queue, v.f.d
	for i, b := range chain {
		var flags uint16
		if i+1 < len(chain) {
			flags |= 1
		}
		if b.Write {
			flags |= 2
		}
		e := le.AppendUint64(nil, b.Addr)
		e = le.AppendUint32(e, b.Len)
		e = le.AppendUint16(e, flags)
		d.Write(q.desc+16*uint64(i), le.AppendUint16(e, uint16(i+1)))
	}
	d.Store(q.avail+4+2*uint64(q.sent%q.size), 2, 0)
	q.sent++
	d.Store(q.avail+2, 2, uint64(q.sent))
	d.Store(q.notify, 2, uint64(q.index))
	d.Await("used buffer", func() bool { return uint16(d.Load(q.used+2, 2)) == q.sent })
	return uint32(d.Load(q.used+4+8*uint64((q.sent-1)%q.size)+4, 4))
}
