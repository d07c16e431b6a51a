package irqchip

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// errNotMSI says that a message goes to no interrupt controller. The guest chose
// it; real hardware would write to whatever is at the address.
var errNotMSI = errors.New("message address is not that of a local APIC")

// vector is a message-signalled interrupt: an eventfd that KVM listens to while
// the vector is unmasked. While it does not, what is written stays in the
// eventfd, and KVM finds it there when it listens again.
type vector struct {
	chip *Chip
	gsi  uint32

	mu        sync.Mutex // orders SetMessage and Close
	listening bool

	life sync.RWMutex // Signal and Pending against Close
	fd   int          // -1 once closed
}

func newVector(c *Chip, gsi uint32) (*vector, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create an eventfd: %w", err)
	}
	return &vector{chip: c, gsi: gsi, fd: fd}, nil
}

// SetMessage routes the vector to a message or masks it. A message that cannot
// be delivered is an error and masks the vector; other vectors are unharmed.
func (v *vector) SetMessage(addr uint64, data uint32, masked bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fd < 0 {
		return fmt.Errorf("interrupt %d: %w", v.gsi, unix.EBADF)
	}
	if masked {
		return v.listen(false)
	}
	addr, err := destination(addr)
	if err != nil {
		return errors.Join(fmt.Errorf("interrupt %d: %w", v.gsi, err), v.listen(false))
	}
	if err := v.chip.routes.route(v.gsi, addr, data); err != nil {
		return err
	}
	return v.listen(true)
}

// listen makes KVM raise the interrupt when the eventfd is written to, or not.
func (v *vector) listen(on bool) error {
	if v.listening == on {
		return nil
	}
	change := v.chip.vm.DeassignIRQFD
	if on {
		change = func(gsi uint32, fd int) error { return v.chip.vm.AssignIRQFD(gsi, fd, -1) }
	}
	if err := change(v.gsi, v.fd); err != nil {
		return err
	}
	v.listening = on
	if on {
		v.drain()
	}
	return nil
}

// drain empties the eventfd after KVM has begun to listen. What it found there
// it raised, but left; what comes later it takes as it comes, so that nothing is
// lost here.
func (v *vector) drain() {
	var count [8]byte
	_, _ = unix.Read(v.fd, count[:]) // EAGAIN: it was empty
}

// Addresses of message-signalled interrupts (Intel SDM volume 3 §11.11.1).
const (
	msiWindow     = 0xfee0_0000
	msiWindowMask = 0xfff0_0000
	extendedIDs   = 0xff << 4 // destination ID bits 14:8 and the remapping bit
	remappable    = 1 << 4
	extendedShift = 35 // from bit 5 to bit 40, where KVM has ID bits 31:8
)

// destination returns the address as KVM wants it: with destination IDs above
// 255 (KVM_FEATURE_MSI_EXT_DEST_ID) in the upper half.
func destination(addr uint64) (uint64, error) {
	if addr>>32 != 0 || addr&msiWindowMask != msiWindow {
		return 0, fmt.Errorf("%#x: %w", addr, errNotMSI)
	}
	ext := addr & extendedIDs
	if ext&remappable != 0 {
		return addr, nil
	}
	return addr&^extendedIDs | ext<<extendedShift, nil
}

// Signal raises the interrupt, or makes it pending while masked.
func (v *vector) Signal() {
	v.life.RLock()
	if v.fd >= 0 {
		one := [8]byte{1}
		// It fails only when the count is at its end: then one is pending.
		_, _ = unix.Write(v.fd, one[:])
	}
	v.life.RUnlock()
}

// Pending reports whether an interrupt waits behind the mask.
func (v *vector) Pending() bool {
	v.life.RLock()
	defer v.life.RUnlock()
	p := [1]unix.PollFd{{Fd: int32(v.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n == 1 && p[0].Revents&unix.POLLIN != 0
}

// FD returns the eventfd that raises the interrupt, -1 once closed.
func (v *vector) FD() int {
	v.life.RLock()
	defer v.life.RUnlock()
	return v.fd
}

// Close releases the route and the eventfd. Closing twice is harmless.
func (v *vector) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fd < 0 {
		return nil
	}
	err := v.listen(false)
	v.life.Lock()
	defer v.life.Unlock()
	err = errors.Join(err, unix.Close(v.fd))
	v.fd = -1
	v.chip.routes.release(v.gsi)
	return err
}
