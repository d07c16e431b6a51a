package virtionet

// Direction is where a packet goes.
type Direction int

// Directions.
const (
	ToGuest Direction = iota
	FromGuest
)

// Observer sees packets on their way. Packet is called by the worker of each queue, so several at a
// time, and the packet waits for it. The pieces, in which n bytes are the packet with
// its header of 12 bytes, are the guest's memory and good only during the call.
type Observer interface {
	Packet(dir Direction, queue int, pieces [][]byte, n int)
}

// Observe shows every packet to an observer from now on; nil is nobody. It may be told of one
// more packet after it was replaced.
func (d *Device) Observe(o Observer) {
	if o == nil {
		d.observer.Store(nil)
		return
	}
	d.observer.Store(&o)
}
