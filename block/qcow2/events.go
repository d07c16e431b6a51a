package qcow2

// Event is a place that requests come to, for those who test what happens when storage
// fails there. They are QEMU's.
type Event uint8

// The events.
const (
	EventL1GrowAllocTable Event = iota
	EventL1GrowWriteTable
	EventL1GrowActivateTable
	EventL1Update // entries of the L1 table are written
	EventL1ShrinkWriteTable
	EventL2Load         // a part of an L2 table is read
	EventL2Update       // one is written
	EventL2AllocCOWRead // an L2 table is copied
	EventL2AllocWrite   // a new L2 table is written
	EventReadAIO        // data is read
	EventReadBackingAIO
	EventReadCompressed
	EventWriteAIO // data is written
	EventWriteCompressed
	EventVMStateLoad
	EventVMStateSave
	EventCOWRead // what lies around new data is read
	EventReftableLoad
	EventReftableGrow
	EventRefblockLoad       // a refcount block is read
	EventRefblockUpdatePart // one is written
	EventRefblockAlloc
	EventRefblockAllocHookup // new ones are entered in their table
	EventRefblockAllocWriteTable
	EventRefblockAllocSwitchTable
	EventClusterAlloc // clusters are taken
	EventClusterAllocBytes
	EventClusterFree // clusters are given up
)

// event tells of an event. Those about metadata come with the image locked.
func (im *Image) event(e Event) {
	if im.opt.Event != nil {
		im.opt.Event(e)
	}
}
