//qapi:schema

package qapi

// BlockLatencyHistogramInfo is how many requests took how long.
type BlockLatencyHistogramInfo struct {
	Boundaries Uint64List `qapi:"boundaries"` // nanoseconds at which bins begin, but for the first
	Bins       Uint64List `qapi:"bins"`       // requests of each
}

// CmdBlockLatencyHistogramSet has requests of a disk counted by how long they take; without
// boundaries no longer.
var CmdBlockLatencyHistogramSet = Command[BlockLatencyHistogramSetArgs, Empty]{Name: "block-latency-histogram-set", Preconfig: true}

// BlockLatencyHistogramSetArgs is the arguments of block-latency-histogram-set. Boundaries
// are nanoseconds, and ascend.
type BlockLatencyHistogramSetArgs struct {
	Id              string      `qapi:"id"`         // of a device
	Boundaries      *Uint64List `qapi:"boundaries"` // for all kinds
	BoundariesRead  *Uint64List `qapi:"boundaries-read"`
	BoundariesWrite *Uint64List `qapi:"boundaries-write"`
	BoundariesFlush *Uint64List `qapi:"boundaries-flush"`
}

// CmdBlockSetWriteThreshold has the first write beyond an offset of a node told of.
var CmdBlockSetWriteThreshold = Command[BlockSetWriteThresholdArgs, Empty]{Name: "block-set-write-threshold", Preconfig: true}

// BlockSetWriteThresholdArgs is the arguments of block-set-write-threshold.
type BlockSetWriteThresholdArgs struct {
	NodeName       string `qapi:"node-name"`
	WriteThreshold uint64 `qapi:"write-threshold"` // bytes, 0 for none
}

// EventBlockWriteThreshold tells that a node was written to beyond its threshold, which it
// has no more.
var EventBlockWriteThreshold = Event[BlockWriteThresholdEvent]{Name: "BLOCK_WRITE_THRESHOLD"}

// BlockWriteThresholdEvent is the data of BLOCK_WRITE_THRESHOLD.
type BlockWriteThresholdEvent struct {
	NodeName       string `qapi:"node-name"`
	AmountExceeded uint64 `qapi:"amount-exceeded"` // bytes beyond it
	WriteThreshold uint64 `qapi:"write-threshold"`
}
