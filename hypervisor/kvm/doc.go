// Package kvm is a thin, typed face of the kernel's KVM interface on x86.
//
// A System is /dev/kvm, a VM one virtual machine, a Slot one piece of its
// memory and a VCPU one of its processors. Structures and the plain set-up
// calls come from github.com/bobuhiro11/gokvm/kvm; what it lacks, gets wrong
// (KVM_SET_IDENTITY_MAP_ADDR, struct kvm_irq_routing_entry, KVM_GET_DIRTY_LOG's
// errors) or must not do (keep a pointer only as a uintptr across a call) is
// here. Every number and size is tested against <linux/kvm.h>.
//
// System and VM are safe for concurrent use. KVM serialises the calls on one
// VCPU; its owner makes them from the thread that runs it, because from any
// other they would wait for the guest to exit.
//
// Implements Documentation/virt/kvm/api.rst of Linux 6.1, for amd64. It depends
// on gokvm's kvm package and golang.org/x/sys/unix.
package kvm
