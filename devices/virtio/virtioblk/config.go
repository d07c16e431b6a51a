package virtioblk

import (
	"encoding/binary"
	"fmt"
)

// Config is a disk's properties.
type Config struct {
	Drive         string `prop:"drive" desc:"node name or ID of a block device to use as a backend"`
	Serial        string `prop:"serial" desc:"serial number, up to 20 characters"`
	NumQueues     uint16 `prop:"num-queues" default:"1" desc:"number of request queues"`
	QueueSize     uint16 `prop:"queue-size" default:"256" desc:"descriptors of a queue, a power of two"`
	LogicalBlock  uint32 `prop:"logical_block_size" default:"512" desc:"bytes of a block"`
	PhysicalBlock uint32 `prop:"physical_block_size" default:"512" desc:"bytes that are written at once"`
	MinIO         uint16 `prop:"min_io_size" default:"0" desc:"bytes that requests should have at least"`
	OptIO         uint32 `prop:"opt_io_size" default:"0" desc:"bytes that requests should have"`
	WriteCache    string `prop:"write-cache" default:"auto" desc:"on: writes are durable after a flush; off: when they complete"`
	Discard       bool   `prop:"discard" default:"on" desc:"offer discards"`
	WriteZeroes   bool   `prop:"write-zeroes" default:"on" desc:"offer the writing of zeroes"`
	ShareRW       bool   `prop:"share-rw" default:"off" desc:"others may write to the image too"`
	IOThread      string `prop:"iothread" desc:"accepted; every queue has a thread of its own"`
}

// check returns an error for what a disk cannot be.
func (c *Config) check() error {
	switch {
	case c.NumQueues == 0 || c.NumQueues > 256:
		return fmt.Errorf("num-queues must be from 1 to 256, not %d", c.NumQueues)
	case c.QueueSize < 2 || c.QueueSize > 1024 || c.QueueSize&(c.QueueSize-1) != 0:
		return fmt.Errorf("queue-size must be a power of two from 2 to 1024, not %d", c.QueueSize)
	case len(c.Serial) > serialSize:
		return fmt.Errorf("serial '%s' is longer than %d characters", c.Serial, serialSize)
	case c.WriteCache != "auto" && c.WriteCache != "on" && c.WriteCache != "off":
		return fmt.Errorf("write-cache must be on, off or auto, not '%s'", c.WriteCache)
	}
	for _, b := range []uint32{c.LogicalBlock, c.PhysicalBlock} {
		if b < 512 || b > 2<<20 || b&(b-1) != 0 {
			return fmt.Errorf("block size %d is no power of two from 512 to 2M", b)
		}
	}
	if c.LogicalBlock > c.PhysicalBlock {
		return fmt.Errorf("logical_block_size %d is greater than physical_block_size %d", c.LogicalBlock, c.PhysicalBlock)
	}
	return nil
}

// Offsets in the configuration space (virtio 1.2 §5.2.4).
const (
	confCapacity       = 0
	confSegMax         = 12
	confBlkSize        = 20
	confPhysExp        = 24
	confMinIO          = 26
	confOptIO          = 28
	confWriteback      = 32
	confNumQueues      = 34
	confMaxDiscard     = 36
	confMaxDiscardSeg  = 40
	confDiscardAlign   = 44
	confMaxZeroes      = 48
	confMaxZeroesSeg   = 52
	confZeroesMayUnmap = 56
	confSize           = 60

	sectorSize = 512
	// maxRangeSectors bounds a discard or a writing of zeroes.
	maxRangeSectors = 1 << 21
)

// space returns the configuration space.
func (d *Device) space() [confSize]byte {
	var b [confSize]byte
	le := binary.LittleEndian
	le.PutUint64(b[confCapacity:], d.capacity.Load())
	le.PutUint32(b[confSegMax:], uint32(d.cfg.QueueSize)-2)
	le.PutUint32(b[confBlkSize:], d.cfg.LogicalBlock)
	for n := d.cfg.LogicalBlock; n < d.cfg.PhysicalBlock; n *= 2 {
		b[confPhysExp]++
	}
	le.PutUint16(b[confMinIO:], uint16(uint32(d.cfg.MinIO)/d.cfg.LogicalBlock))
	le.PutUint32(b[confOptIO:], d.cfg.OptIO/d.cfg.LogicalBlock)
	if d.writeback.Load() {
		b[confWriteback] = 1
	}
	le.PutUint16(b[confNumQueues:], d.cfg.NumQueues)
	le.PutUint32(b[confMaxDiscard:], maxRangeSectors)
	le.PutUint32(b[confMaxDiscardSeg:], 1)
	le.PutUint32(b[confDiscardAlign:], d.cfg.LogicalBlock/sectorSize)
	le.PutUint32(b[confMaxZeroes:], maxRangeSectors)
	le.PutUint32(b[confMaxZeroesSeg:], 1)
	b[confZeroesMayUnmap] = 1
	return b
}

// ReadConfig reads the configuration space.
func (d *Device) ReadConfig(off uint64, data []byte) {
	b := d.space()
	clear(data)
	if off < confSize {
		copy(data, b[off:])
	}
}

// WriteConfig lets the driver choose the cache mode.
func (d *Device) WriteConfig(off uint64, data []byte) {
	if off == confWriteback && len(data) == 1 {
		d.writeback.Store(data[0] != 0)
	}
}
