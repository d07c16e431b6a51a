//qapi:schema

package qapi

// BlkdebugEvent is a place in the block layer that requests pass.
type BlkdebugEvent string

// The places, which are those that QEMU names.
const (
	BlkdebugEventL1Update                 BlkdebugEvent = "l1_update"
	BlkdebugEventL1GrowAllocTable         BlkdebugEvent = "l1_grow_alloc_table"
	BlkdebugEventL1GrowWriteTable         BlkdebugEvent = "l1_grow_write_table"
	BlkdebugEventL1GrowActivateTable      BlkdebugEvent = "l1_grow_activate_table"
	BlkdebugEventL2Load                   BlkdebugEvent = "l2_load"
	BlkdebugEventL2Update                 BlkdebugEvent = "l2_update"
	BlkdebugEventL2UpdateCompressed       BlkdebugEvent = "l2_update_compressed"
	BlkdebugEventL2AllocCowRead           BlkdebugEvent = "l2_alloc_cow_read"
	BlkdebugEventL2AllocWrite             BlkdebugEvent = "l2_alloc_write"
	BlkdebugEventReadAio                  BlkdebugEvent = "read_aio" //data is read
	BlkdebugEventReadBackingAio           BlkdebugEvent = "read_backing_aio"
	BlkdebugEventReadCompressed           BlkdebugEvent = "read_compressed"
	BlkdebugEventWriteAio                 BlkdebugEvent = "write_aio" //data is written
	BlkdebugEventWriteCompressed          BlkdebugEvent = "write_compressed"
	BlkdebugEventVmstateLoad              BlkdebugEvent = "vmstate_load"
	BlkdebugEventVmstateSave              BlkdebugEvent = "vmstate_save"
	BlkdebugEventCowRead                  BlkdebugEvent = "cow_read"
	BlkdebugEventCowWrite                 BlkdebugEvent = "cow_write"
	BlkdebugEventReftableLoad             BlkdebugEvent = "reftable_load"
	BlkdebugEventReftableGrow             BlkdebugEvent = "reftable_grow"
	BlkdebugEventReftableUpdate           BlkdebugEvent = "reftable_update"
	BlkdebugEventRefblockLoad             BlkdebugEvent = "refblock_load"
	BlkdebugEventRefblockUpdate           BlkdebugEvent = "refblock_update"
	BlkdebugEventRefblockUpdatePart       BlkdebugEvent = "refblock_update_part"
	BlkdebugEventRefblockAlloc            BlkdebugEvent = "refblock_alloc"
	BlkdebugEventRefblockAllocHookup      BlkdebugEvent = "refblock_alloc_hookup"
	BlkdebugEventRefblockAllocWrite       BlkdebugEvent = "refblock_alloc_write"
	BlkdebugEventRefblockAllocWriteBlocks BlkdebugEvent = "refblock_alloc_write_blocks"
	BlkdebugEventRefblockAllocWriteTable  BlkdebugEvent = "refblock_alloc_write_table"
	BlkdebugEventRefblockAllocSwitchTable BlkdebugEvent = "refblock_alloc_switch_table"
	BlkdebugEventClusterAlloc             BlkdebugEvent = "cluster_alloc"
	BlkdebugEventClusterAllocBytes        BlkdebugEvent = "cluster_alloc_bytes"
	BlkdebugEventClusterFree              BlkdebugEvent = "cluster_free"
	BlkdebugEventFlushToOs                BlkdebugEvent = "flush_to_os"            //what is kept back is written
	BlkdebugEventFlushToDisk              BlkdebugEvent = "flush_to_disk"          //what was written becomes durable
	BlkdebugEventPwritevRmwHead           BlkdebugEvent = "pwritev_rmw_head"       //the head of a write that is not aligned is read
	BlkdebugEventPwritevRmwAfterHead      BlkdebugEvent = "pwritev_rmw_after_head" //it was read
	BlkdebugEventPwritevRmwTail           BlkdebugEvent = "pwritev_rmw_tail"       //the tail is read
	BlkdebugEventPwritevRmwAfterTail      BlkdebugEvent = "pwritev_rmw_after_tail" //it was read
	BlkdebugEventPwritev                  BlkdebugEvent = "pwritev"                //a write begins
	BlkdebugEventPwritevZero              BlkdebugEvent = "pwritev_zero"           //zeroes are written
	BlkdebugEventPwritevDone              BlkdebugEvent = "pwritev_done"           //a write has ended
	BlkdebugEventEmptyImagePrepare        BlkdebugEvent = "empty_image_prepare"
	BlkdebugEventL1ShrinkWriteTable       BlkdebugEvent = "l1_shrink_write_table"
	BlkdebugEventL1ShrinkFreeL2Clusters   BlkdebugEvent = "l1_shrink_free_l2_clusters"
	BlkdebugEventCorWrite                 BlkdebugEvent = "cor_write" //a write of copy-on-read
	BlkdebugEventClusterAllocSpace        BlkdebugEvent = "cluster_alloc_space"
	BlkdebugEventNone                     BlkdebugEvent = "none" //once, when the node is made
)

// BlkdebugIOType is a kind of requests.
type BlkdebugIOType string

// The kinds.
const (
	BlkdebugIOTypeRead        BlkdebugIOType = "read"
	BlkdebugIOTypeWrite       BlkdebugIOType = "write"
	BlkdebugIOTypeWriteZeroes BlkdebugIOType = "write-zeroes"
	BlkdebugIOTypeDiscard     BlkdebugIOType = "discard"
	BlkdebugIOTypeFlush       BlkdebugIOType = "flush"
	BlkdebugIOTypeBlockStatus BlkdebugIOType = "block-status"
)

// BlkdebugInjectErrorOptions is a rule that has requests fail.
type BlkdebugInjectErrorOptions struct {
	Event       BlkdebugEvent   `qapi:"event"`       // what puts the rule into force
	State       *int64          `qapi:"state"`       // in which state; any by default
	Iotype      *BlkdebugIOType `qapi:"iotype"`      // which requests; all but block-status by default
	Errno       *int64          `qapi:"errno"`       // EIO by default
	Sector      *int64          `qapi:"sector"`      // only requests that touch it
	Once        *bool           `qapi:"once"`        // fail one request only
	Immediately *bool           `qapi:"immediately"` // fail it before others get their turn
}

// BlkdebugInjectErrorOptionsList is a list of rules.
type BlkdebugInjectErrorOptionsList []BlkdebugInjectErrorOptions

// BlkdebugSetStateOptions is a rule that changes the state.
type BlkdebugSetStateOptions struct {
	Event    BlkdebugEvent `qapi:"event"`
	State    *int64        `qapi:"state"` // in which state; any by default
	NewState int64         `qapi:"new_state"`
}

// BlkdebugSetStateOptionsList is a list of rules.
type BlkdebugSetStateOptionsList []BlkdebugSetStateOptions

// BlockPermission is what a user of a node may do with it.
type BlockPermission string

// The permissions.
const (
	BlockPermissionConsistentRead BlockPermission = "consistent-read" // read what makes sense
	BlockPermissionWrite          BlockPermission = "write"
	BlockPermissionWriteUnchanged BlockPermission = "write-unchanged" // write what does not change what is read
	BlockPermissionResize         BlockPermission = "resize"
)

// BlockPermissionList is a list of permissions.
type BlockPermissionList []BlockPermission

// BlockdevOptionsBlkdebug is the options of a node that fails as it is told to. Sizes are in
// bytes; 0 is for what there is without them.
type BlockdevOptionsBlkdebug struct {
	Image             BlockdevRef                    `qapi:"image"`
	Config            *string                        `qapi:"config"`         // a file with rules
	Align             *int64                         `qapi:"align"`          // of requests, a power of two
	MaxTransfer       *int32                         `qapi:"max-transfer"`   // largest request
	OptWriteZero      *int32                         `qapi:"opt-write-zero"` // alignment of zeroes
	MaxWriteZero      *int32                         `qapi:"max-write-zero"`
	OptDiscard        *int32                         `qapi:"opt-discard"` // alignment of discards
	MaxDiscard        *int32                         `qapi:"max-discard"`
	InjectError       BlkdebugInjectErrorOptionsList `qapi:"inject-error,optional"`
	SetState          BlkdebugSetStateOptionsList    `qapi:"set-state,optional"`
	TakeChildPerms    BlockPermissionList            `qapi:"take-child-perms,optional"`    // more than users of the node want
	UnshareChildPerms BlockPermissionList            `qapi:"unshare-child-perms,optional"` // less than users of the node share
}

// BlockdevOptionsBlkverify is the options of a node that compares two others.
type BlockdevOptionsBlkverify struct {
	Test BlockdevRef `qapi:"test"`
	Raw  BlockdevRef `qapi:"raw"` // what is right
}

// BlockdevOptionsBlklogwrites is the options of a node that notes all writes.
type BlockdevOptionsBlklogwrites struct {
	File                   BlockdevRef `qapi:"file"`
	Log                    BlockdevRef `qapi:"log"`                       // where they are noted
	LogSectorSize          *uint32     `qapi:"log-sector-size"`           // bytes, 512 by default
	LogAppend              *bool       `qapi:"log-append"`                // go on with a log that is there
	LogSuperUpdateInterval *uint64     `qapi:"log-super-update-interval"` // after how many writes its head is written, 4096 by default
}
