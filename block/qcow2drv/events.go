package qcow2drv

import (
	"hv/block/graph"
	"hv/block/qcow2"
)

// events are the graph's names for the image's events.
var events = [...]graph.Event{
	qcow2.EventL1GrowAllocTable:         graph.EventL1GrowAllocTable,
	qcow2.EventL1GrowWriteTable:         graph.EventL1GrowWriteTable,
	qcow2.EventL1GrowActivateTable:      graph.EventL1GrowActivateTable,
	qcow2.EventL1Update:                 graph.EventL1Update,
	qcow2.EventL1ShrinkWriteTable:       graph.EventL1ShrinkWriteTable,
	qcow2.EventL2Load:                   graph.EventL2Load,
	qcow2.EventL2Update:                 graph.EventL2Update,
	qcow2.EventL2AllocCOWRead:           graph.EventL2AllocCOWRead,
	qcow2.EventL2AllocWrite:             graph.EventL2AllocWrite,
	qcow2.EventReadAIO:                  graph.EventReadAIO,
	qcow2.EventReadBackingAIO:           graph.EventReadBackingAIO,
	qcow2.EventReadCompressed:           graph.EventReadCompressed,
	qcow2.EventWriteAIO:                 graph.EventWriteAIO,
	qcow2.EventWriteCompressed:          graph.EventWriteCompressed,
	qcow2.EventVMStateLoad:              graph.EventVMStateLoad,
	qcow2.EventVMStateSave:              graph.EventVMStateSave,
	qcow2.EventCOWRead:                  graph.EventCOWRead,
	qcow2.EventReftableLoad:             graph.EventReftableLoad,
	qcow2.EventReftableGrow:             graph.EventReftableGrow,
	qcow2.EventRefblockLoad:             graph.EventRefblockLoad,
	qcow2.EventRefblockUpdatePart:       graph.EventRefblockUpdatePart,
	qcow2.EventRefblockAlloc:            graph.EventRefblockAlloc,
	qcow2.EventRefblockAllocHookup:      graph.EventRefblockAllocHookup,
	qcow2.EventRefblockAllocWriteTable:  graph.EventRefblockAllocWriteTable,
	qcow2.EventRefblockAllocSwitchTable: graph.EventRefblockAllocSwitchTable,
	qcow2.EventClusterAlloc:             graph.EventClusterAlloc,
	qcow2.EventClusterAllocBytes:        graph.EventClusterAllocBytes,
	qcow2.EventClusterFree:              graph.EventClusterFree,
}
