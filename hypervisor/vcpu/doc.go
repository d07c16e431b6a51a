// Package vcpu runs virtual processors.
//
// A VCPU is an actor on a locked thread of its own. It starts paused; Resume
// lets it run the guest, and its port and memory accesses go to the handlers of
// Spaces, on that thread. RequestPause, Resume and Do may be called from any
// goroutine; those that wait (WaitPaused, Do, Reset, Close) not from the vCPU's
// own thread. To interrupt the guest, immediate_exit is set first and SIGUSR1
// sent to the thread then, so that neither a request that comes just before
// KVM_RUN nor one during it is lost. Go's runtime catches the signal and does
// nothing; a program that uses this package must not ignore it.
//
// A vCPU that met its end (triple fault, a system event, an error) says so to
// its Sink and stands still until it is Reset, whatever Resume asks.
//
// Group pauses and resumes all vCPUs of a VM, and its clock with them.
//
// Implements the reset state of Intel SDM volume 3 §10.1.1 and AMD APM volume 2
// §14.1.3, and the entry states of the Linux/x86 boot protocol (64-bit) and of
// Xen's PVH. It depends on hypervisor/kvm, hypervisor/mem, devices/bus and devices/turn.
package vcpu
