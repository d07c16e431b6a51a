// Package pci models a PCI Express host bridge, the functions behind it and
// the work that firmware does before an operating system starts.
//
// A device builds a Function (identity, BARs, capabilities, MSI-X), which is
// then attached to a Bus. The Host maps configuration mechanism #1 (ports
// 0xCF8-0xCFF) and the enhanced mechanism (ECAM), finds the function that an
// access is for, and keeps BAR mappings in step with what the guest programs.
// Assign does what firmware would: bus numbers, BARs, bridge windows.
//
// Concurrency. Building a Function and Add... calls are for one goroutine,
// before Attach. Afterwards every method may be called from any goroutine.
// Each Function has its own lock; BAR mapping is serialised over the whole
// Host, and BAR.Mapped callbacks are made under that lock, one at a time: they
// must not write configuration space. Configuration hooks and OnReset
// callbacks run without locks held, on the goroutine that made the access.
//
// Implements PCI Local Bus 3.0 §6 (configuration space, BARs, §6.8 MSI-X),
// PCI-to-PCI Bridge 1.2 §3 (type 1 headers), PCI Express Base 3.0 §7.2 (ECAM),
// §7.8 (capability structure), §6.7 (hot-plug) and §7.10, §7.16 (AER, ACS).
// Where the specifications leave a choice, it is that of QEMU's q35 board. It
// depends on devices/bus and devices/irq.
package pci
