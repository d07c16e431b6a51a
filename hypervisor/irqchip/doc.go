// Package irqchip delivers interrupts and rings doorbells with KVM: the
// in-kernel PICs, I/O APIC and timer, lines by KVM_IRQ_LINE, message-signalled
// interrupts by routes and irqfd, doorbells by ioeventfd.
//
// A Chip is safe for concurrent use. Signal and Set may be called from any
// goroutine, do not wait for the guest and allocate nothing; SetMessage waits
// for the kernel to publish the routing table, once for all who ask meanwhile.
//
// Implements hv/devices/irq; PCI 3.0 §6.8.2 (masking) and Intel SDM volume 3
// §11.11 (messages). It depends on hypervisor/kvm and devices/irq.
package irqchip
