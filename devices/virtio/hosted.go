package virtio

// Hosted is a Device whose queues the host's kernel may serve.
type Hosted interface {
	// Host returns what the kernel was given, nil while it serves nothing.
	Host() *HostState
}

// HostState is what the kernel was given of a device.
type HostState struct {
	Features, Accepted uint64
	Regions            int // pieces of guest memory
	Queues             []HostQueue
}

// HostQueue is a queue that the kernel serves. Its parts are in the order of descriptor,
// driver and device area.
type HostQueue struct {
	Kick, Call int // event descriptors
	Num        int
	Addr       [3]uint64 // in this process
	Guest      [3]uint64 // guest-physical
	Size       [3]uint32
	// Base is the index of the chain that the kernel takes next.
	Base uint16
}
