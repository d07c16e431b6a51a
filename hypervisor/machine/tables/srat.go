package tables

import "encoding/binary"

// Flags of memory in the SRAT (§5.2.16.2).
const (
	sratEnabled      = 1 << 0
	sratHotpluggable = 1 << 1
)

// srat returns the SRAT's body (§5.2.16): one node with all processors and memory, and
// where memory may come later. Linux makes room for that in its address space, and keeps
// bounce buffers below 4 GiB for devices that cannot reach it.
func (d *Desc) srat() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 1) // reserved, but for old readers
	b = le.AppendUint64(b, 0)
	for _, c := range d.CPUs {
		b = append(b, c.srat()...)
	}
	for _, w := range d.RAM {
		b = append(b, w.srat(sratEnabled)...)
	}
	return append(b, d.Hotplug.srat(sratEnabled|sratHotpluggable)...)
}

// srat returns the entry of a CPU in node 0: x2APIC where the id needs it.
func (c CPU) srat() []byte {
	le := binary.LittleEndian
	if c.APICID < 255 {
		b := []byte{0, 16, 0, byte(c.APICID)}
		b = le.AppendUint32(b, 1)
		return le.AppendUint64(b, 0)
	}
	b := le.AppendUint32([]byte{2, 24, 0, 0}, 0)
	b = le.AppendUint32(b, c.APICID)
	b = le.AppendUint32(b, 1)
	return le.AppendUint64(b, 0)
}

// srat returns the entry of memory in node 0.
func (w Window) srat(flags uint32) []byte {
	le := binary.LittleEndian
	b := append([]byte{1, 40}, make([]byte, 6)...) // node, reserved
	b = le.AppendUint64(b, w.Base)
	b = le.AppendUint64(b, w.Size)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, flags)
	return le.AppendUint64(b, 0)
}
