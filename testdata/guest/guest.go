// Package guest carries the guest program: a small freestanding kernel that
// boots by PVH and does what its command line says (README.md lists the
// commands). hv boots it when it is given no kernel; the tests and benchmarks
// drive devices with it.
//
// The program is C and assembly; `make -C testdata/guest` rebuilds guest.elf,
// and a test compares what is committed with its sources. The package depends
// on nothing.
package guest

import _ "embed"

// ELF is the program, a static x86-64 ELF file of less than 64 KiB with a PVH
// entry. It must not be changed.
//
//go:embed guest.elf
var ELF []byte
