package scsi

import (
	"fmt"

	"hv/devices/qdev"
)

// Address is where a unit is on a bus.
type Address struct {
	Channel uint32 `prop:"channel" default:"0" desc:"channel of the bus"`
	Target  uint32 `prop:"scsi-id" default:"4294967295" desc:"target; the first free one if it is not given"`
	LUN     uint32 `prop:"lun" default:"4294967295" desc:"logical unit of the target; the first free one if it is not given"`
}

// anywhere is a target or a unit of the bus's choice.
const anywhere = 1<<32 - 1

// Config is the properties that disks and CD drives have.
type Config struct {
	Address
	Drive              string         `prop:"drive" desc:"node name or ID of a block device to use as a backend"`
	LogicalBlock       qdev.Size      `prop:"logical_block_size" default:"0" desc:"bytes of a block; 0 is 512"`
	PhysicalBlock      qdev.Size      `prop:"physical_block_size" default:"0" desc:"bytes that are written at once; 0 is the logical block size"`
	MinIO              qdev.Size      `prop:"min_io_size" default:"0" desc:"bytes that requests should have at least"`
	OptIO              qdev.Size      `prop:"opt_io_size" default:"0" desc:"bytes that requests should have"`
	DiscardGranularity qdev.Size      `prop:"discard_granularity" default:"4294967295" desc:"bytes that are discarded at once; 0 is no discards"`
	WriteCache         qdev.OnOffAuto `prop:"write-cache" default:"auto" desc:"on: writes are durable after a flush; off: when they complete"`
	ReadError          qdev.OnError   `prop:"rerror" default:"auto" desc:"what becomes of reads that fail: report, ignore, enospc, stop, auto"`
	WriteError         qdev.OnError   `prop:"werror" default:"auto" desc:"what becomes of writes that fail: report, ignore, enospc, stop, auto"`
	AccountInvalid     qdev.OnOffAuto `prop:"account-invalid" default:"auto" desc:"requests that cannot be carried out end the time of idleness"`
	AccountFailed      qdev.OnOffAuto `prop:"account-failed" default:"auto" desc:"requests that fail count for times"`
	ShareRW            bool           `prop:"share-rw" default:"off" desc:"others may write to the image too"`
	Version            string         `prop:"ver" default:"2.5+" desc:"product revision, up to 4 characters"`
	Serial             string         `prop:"serial" desc:"serial number, up to 36 characters"`
	Vendor             string         `prop:"vendor" default:"QEMU" desc:"vendor, up to 8 characters"`
	Product            string         `prop:"product" desc:"product, up to 16 characters"`
	DeviceID           string         `prop:"device_id" desc:"name of the unit; its serial number or drive if it is not given"`
	WWN                uint64         `prop:"wwn" default:"0" desc:"world wide name of the unit"`
	PortWWN            uint64         `prop:"port_wwn" default:"0" desc:"world wide name of the port"`
	PortIndex          uint16         `prop:"port_index" default:"0" desc:"number of the port"`
	MaxIO              uint64         `prop:"max_io_size" default:"2147483647" desc:"bytes that a request can have"`
	BootIndex          int32          `prop:"bootindex" default:"-1" desc:"accepted; kernels are started directly"`
	SCSIVersion        int32          `prop:"scsi_version" default:"5" desc:"version of the primary commands: 5 is SPC-3"`
}

// DiskConfig is the properties of a disk.
type DiskConfig struct {
	Config
	Removable bool   `prop:"removable" default:"off" desc:"say that the medium can be exchanged"`
	DPOFUA    bool   `prop:"dpofua" default:"off" desc:"say that writes can be made durable one by one"`
	MaxUnmap  uint64 `prop:"max_unmap_size" default:"1073741824" desc:"bytes that a discard can have"`
	Rotation  uint16 `prop:"rotation_rate" default:"0" desc:"revolutions a minute; 1 is none, 0 does not say"`
}

// CDConfig is the properties of a CD drive.
type CDConfig struct{ Config }

// cdBlock is the size of a CD's blocks.
const cdBlock = 2048

// maxBlock bounds the size of blocks: two bytes have room for it in mode pages.
const maxBlock = 32 << 10

// complete gives what was not set its value, and checks the rest.
func (c *Config) complete() error {
	c.LogicalBlock = cmpOr(c.LogicalBlock, 512)
	c.PhysicalBlock = cmpOr(c.PhysicalBlock, c.LogicalBlock)
	for _, b := range []qdev.Size{c.LogicalBlock, c.PhysicalBlock} {
		if b < 512 || b > maxBlock || b&(b-1) != 0 {
			return fmt.Errorf("block size %d is no power of two from 512 to %d", b, maxBlock)
		}
	}
	if c.LogicalBlock > c.PhysicalBlock {
		return fmt.Errorf("logical_block_size > physical_block_size not supported")
	}
	if c.MinIO%c.LogicalBlock != 0 {
		return fmt.Errorf("min_io_size must be a multiple of logical_block_size")
	}
	if c.OptIO%c.LogicalBlock != 0 {
		return fmt.Errorf("opt_io_size must be a multiple of logical_block_size")
	}
	if d := c.DiscardGranularity; d != defaultGranularity && d%c.LogicalBlock != 0 {
		return fmt.Errorf("discard_granularity must be a multiple of logical_block_size")
	} else if d == defaultGranularity {
		c.DiscardGranularity = max(c.LogicalBlock, 4096)
	}
	for _, s := range []struct {
		name, value string
		most        int
	}{{"ver", c.Version, 4}, {"serial", c.Serial, 36}, {"vendor", c.Vendor, 8}, {"product", c.Product, 16}, {"device_id", c.DeviceID, 247}} {
		if len(s.value) > s.most {
			return fmt.Errorf("%s '%s' is longer than %d characters", s.name, s.value, s.most)
		}
	}
	if c.SCSIVersion < 0 || c.SCSIVersion > 7 {
		return fmt.Errorf("scsi_version must be from 0 to 7, not %d", c.SCSIVersion)
	}
	return nil
}

const defaultGranularity = 1<<32 - 1

func cmpOr(a, b qdev.Size) qdev.Size {
	if a != 0 {
		return a
	}
	return b
}
