package graph

// Event is a place that a request passes, where a driver below may have it wait or fail.
// The events are those of QEMU's blkdebug.
type Event uint8

// The events.
const (
	EventL1Update Event = iota
	EventL1GrowAllocTable
	EventL1GrowWriteTable
	EventL1GrowActivateTable
	EventL2Load
	EventL2Update
	EventL2UpdateCompressed
	EventL2AllocCOWRead
	EventL2AllocWrite
	EventReadAIO
	EventReadBackingAIO
	EventReadCompressed
	EventWriteAIO
	EventWriteCompressed
	EventVMStateLoad
	EventVMStateSave
	EventCOWRead
	EventCOWWrite
	EventReftableLoad
	EventReftableGrow
	EventReftableUpdate
	EventRefblockLoad
	EventRefblockUpdate
	EventRefblockUpdatePart
	EventRefblockAlloc
	EventRefblockAllocHookup
	EventRefblockAllocWrite
	EventRefblockAllocWriteBlocks
	EventRefblockAllocWriteTable
	EventRefblockAllocSwitchTable
	EventClusterAlloc
	EventClusterAllocBytes
	EventClusterFree
	EventFlushToOS
	EventFlushToDisk
	EventPwritevRMWHead
	EventPwritevRMWAfterHead
	EventPwritevRMWTail
	EventPwritevRMWAfterTail
	EventPwritev
	EventPwritevZero
	EventPwritevDone
	EventEmptyImagePrepare
	EventL1ShrinkWriteTable
	EventL1ShrinkFreeL2Clusters
	EventCorWrite
	EventClusterAllocSpace
	EventNone
	Events // how many there are
)

// eventNames are the names of the events.
var eventNames = [Events]string{
	EventL1Update:                 "l1_update",
	EventL1GrowAllocTable:         "l1_grow_alloc_table",
	EventL1GrowWriteTable:         "l1_grow_write_table",
	EventL1GrowActivateTable:      "l1_grow_activate_table",
	EventL2Load:                   "l2_load",
	EventL2Update:                 "l2_update",
	EventL2UpdateCompressed:       "l2_update_compressed",
	EventL2AllocCOWRead:           "l2_alloc_cow_read",
	EventL2AllocWrite:             "l2_alloc_write",
	EventReadAIO:                  "read_aio",
	EventReadBackingAIO:           "read_backing_aio",
	EventReadCompressed:           "read_compressed",
	EventWriteAIO:                 "write_aio",
	EventWriteCompressed:          "write_compressed",
	EventVMStateLoad:              "vmstate_load",
	EventVMStateSave:              "vmstate_save",
	EventCOWRead:                  "cow_read",
	EventCOWWrite:                 "cow_write",
	EventReftableLoad:             "reftable_load",
	EventReftableGrow:             "reftable_grow",
	EventReftableUpdate:           "reftable_update",
	EventRefblockLoad:             "refblock_load",
	EventRefblockUpdate:           "refblock_update",
	EventRefblockUpdatePart:       "refblock_update_part",
	EventRefblockAlloc:            "refblock_alloc",
	EventRefblockAllocHookup:      "refblock_alloc_hookup",
	EventRefblockAllocWrite:       "refblock_alloc_write",
	EventRefblockAllocWriteBlocks: "refblock_alloc_write_blocks",
	EventRefblockAllocWriteTable:  "refblock_alloc_write_table",
	EventRefblockAllocSwitchTable: "refblock_alloc_switch_table",
	EventClusterAlloc:             "cluster_alloc",
	EventClusterAllocBytes:        "cluster_alloc_bytes",
	EventClusterFree:              "cluster_free",
	EventFlushToOS:                "flush_to_os",
	EventFlushToDisk:              "flush_to_disk",
	EventPwritevRMWHead:           "pwritev_rmw_head",
	EventPwritevRMWAfterHead:      "pwritev_rmw_after_head",
	EventPwritevRMWTail:           "pwritev_rmw_tail",
	EventPwritevRMWAfterTail:      "pwritev_rmw_after_tail",
	EventPwritev:                  "pwritev",
	EventPwritevZero:              "pwritev_zero",
	EventPwritevDone:              "pwritev_done",
	EventEmptyImagePrepare:        "empty_image_prepare",
	EventL1ShrinkWriteTable:       "l1_shrink_write_table",
	EventL1ShrinkFreeL2Clusters:   "l1_shrink_free_l2_clusters",
	EventCorWrite:                 "cor_write",
	EventClusterAllocSpace:        "cluster_alloc_space",
	EventNone:                     "none",
}

func (e Event) String() string { return eventNames[e] }

// ParseEvent returns the event with a name.
func ParseEvent(name string) (Event, bool) {
	for e, n := range eventNames {
		if n == name {
			return Event(e), true
		}
	}
	return 0, false
}

// Eventer is a driver that wants to know what requests of its node, and of nodes that keep
// their data in it, come to. A request goes on when Event returns.
type Eventer interface{ Event(e Event) }

// Event tells a child that a request of its parent has come to a place.
func (c *Child) Event(e Event) { c.node.raise(e) }

// Listens tells whether the child hears events.
func (c *Child) Listens() bool { return c.node.events != nil }

func (n *Node) raise(e Event) {
	if n.events != nil {
		n.events.Event(e)
	}
}

// primary returns the child that has what the node shows, nil if there is none.
func (n *Node) primary() *Child {
	for _, c := range n.children {
		if c.role == Filtered || c.name == "file" {
			return c
		}
	}
	return nil
}

// Debugger is a driver that holds requests up.
type Debugger interface {
	// Break has the next request that comes to an event wait; tag is its name then.
	Break(e Event, tag string)
	// RemoveBreak takes back what Break did, and lets requests with that name go on. It
	// returns false if there is neither.
	RemoveBreak(tag string) bool
	// Resume lets a request go on; false if none with that name waits.
	Resume(tag string) bool
	// Suspended returns a channel that is closed once a request with that name waits.
	Suspended(tag string) <-chan struct{}
}

// Debugger returns what can hold requests to the node up, nil if nothing can.
func (n *Node) Debugger() Debugger {
	for {
		if d, ok := n.driver.(Debugger); ok {
			return d
		}
		c := n.primary()
		if c == nil {
			return nil
		}
		n = c.node
	}
}
