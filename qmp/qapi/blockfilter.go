//qapi:schema

package qapi

// BlockdevOptionsCor is the options of a node that copies what is read from backing nodes.
type BlockdevOptionsCor struct {
	File   BlockdevRef `qapi:"file"`
	Bottom *string     `qapi:"bottom"` // the last node of the chain that is copied from
}

// BlockdevOptionsPreallocate is the options of a node that makes a file longer ahead of
// writes.
type BlockdevOptionsPreallocate struct {
	File          BlockdevRef `qapi:"file"`
	PreallocAlign *int64      `qapi:"prealloc-align"` // what lengths are multiples of, 1 MiB by default
	PreallocSize  *int64      `qapi:"prealloc-size"`  // bytes beyond a write, 128 MiB by default
}

// OnCbwError is what becomes of a write if what it overwrites cannot be copied.
type OnCbwError string

// What may be done.
const (
	OnCbwErrorBreakGuestWrite OnCbwError = "break-guest-write" // it fails
	OnCbwErrorBreakSnapshot   OnCbwError = "break-snapshot"    // it is done, and what was can be read no more
)

// BlockdevOptionsCbw is the options of a node that copies what is overwritten.
type BlockdevOptionsCbw struct {
	File       BlockdevRef       `qapi:"file"`
	Target     BlockdevRef       `qapi:"target"`       // where it is copied to
	Bitmap     *BlockDirtyBitmap `qapi:"bitmap"`       // what is copied, all by default
	OnCbwError *OnCbwError       `qapi:"on-cbw-error"` // break-guest-write by default
	CbwTimeout *uint32           `qapi:"cbw-timeout"`  // seconds that a copy may take, 0 for any time
}
