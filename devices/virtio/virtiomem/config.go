package virtiomem

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
)

// Offsets in the configuration space (§5.15.4).
const (
	configBlock     = 0
	configNode      = 8
	configAddr      = 16
	configRegion    = 24
	configUsable    = 32
	configPlugged   = 40
	configRequested = 48
	configSize      = 56
)

// ReadConfig reads the sizes.
func (d *Device) ReadConfig(off uint64, data []byte) {
	var b [configSize]byte
	le := binary.LittleEndian
	le.PutUint64(b[configBlock:], d.cfg.Block)
	le.PutUint16(b[configNode:], d.cfg.Node)
	le.PutUint64(b[configAddr:], d.cfg.Addr)
	le.PutUint64(b[configRegion:], d.cfg.Region)
	d.mu.Lock()
	le.PutUint64(b[configUsable:], d.usable)
	le.PutUint64(b[configPlugged:], d.size)
	le.PutUint64(b[configRequested:], d.requested)
	d.mu.Unlock()
	clear(data)
	if off < configSize {
		copy(data, b[off:])
	}
}

// WriteConfig does nothing: all of it is read only.
func (d *Device) WriteConfig(uint64, []byte) {}

// slack is how much more than requested the guest may use. Linux adds memory in sections
// of 128 MiB and uses a part of one only if all of it is usable.
const slack = 2 * 128 << 20

// extent returns how much of the region is usable when so much is requested.
func (d *Device) extent(requested uint64) uint64 {
	if requested == 0 {
		return 0
	}
	n := min(d.cfg.Region, requested+slack)
	return (n + d.cfg.Block - 1) &^ (d.cfg.Block - 1)
}

// Config returns what the device was made with.
func (d *Device) Config() Config { return d.cfg }

// Plugged yields what is plugged as offsets in the region, with the length of each piece.
func (d *Device) Plugged() iter.Seq2[uint64, uint64] {
	d.work.Lock()
	blocks := slices.Clone(d.plugged)
	d.work.Unlock()
	return func(yield func(off, n uint64) bool) {
		for i := 0; i < len(blocks); {
			j := i
			for j < len(blocks) && blocks[j] {
				j++
			}
			if j > i && !yield(uint64(i)*d.cfg.Block, uint64(j-i)*d.cfg.Block) {
				return
			}
			i = j + 1
		}
	}
}

// PluggedSize returns how many bytes the guest has plugged.
func (d *Device) PluggedSize() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

// RequestedSize returns how many bytes the guest is to plug.
func (d *Device) RequestedSize() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requested
}

// SetRequestedSize asks the guest to plug or unplug blocks until so many bytes are plugged.
// It is told even if nothing changed. What is usable does not shrink before all is unplugged,
// so that the guest can reach its blocks until then.
func (d *Device) SetRequestedSize(size uint64) error {
	if size%d.cfg.Block != 0 {
		return fmt.Errorf("'requested-size' has to be multiples of 'block-size' (0x%x)", d.cfg.Block)
	}
	if err := d.cfg.fits(size); err != nil {
		return err
	}
	d.mu.Lock()
	d.requested = size
	d.usable = max(d.usable, d.extent(size))
	d.mu.Unlock()
	d.ConfigChanged()
	return nil
}
