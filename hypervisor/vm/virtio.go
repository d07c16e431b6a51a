package vm

import "hv/devices/qdev"

// balloon is what the balloon commands need of a device.
type balloon interface {
	Actual() uint64
	SetTarget(bytes uint64)
}

func virtioDrivers() []*qdev.Driver { return nil }
