package kvm

import (
	"sync/atomic"
	"unsafe"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// overlay lays the structures over the run area.
func (v *VCPU) overlay() {
	v.run = (*runArea)(unsafe.Pointer(&v.page[0]))
	v.io = (*IOExit)(unsafe.Pointer(&v.run.exit))
	v.mmio = (*MMIOExit)(unsafe.Pointer(&v.run.exit))
}

// Run runs the guest until it needs something, which ExitReason tells, and
// returns 0; or until a signal or Interrupt, and returns EINTR. It is never
// restarted here. EAGAIN means that the vCPU waited for its first SIPI and was
// woken. The runtime is told of the call, unlike by a raw one: the guest may run
// for hours, and the garbage collector must not wait for it.
func (v *VCPU) Run() unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(v.fd), gokvm.IIO(nrRun), 0)
	return errno
}

// Interrupt makes the next Run, once it has completed the access of the last
// exit, return EINTR at once; with on false it no longer does. It may be called
// from any goroutine, and does not interrupt a Run that is under way: a signal
// to the thread does.
func (v *VCPU) Interrupt(on bool) {
	var c uint32
	if on {
		c = immediateExit
	}
	atomic.StoreUint32(&v.run.control, c)
}

// Interrupted reports whether Interrupt is on.
func (v *VCPU) Interrupted() bool { return atomic.LoadUint32(&v.run.control) != 0 }
