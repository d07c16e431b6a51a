package virtioscsi

import (
	"encoding/binary"
	"fmt"

	"hv/devices/scsi"
)

// Config is the adapter's properties.
type Config struct {
	NumQueues   uint32 `prop:"num_queues" default:"4294967295" desc:"number of request queues; one for each vCPU if it is not given"`
	QueueSize   uint32 `prop:"virtqueue_size" default:"256" desc:"descriptors of a queue, a power of two"`
	SegAdjust   bool   `prop:"seg_max_adjust" default:"on" desc:"as many buffers in a request as the queue has room for"`
	MaxSectors  uint32 `prop:"max_sectors" default:"65535" desc:"sectors that a request should have at most"`
	CmdPerLUN   uint32 `prop:"cmd_per_lun" default:"128" desc:"requests that a unit should have at once"`
	Hotplug     bool   `prop:"hotplug" default:"on" desc:"tell of units that come and go"`
	ParamChange bool   `prop:"param_change" default:"on" desc:"tell of changes of units"`
	IOThread    string `prop:"iothread" link:"iothread" desc:"what else uses the units' nodes has to name the same; every unit has a thread of its own"`
}

// automatic is as many queues as there are vCPUs.
const automatic = 1<<32 - 1

// check completes the configuration.
func (c *Config) check(cpus int) error {
	if c.NumQueues == automatic {
		c.NumQueues = uint32(min(cpus, maxQueues))
	}
	switch {
	case c.NumQueues == 0 || c.NumQueues > maxQueues:
		return fmt.Errorf("Invalid number of queues (= %d), must be a positive integer less than %d.", c.NumQueues, maxQueues+1)
	case c.QueueSize <= 2:
		return fmt.Errorf("invalid virtqueue_size property (= %d), must be > 2", c.QueueSize)
	case c.QueueSize > 1024 || c.QueueSize&(c.QueueSize-1) != 0:
		return fmt.Errorf("virtqueue_size must be a power of two up to 1024, not %d", c.QueueSize)
	}
	return nil
}

// maxQueues is how many request queues there can be.
const maxQueues = 1021

// Offsets in the configuration space (virtio 1.2 §5.6.4).
const (
	confNumQueues  = 0
	confSegMax     = 4
	confMaxSectors = 8
	confCmdPerLUN  = 12
	confEventSize  = 16
	confSenseSize  = 20
	confCDBSize    = 24
	confMaxChannel = 28
	confMaxTarget  = 30
	confMaxLUN     = 32
	confSize       = 36

	defaultSense = 96
	defaultCDB   = 32
	maxSense     = 1<<16 - 1
	maxCDB       = 255
)

// ReadConfig reads the configuration space.
func (d *Device) ReadConfig(off uint64, data []byte) {
	var b [confSize]byte
	le := binary.LittleEndian
	segments := uint32(126)
	if d.cfg.SegAdjust {
		segments = d.cfg.QueueSize - 2
	}
	le.PutUint32(b[confNumQueues:], d.cfg.NumQueues)
	le.PutUint32(b[confSegMax:], segments)
	le.PutUint32(b[confMaxSectors:], d.cfg.MaxSectors)
	le.PutUint32(b[confCmdPerLUN:], d.cfg.CmdPerLUN)
	le.PutUint32(b[confEventSize:], eventSize)
	le.PutUint32(b[confSenseSize:], d.senseSize.Load())
	le.PutUint32(b[confCDBSize:], d.cdbSize.Load())
	le.PutUint16(b[confMaxTarget:], scsi.MaxTarget)
	le.PutUint32(b[confMaxLUN:], scsi.MaxLUN)
	clear(data)
	if off < confSize {
		copy(data, b[off:])
	}
}

// WriteConfig lets the driver choose the size of CDBs and of sense data. What it cannot
// have breaks the device.
func (d *Device) WriteConfig(off uint64, data []byte) {
	if len(data) != 4 {
		return
	}
	n := binary.LittleEndian.Uint32(data)
	switch {
	case off == confSenseSize && n <= maxSense:
		d.senseSize.Store(n)
	case off == confCDBSize && n <= maxCDB:
		d.cdbSize.Store(n)
	case off == confSenseSize || off == confCDBSize:
		d.broken(fmt.Errorf("sizes of CDBs or sense data that are too large: %d", n))
	}
}
