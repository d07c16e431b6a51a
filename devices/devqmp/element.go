package devqmp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
	"hv/hypervisor/mem"
	"hv/qmp/qapi"
)

// Descriptors of a split queue (virtio 1.2 §2.7.5).
const (
	descSize     = 16
	descNext     = 1 << 0
	descWrite    = 1 << 1
	descIndirect = 1 << 2
)

// element returns the chain at an index of the driver's area, or the one that the device
// takes next.
func (d *VirtioDevice) element(m *mem.Memory, i uint16, index *uint16) (qapi.VirtioQueueElement, error) {
	s, q, err := d.queue(i)
	switch {
	case err != nil:
		return qapi.VirtioQueueElement{}, err
	case s.Accepted&virtio.FeatureRingPacked != 0:
		return qapi.VirtioQueueElement{}, errors.New("Packed ring not supported")
	case q.At == nil:
		return qapi.VirtioQueueElement{}, fmt.Errorf("Virtqueue %d is not in use", i)
	}
	at := q.At.Avail
	if s.Host != nil && int(i) < len(s.Host.Queues) {
		at = s.Host.Queues[i].Base
	}
	if index != nil {
		at = *index
	}
	r := ring{m, &q.Config}
	e := qapi.VirtioQueueElement{
		Name:  d.name(),
		Avail: qapi.VirtioRingAvail{Flags: r.word(q.Config.Driver), Idx: r.word(q.Config.Driver + 2), Ring: r.word(q.Config.Driver + 4 + 2*uint64(at%q.Config.Size))},
		Used:  qapi.VirtioRingUsed{Flags: r.word(q.Config.Device), Idx: r.word(q.Config.Device + 2)},
	}
	e.Index = uint32(e.Avail.Ring)
	e.Descs, err = r.chain(e.Avail.Ring)
	return e, err
}

// ring reads a split queue, which the guest may change meanwhile.
type ring struct {
	mem *mem.Memory
	cfg *queue.Config
}

// word reads 16 bits; what is not RAM is zero.
func (r ring) word(addr uint64) uint16 {
	var b [2]byte
	_ = r.mem.ReadAt(b[:], addr)
	return binary.LittleEndian.Uint16(b[:])
}

// chain reads the descriptors from a head on, the last first, as QEMU has them. A chain
// that goes round ends where every descriptor was seen.
func (r ring) chain(head uint16) (qapi.VirtioRingDescList, error) {
	table, n, i := r.cfg.Desc, uint32(r.cfg.Size), uint32(head)
	out := qapi.VirtioRingDescList{}
	for limit := n; limit > 0; limit-- {
		var b [descSize]byte
		if i >= n || r.mem.ReadAt(b[:], table+descSize*uint64(i)) != nil {
			return nil, errors.New("Cannot map descriptor ring")
		}
		addr, size, flags := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint16(b[12:])
		if flags&descIndirect != 0 && table == r.cfg.Desc && len(out) == 0 {
			if _, err := r.mem.Slice(addr, uint64(size)); err != nil {
				return nil, errors.New("Cannot map indirect buffer")
			}
			table, n, i = addr, min(size/descSize, queue.MaxSize), 0
			limit = n + 1
			continue
		}
		out = append(qapi.VirtioRingDescList{{Addr: addr, Len: size, Flags: descFlags(flags)}}, out...)
		if flags&descNext == 0 {
			break
		}
		i = uint32(binary.LittleEndian.Uint16(b[14:]))
	}
	return out, nil
}

// descFlags names a descriptor's flags.
func descFlags(flags uint16) qapi.StrList {
	out := qapi.StrList{}
	for _, f := range []struct {
		bit  uint16
		name string
	}{{1 << 15, "used"}, {1 << 7, "avail"}, {descIndirect, "indirect"}, {descWrite, "write"}, {descNext, "next"}} {
		if flags&f.bit != 0 {
			out = append(out, f.name)
		}
	}
	return out
}
