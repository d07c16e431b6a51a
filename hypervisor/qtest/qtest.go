// Package qtest is QEMU's qtest protocol, by which a test drives a machine in place of
// its processors: accesses to ports and memory, the machine's clock, and interrupts as
// messages. It is line based; every command has one answer, before which messages of
// interrupts may come.
//
// A Server serves one connection at a time. Commands run one after the other where
// Machine.Do has them run; answers and messages go through one queue, in the order in
// which they were made, so that what raises an interrupt never waits for the client. A
// client that does not read gets no more commands run, and loses its connection when
// too much waits for it.
//
// Follows the description at the top of QEMU's softmmu/qtest.c. Where QEMU ends with an
// assertion, on malformed commands, this answers FAIL. It depends on nothing of ours.
package qtest

import (
	"errors"
	"time"
)

// Space is an address space of devices. Values are little-endian.
type Space interface {
	Read(addr uint64, data []byte) bool
	Write(addr uint64, data []byte) bool
}

// RAM is guest memory; an error says that there is none at the address.
type RAM interface {
	ReadAt(p []byte, addr uint64) error
	WriteAt(p []byte, addr uint64) error
}

// Clock is the machine's time, which the client moves.
type Clock interface {
	Elapsed() time.Duration
	// Deadline returns when the next timer is due.
	Deadline() (time.Duration, bool)
	// Advance moves the time and runs what is due on the way.
	Advance(to time.Duration)
}

// Interrupts is the machine's interrupt inputs and outputs, by the path of the device
// that has them.
type Interrupts interface {
	// Watch has tap called for every change of an input (or output) of the device. tap
	// does not block. cancel ends that. It fails for a device without any.
	Watch(path string, out bool, tap func(n int, level bool)) (cancel func(), err error)
	// Set drives an input of the device, by the name of a list of inputs, "" for the
	// one without name.
	Set(path, list string, n int, level bool) error
}

// ErrUnknownDevice is returned by Interrupts for a path that names nothing.
var ErrUnknownDevice = errors.New("Unknown device")

// Machine is what is driven.
type Machine struct {
	Ports, MMIO Space
	RAM         RAM // nil for none
	// Clock is nil when time goes by itself: the commands for it are unknown then.
	Clock Clock
	IRQ   Interrupts
	// Do runs a command, and returns when that is done or cannot be any more.
	Do func(command func()) error
}

// Limits on what a client may ask for.
const (
	maxTransfer = 8 << 20 // bytes of one command
	maxLine     = 2*maxTransfer + 128
	maxQueue    = 1 << 20 // bytes of messages that wait for the client, beside one answer
	maxIRQs     = 256
)
