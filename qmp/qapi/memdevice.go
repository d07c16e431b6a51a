//qapi:schema

package qapi

// EventMemoryDeviceSizeChange says that the guest plugged or unplugged memory of a device.
var EventMemoryDeviceSizeChange = Event[MemoryDeviceSizeChangeEvent]{
	Name:        "MEMORY_DEVICE_SIZE_CHANGE",
	RateLimited: true,
	RateKey:     func(d MemoryDeviceSizeChangeEvent) string { return d.QomPath },
}

// MemoryDeviceSizeChangeEvent is the data of MEMORY_DEVICE_SIZE_CHANGE.
type MemoryDeviceSizeChangeEvent struct {
	Id      *string `qapi:"id"`       // of the device
	Size    uint64  `qapi:"size"`     // bytes that are plugged now
	QomPath string  `qapi:"qom-path"` // of the device
}
