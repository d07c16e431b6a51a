//qapi:schema

package qapi

// EventVserportChange says that the guest opened or closed a virtio serial port.
var EventVserportChange = Event[VserportChangeEvent]{
	Name:        "VSERPORT_CHANGE",
	RateLimited: true,
	RateKey:     func(d VserportChangeEvent) string { return d.Id },
}

// VserportChangeEvent is the data of VSERPORT_CHANGE.
type VserportChangeEvent struct {
	Id   string `qapi:"id"`   // of the port's device
	Open bool   `qapi:"open"` // by the guest
}
