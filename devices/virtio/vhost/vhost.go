// Package vhost is what virtio devices hand over to somebody else who serves their rings,
// and the Linux kernel as the one who does: its vhost devices.
//
// A Setup is all that is handed over; it names memory by addresses in this process. Kernel
// is an open vhost device. Its calls take effect before they return, and belong to one
// goroutine at a time.
//
// Follows linux/vhost.h. It depends on nothing of ours, so that devices and the host's
// back ends may share it.
package vhost

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Region is a piece of guest memory.
type Region struct {
	Guest, Size uint64
	User        uint64 // where it is in this process
	// FD is a file of which others can map it, -1 if there is none; Offset is where it
	// begins there.
	FD     int
	Offset uint64
}

// Ring is a virtqueue. Addresses are those of this process.
type Ring struct {
	Size                 uint16
	Desc, Driver, Device uint64
	// Base is the position from which the ring is served. For a split ring it is the index
	// of the next chain.
	Base uint32
	// Kick becomes readable when the driver notifies; Call is written to for an interrupt,
	// -1 when there is nobody to interrupt.
	Kick, Call int
}

// Setup is what is handed over when a driver is ready.
type Setup struct {
	Features uint64 // what the driver accepted
	Memory   []Region
	Rings    []Ring // by index, without holes
	MTU      uint16 // of a network device, 0 if the driver does not ask for one
}

// GuestAddress returns where in guest memory an address of this process is.
func (s *Setup) GuestAddress(user uint64) (uint64, bool) {
	for _, r := range s.Memory {
		if off := user - r.User; user >= r.User && off < r.Size {
			return r.Guest + off, true
		}
	}
	return 0, false
}

// ErrTooMuchMemory is returned for memory in more pieces than can be handed over.
var ErrTooMuchMemory = errors.New("guest memory is in too many pieces")

// Kernel is an open vhost device.
type Kernel struct{ fd int }

// Open opens a vhost device by its path.
func Open(path string) (*Kernel, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return Adopt(fd)
}

// Adopt makes a Kernel of an open descriptor, which it owns then.
func Adopt(fd int) (*Kernel, error) {
	k := &Kernel{fd: fd}
	unix.CloseOnExec(fd)
	if err := k.setOwner(); err != nil {
		return nil, errors.Join(fmt.Errorf("take a vhost device: %w", err), k.Close())
	}
	return k, nil
}

// Close closes the device, which lets go of everything.
func (k *Kernel) Close() error { return unix.Close(k.fd) }

// SetRing hands over ring i, which is not served yet.
func (k *Kernel) SetRing(i int, r Ring) error {
	for _, step := range []struct {
		what string
		err  error
	}{
		{"size", k.setSize(i, uint32(r.Size))}, {"base", k.setBase(i, r.Base)},
		{"addresses", k.setAddresses(i, r.Desc, r.Device, r.Driver)},
		{"kick", k.SetKick(i, r.Kick)}, {"call", k.SetCall(i, r.Call)},
	} {
		if step.err != nil {
			return fmt.Errorf("vhost ring %d: %s: %w", i, step.what, step.err)
		}
	}
	return nil
}
