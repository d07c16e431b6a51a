//qapi:schema

package qapi

// CmdInjectNmi sends a non-maskable interrupt to all vCPUs that take one.
var CmdInjectNmi = Command[Empty, Empty]{Name: "inject-nmi"}

// CmdRtcResetReinjection forgets the clock interrupts that a guest missed.
var CmdRtcResetReinjection = Command[Empty, Empty]{Name: "rtc-reset-reinjection"}

// HumanReadableText is an answer for people, not for programs.
type HumanReadableText struct {
	HumanReadableText string `qapi:"human-readable-text"`
}

// CmdXQueryIrq returns counts of interrupts.
//
//qapi:features unstable
var CmdXQueryIrq = Command[Empty, HumanReadableText]{Name: "x-query-irq"}

// CmdXQueryNuma returns the NUMA nodes.
//
//qapi:features unstable
var CmdXQueryNuma = Command[Empty, HumanReadableText]{Name: "x-query-numa"}

// CmdXQueryRamblock returns the blocks of RAM.
//
//qapi:features unstable
var CmdXQueryRamblock = Command[Empty, HumanReadableText]{Name: "x-query-ramblock"}
