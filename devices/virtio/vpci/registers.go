package vpci

import (
	"encoding/binary"

	"hv/devices/pci"
	"hv/devices/virtio"
)

// Layout of BAR 4, and MSI-X in BAR 1.
const (
	commonOff        = 0x0000
	isrOff           = 0x1000
	deviceOff        = 0x2000
	notifyOff        = 0x3000
	partSize         = 0x1000
	barSize          = 0x4000
	notifyMultiplier = 4

	modernBAR = 4
	msixBAR   = 1
	pbaOff    = 0x800
)

// Capability types (§4.1.4).
const (
	capCommon = 1
	capNotify = 2
	capISR    = 3
	capDevice = 4
	capPCI    = 5
)

// build lays the function out.
func (t *Transport) build() error {
	err := t.fn.AddBAR(modernBAR, pci.BAR{
		Size: barSize, Kind: pci.BARMem64, Prefetch: true, Name: "virtio-pci", Mapped: t.mapped,
		Regions: []pci.Region{
			{Off: commonOff, Size: partSize, Handler: part{t.readCommon, t.writeCommon}},
			{Off: isrOff, Size: partSize, Handler: part{t.readISRs, ignore}},
			{Off: deviceOff, Size: partSize, Handler: part{t.readDevice, t.writeDevice}},
			{Off: notifyOff, Size: partSize, Handler: part{zero, func(off uint64, _ []byte) { t.notify(off / notifyMultiplier) }}},
		},
	})
	if err != nil {
		return err
	}
	if err := t.addMSIX(); err != nil {
		return err
	}
	if t.cfg.Express {
		if _, err := t.fn.AddPCIeCap(pci.PCIeEndpoint); err != nil {
			return err
		}
	}
	if err := t.addCapabilities(); err != nil {
		return err
	}
	t.fn.OnReset(t.reset)
	return t.fn.SetInterruptPin(1)
}

func (t *Transport) addMSIX() (err error) {
	n := int(t.cfg.Options.Vectors)
	if n == 0 {
		n = len(t.queues) + 1
	}
	size := uint64(0x1000)
	table := uint64(16 * n)
	pba := uint64(pbaOff)
	for table > pba {
		size, pba = size*2, pba*2
	}
	if err := t.fn.AddBAR(msixBAR, pci.BAR{Size: size, Kind: pci.BARMem32, Name: "msix"}); err != nil {
		return err
	}
	if t.msix, err = t.fn.AddMSIX(t.cfg.IRQ, n, msixBAR, 0, pba); err != nil {
		return err
	}
	t.msix.OnSwitch(func() { t.rewire(-1) })
	return nil
}

func (t *Transport) addCapabilities() error {
	add := func(typ byte, off, size uint32, more ...byte) (int, error) {
		// cap_len, cfg_type, bar, id, padding[2], offset, length: from offset 2.
		body := []byte{byte(16 + len(more)), typ, modernBAR, 0, 0, 0}
		body = binary.LittleEndian.AppendUint32(body, off)
		body = binary.LittleEndian.AppendUint32(body, size)
		body = append(body, more...)
		var writable []byte
		if typ == capPCI {
			writable = make([]byte, len(body))
			for i := range writable {
				if i == 2 || i >= 6 {
					writable[i] = 0xff
				}
			}
		}
		return t.fn.AddCapability(pci.CapVendor, body, writable)
	}
	for _, c := range []struct {
		typ byte
		off uint32
	}{{capCommon, commonOff}, {capISR, isrOff}, {capDevice, deviceOff}} {
		if _, err := add(c.typ, c.off, partSize); err != nil {
			return err
		}
	}
	if _, err := add(capNotify, notifyOff, partSize, notifyMultiplier, 0, 0, 0); err != nil {
		return err
	}
	at, err := add(capPCI, 0, 0, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	t.fn.OnConfig(at+16, 4, func(off int, data []byte) { t.window(at, off, data, false) }, func(off int, data []byte) { t.window(at, off, data, true) })
	return nil
}

// window is an access to BAR 4 by configuration space (§4.1.4.9).
func (t *Transport) window(at, off int, data []byte, write bool) {
	var c [12]byte // from the capability's member bar on
	t.fn.ReadConfig(at+4, c[:4])
	t.fn.ReadConfig(at+8, c[4:])
	start, size := uint64(binary.LittleEndian.Uint32(c[4:])), int(binary.LittleEndian.Uint32(c[8:]))
	if off != 0 || c[0] != modernBAR || size != len(data) || size != 1 && size != 2 && size != 4 || start+uint64(size) > barSize {
		return
	}
	h, rel := t.partAt(start)
	if write {
		h.Write(rel, data)
	} else {
		h.Read(rel, data)
	}
}

func (t *Transport) partAt(off uint64) (part, uint64) {
	switch off &^ (partSize - 1) {
	case commonOff:
		return part{t.readCommon, t.writeCommon}, off
	case isrOff:
		return part{t.readISRs, ignore}, off - isrOff
	case deviceOff:
		return part{t.readDevice, t.writeDevice}, off - deviceOff
	}
	return part{zero, func(o uint64, _ []byte) { t.notify(o / notifyMultiplier) }}, off - notifyOff
}

// part is a piece of the BAR.
type part struct{ read, write func(off uint64, data []byte) }

func (p part) Read(off uint64, data []byte)  { p.read(off, data) }
func (p part) Write(off uint64, data []byte) { p.write(off, data) }

func ignore(uint64, []byte)      {}
func zero(_ uint64, data []byte) { clear(data) }

func (t *Transport) readISRs(off uint64, data []byte) {
	clear(data)
	if off == 0 {
		data[0] = t.readISR()
	}
}

func (t *Transport) readDevice(off uint64, data []byte) { t.dev.ReadConfig(off, data) }
func (t *Transport) writeDevice(off uint64, data []byte) {
	t.dev.WriteConfig(off, data)
}

// Offsets in the common configuration (§4.1.4.3).
const (
	regFeatureSel   = 0x00
	regFeature      = 0x04
	regDrvSel       = 0x08
	regDrvFeature   = 0x0c
	regConfVector   = 0x10
	regNumQueues    = 0x12
	regStatus       = 0x14
	regGeneration   = 0x15
	regQueueSel     = 0x16
	regQueueSize    = 0x18
	regQueueVector  = 0x1a
	regQueueEnable  = 0x1c
	regQueueNotify  = 0x1e
	regQueueDesc    = 0x20
	regQueueDriver  = 0x28
	regQueueDevice  = 0x30
	regQueueReset   = 0x3a
	commonSize      = 0x40
	queueAddrsStart = regQueueDesc
	queueAddrsEnd   = regQueueDevice + 8
)

// readCommon reads any bytes of the common configuration.
func (t *Transport) readCommon(off uint64, data []byte) {
	clear(data)
	if off >= commonSize {
		return
	}
	var b [commonSize]byte
	t.image(&b)
	copy(data, b[off:])
}

// image fills in the common configuration as the driver reads it.
func (t *Transport) image(b *[commonSize]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	le := binary.LittleEndian
	le.PutUint32(b[regFeatureSel:], t.featureSel[0])
	le.PutUint32(b[regFeature:], half(t.offered(), t.featureSel[0]))
	le.PutUint32(b[regDrvSel:], t.featureSel[1])
	le.PutUint32(b[regDrvFeature:], half(t.features, t.featureSel[1]))
	le.PutUint16(b[regConfVector:], uint16(t.confVector.Load()))
	le.PutUint16(b[regNumQueues:], uint16(len(t.queues)))
	b[regStatus], b[regGeneration] = t.status, uint8(t.generation.Load())
	le.PutUint16(b[regQueueSel:], t.queueSel)
	if int(t.queueSel) >= len(t.queues) {
		return
	}
	q := t.queues[t.queueSel]
	le.PutUint16(b[regQueueSize:], q.cfg.Size)
	le.PutUint16(b[regQueueVector:], uint16(q.vector.Load()))
	if q.enabled {
		b[regQueueEnable] = 1
	}
	le.PutUint16(b[regQueueNotify:], t.queueSel)
	le.PutUint64(b[regQueueDesc:], q.cfg.Desc)
	le.PutUint64(b[regQueueDriver:], q.cfg.Driver)
	le.PutUint64(b[regQueueDevice:], q.cfg.Device)
}

// half returns 32 of the feature bits.
func half(v uint64, sel uint32) uint32 {
	if sel > 1 {
		return 0
	}
	return uint32(v >> (32 * sel))
}

// writeCommon writes a register. Accesses have the register's size, but for
// addresses, which may come in halves (§4.1.3.1).
func (t *Transport) writeCommon(off uint64, data []byte) {
	var b [8]byte
	copy(b[:], data)
	v := binary.LittleEndian.Uint64(b[:])
	switch off {
	case regStatus:
		t.setStatus(uint8(v))
	case regQueueEnable:
		if i := t.selected(); i >= 0 && v == 1 {
			t.enable(i)
		}
	case regQueueReset:
		if i := t.selected(); i >= 0 && v == 1 {
			t.resetQueue(i)
		}
	default:
		t.mu.Lock()
		t.setRegister(off, v, len(data))
		t.mu.Unlock()
		if i := t.selected(); off == regQueueVector && i >= 0 {
			t.rewire(i)
		}
	}
}

// selected returns the index of the selected queue, -1 if there is none.
func (t *Transport) selected() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(t.queueSel) >= len(t.queues) {
		return -1
	}
	return int(t.queueSel)
}

func (t *Transport) setRegister(off, v uint64, n int) {
	switch off {
	case regFeatureSel:
		t.featureSel[0] = uint32(v)
	case regDrvSel:
		t.featureSel[1] = uint32(v)
	case regDrvFeature:
		if sel := t.featureSel[1]; sel <= 1 && t.status&virtio.StatusFeaturesOK == 0 {
			t.features = t.features&^(0xffffffff<<(32*sel)) | v&0xffffffff<<(32*sel)
		}
	case regConfVector:
		t.confVector.Store(t.checkVector(v))
	case regQueueSel:
		t.queueSel = uint16(v)
	default:
		if int(t.queueSel) < len(t.queues) {
			t.setQueueRegister(t.queues[t.queueSel], off, v, n)
		}
	}
}

// checkVector returns a vector that exists, or none.
func (t *Transport) checkVector(v uint64) uint32 {
	if uint16(v) >= uint16(t.msix.Len()) {
		return noVector
	}
	return uint32(uint16(v))
}

func (t *Transport) setQueueRegister(q *vq, off, v uint64, n int) {
	if off == regQueueVector {
		q.vector.Store(t.checkVector(v))
		return
	}
	if q.enabled {
		return
	}
	switch {
	case off == regQueueSize:
		// A size that is too large stays what it was; zero switches the queue off.
		if uint16(v) <= t.dev.QueueSizes()[q.cfg.Index] {
			q.cfg.Size = uint16(v)
		}
	case off >= queueAddrsStart && off < queueAddrsEnd:
		addr := [...]*uint64{&q.cfg.Desc, &q.cfg.Driver, &q.cfg.Device}[(off-queueAddrsStart)/8]
		shift := 8 * (off % 8)
		mask := ^uint64(0)
		if n < 8 {
			mask = 1<<(8*n) - 1
		}
		*addr = *addr&^(mask<<shift) | v&mask<<shift
	}
}
