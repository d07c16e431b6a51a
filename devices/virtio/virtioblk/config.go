package virtioblk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"hv/devices/qdev"
)

// Config is a disk's properties.
type Config struct {
	Drive          string         `prop:"drive" desc:"node name or ID of a block device to use as a backend"`
	Serial         string         `prop:"serial" desc:"serial number, up to 20 characters"`
	NumQueues      uint16         `prop:"num-queues" default:"65535" desc:"number of request queues; one for each vCPU if it is not given"`
	QueueSize      uint16         `prop:"queue-size" default:"256" desc:"descriptors of a queue, a power of two"`
	SegAdjust      bool           `prop:"seg-max-adjust" default:"on" desc:"as many buffers in a request as the queue has room for"`
	Cylinders      uint32         `prop:"cyls" default:"0" desc:"cylinders that the guest is told of; the three follow from the size if none is given"`
	Heads          uint32         `prop:"heads" default:"0" desc:"heads that the guest is told of"`
	Sectors        uint32         `prop:"secs" default:"0" desc:"sectors of a track that the guest is told of"`
	LogicalBlock   qdev.Size      `prop:"logical_block_size" default:"0" desc:"bytes of a block, 512 if it is not given"`
	PhysicalBlock  qdev.Size      `prop:"physical_block_size" default:"0" desc:"bytes that are written at once, 512 if it is not given"`
	MinIO          qdev.Size      `prop:"min_io_size" default:"0" desc:"bytes that requests should have at least"`
	OptIO          qdev.Size      `prop:"opt_io_size" default:"0" desc:"bytes that requests should have"`
	WriteCache     string         `prop:"write-cache" default:"auto" desc:"on: writes are durable after a flush; off: when they complete"`
	ConfigWCE      bool           `prop:"config-wce" default:"on" desc:"let the guest choose between the two"`
	Discard        bool           `prop:"discard" default:"on" desc:"offer discards"`
	WriteZeroes    bool           `prop:"write-zeroes" default:"on" desc:"offer the writing of zeroes"`
	DiscardGran    qdev.Size      `prop:"discard_granularity" default:"4294967295" desc:"bytes that discards should be aligned to; 4294967295 is a block"`
	ReportGran     bool           `prop:"report-discard-granularity" default:"on" desc:"tell the guest discard_granularity"`
	MaxDiscard     uint32         `prop:"max-discard-sectors" default:"4194303" desc:"sectors of a discard at most"`
	MaxZeroes      uint32         `prop:"max-write-zeroes-sectors" default:"4194303" desc:"sectors that are made zeroes at once, at most"`
	ReadError      qdev.OnError   `prop:"rerror" default:"auto" desc:"what becomes of reads that fail: report, ignore, enospc, stop, auto"`
	WriteError     qdev.OnError   `prop:"werror" default:"auto" desc:"what becomes of writes that fail: report, ignore, enospc, stop, auto"`
	AccountInvalid qdev.OnOffAuto `prop:"account-invalid" default:"auto" desc:"requests that cannot be carried out end the time of idleness"`
	AccountFailed  qdev.OnOffAuto `prop:"account-failed" default:"auto" desc:"requests that fail count for times"`
	ShareRW        bool           `prop:"share-rw" default:"off" desc:"others may write to the image too"`
	IOThread       string         `prop:"iothread" link:"iothread" desc:"ID of the thread that serves all queues; each has one of its own if it is not given"`
}

const (
	minBlock = 512
	maxBlock = 2 << 20
	// noGranularity leaves the granularity of discards to the size of blocks.
	noGranularity = math.MaxUint32
	// maxSectors bounds requests, of which the bytes are counted in 31 bits.
	maxSectors = math.MaxInt32 / sectorSize
	// automatic is as many queues as there are vCPUs.
	automatic = math.MaxUint16
	maxQueues = 256
	// fixedSegments is how many buffers a request has if that does not follow the queue's size.
	fixedSegments = 128 - 2
)

// check fills in what is left open for a disk of some sectors in a machine with some vCPUs, and
// returns an error for what a disk cannot be.
func (c *Config) check(sectors uint64, cpus int) error {
	if c.NumQueues == automatic {
		c.NumQueues = uint16(max(1, min(cpus, maxQueues)))
	}
	switch {
	case c.NumQueues == 0:
		return errors.New("num-queues property must be larger than 0")
	case c.NumQueues > maxQueues:
		return fmt.Errorf("num-queues must be from 1 to %d, not %d", maxQueues, c.NumQueues)
	case c.QueueSize <= 2:
		return fmt.Errorf("invalid queue-size property (%d), must be > 2", c.QueueSize)
	case c.QueueSize > 1024 || c.QueueSize&(c.QueueSize-1) != 0:
		return fmt.Errorf("invalid queue-size property (%d), must be a power of 2 (max 1024)", c.QueueSize)
	case len(c.Serial) > serialSize:
		return fmt.Errorf("serial '%s' is longer than %d characters", c.Serial, serialSize)
	case c.WriteCache != "auto" && c.WriteCache != "on" && c.WriteCache != "off":
		return fmt.Errorf("write-cache must be on, off or auto, not '%s'", c.WriteCache)
	case c.Discard && (c.MaxDiscard == 0 || c.MaxDiscard > maxSectors):
		return fmt.Errorf("invalid max-discard-sectors property (%d), must be between 1 and %d", c.MaxDiscard, maxSectors)
	case c.WriteZeroes && (c.MaxZeroes == 0 || c.MaxZeroes > maxSectors):
		return fmt.Errorf("invalid max-write-zeroes-sectors property (%d), must be between 1 and %d", c.MaxZeroes, maxSectors)
	}
	if err := c.checkGeometry(sectors); err != nil {
		return err
	}
	return c.checkSizes()
}

// checkGeometry is check for what disks had once. It follows from the size as that of drives with
// 16 heads and 63 sectors a track does.
func (c *Config) checkGeometry(sectors uint64) error {
	if c.Cylinders|c.Heads|c.Sectors == 0 {
		c.Heads, c.Sectors = 16, 63
		c.Cylinders = uint32(max(2, min(sectors/(16*63), 16383)))
		return nil
	}
	for _, x := range []struct {
		name    string
		n, most uint32
	}{{"cyls", c.Cylinders, math.MaxUint16}, {"heads", c.Heads, math.MaxUint8}, {"secs", c.Sectors, math.MaxUint8}} {
		if x.n < 1 || x.n > x.most {
			return fmt.Errorf("%s must be between 1 and %d", x.name, x.most)
		}
	}
	return nil
}

// sectorsPerTrack returns the sectors of a track as the guest is told: whole blocks, if the disk is
// not made of whole ones as it is.
func (c *Config) sectorsPerTrack(sectors uint64) uint8 {
	length, tracks := sectors*sectorSize, uint64(c.Heads)*uint64(c.Sectors)
	if length/tracks%uint64(c.LogicalBlock) != 0 {
		return uint8(c.Sectors) &^ uint8(c.LogicalBlock/sectorSize-1)
	}
	return uint8(c.Sectors)
}

// checkSizes is check for what is counted in blocks.
func (c *Config) checkSizes() error {
	for _, b := range []struct {
		name string
		size *qdev.Size
	}{{"logical_block_size", &c.LogicalBlock}, {"physical_block_size", &c.PhysicalBlock}} {
		switch n := *b.size; {
		case n == 0:
			*b.size = minBlock
		case n < minBlock || n > maxBlock:
			return fmt.Errorf("Property .%s doesn't take value %d (minimum: %d, maximum: %d)", b.name, n, minBlock, maxBlock)
		case n&(n-1) != 0:
			return fmt.Errorf("Property .%s doesn't take value '%d', it's not a power of 2", b.name, n)
		}
	}
	block := c.LogicalBlock
	switch {
	case block > c.PhysicalBlock:
		return errors.New("logical_block_size > physical_block_size not supported")
	case c.MinIO%block != 0:
		return errors.New("min_io_size must be a multiple of logical_block_size")
	case c.MinIO/block > math.MaxUint16:
		return fmt.Errorf("min_io_size must not exceed %d logical blocks", math.MaxUint16)
	case c.OptIO%block != 0 || c.OptIO > math.MaxUint32:
		return errors.New("opt_io_size must be a multiple of logical_block_size")
	case c.DiscardGran != noGranularity && (c.DiscardGran%block != 0 || c.DiscardGran > noGranularity):
		return errors.New("discard_granularity must be a multiple of logical_block_size")
	}
	return nil
}

// discardAlign returns the bytes that the guest is told to align discards to.
func (c *Config) discardAlign() qdev.Size {
	if c.DiscardGran == noGranularity || !c.ReportGran {
		return c.LogicalBlock
	}
	return c.DiscardGran
}

// Offsets in the configuration space (virtio 1.2 §5.2.4).
const (
	confCapacity       = 0
	confSegMax         = 12
	confCylinders      = 16
	confHeads          = 18
	confSectors        = 19
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
)

// space returns the configuration space.
func (d *Device) space() [confSize]byte {
	var b [confSize]byte
	le := binary.LittleEndian
	le.PutUint64(b[confCapacity:], d.capacity.Load())
	segments := uint32(d.cfg.QueueSize) - 2
	if !d.cfg.SegAdjust {
		segments = fixedSegments
	}
	le.PutUint32(b[confSegMax:], segments)
	le.PutUint16(b[confCylinders:], uint16(d.cfg.Cylinders))
	b[confHeads], b[confSectors] = uint8(d.cfg.Heads), d.cfg.sectorsPerTrack(d.capacity.Load())
	le.PutUint32(b[confBlkSize:], uint32(d.cfg.LogicalBlock))
	for n := d.cfg.LogicalBlock; n < d.cfg.PhysicalBlock; n *= 2 {
		b[confPhysExp]++
	}
	le.PutUint16(b[confMinIO:], uint16(d.cfg.MinIO/d.cfg.LogicalBlock))
	le.PutUint32(b[confOptIO:], uint32(d.cfg.OptIO/d.cfg.LogicalBlock))
	if d.writeback.Load() {
		b[confWriteback] = 1
	}
	le.PutUint16(b[confNumQueues:], d.cfg.NumQueues)
	le.PutUint32(b[confMaxDiscard:], d.cfg.MaxDiscard)
	le.PutUint32(b[confMaxDiscardSeg:], 1)
	le.PutUint32(b[confDiscardAlign:], uint32(d.cfg.discardAlign()/sectorSize))
	le.PutUint32(b[confMaxZeroes:], d.cfg.MaxZeroes)
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
	if d.cfg.ConfigWCE && off == confWriteback && len(data) == 1 {
		d.writeback.Store(data[0] != 0)
	}
}
