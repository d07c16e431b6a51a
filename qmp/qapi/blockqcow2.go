//qapi:schema

package qapi

// BlockdevRefOrNull is a node as BlockdevRef, or none.
type BlockdevRefOrNull struct {
	Definition *BlockdevOptions `qapi:"definition,alternate"`
	Reference  *string          `qapi:"reference,alternate"`
	Null       *NullType        `qapi:"null,alternate"`
}

// BlockdevOptionsGenericFormat is the options of a node that has its data in another.
type BlockdevOptionsGenericFormat struct {
	File BlockdevRef `qapi:"file"`
}

// BlockdevOptionsGenericCOWFormat is the options of an image that others may lie below.
type BlockdevOptionsGenericCOWFormat struct {
	BlockdevOptionsGenericFormat
	Backing *BlockdevRefOrNull `qapi:"backing"` // what is below; null is nothing, and the default what the image says
}

// Qcow2OverlapCheckMode is how much metadata is guarded against being written over.
type Qcow2OverlapCheckMode string

// The modes.
const (
	Qcow2OverlapCheckModeNone     Qcow2OverlapCheckMode = "none"     // none of it
	Qcow2OverlapCheckModeConstant Qcow2OverlapCheckMode = "constant" // what costs the same for every image
	Qcow2OverlapCheckModeCached   Qcow2OverlapCheckMode = "cached"   // what is known without reading
	Qcow2OverlapCheckModeAll      Qcow2OverlapCheckMode = "all"      // all of it
)

// Qcow2OverlapCheckFlags says for each kind of metadata whether it is guarded.
type Qcow2OverlapCheckFlags struct {
	Template        *Qcow2OverlapCheckMode `qapi:"template"` // for kinds of which nothing is said; cached by default
	MainHeader      *bool                  `qapi:"main-header"`
	ActiveL1        *bool                  `qapi:"active-l1"`
	ActiveL2        *bool                  `qapi:"active-l2"`
	RefcountTable   *bool                  `qapi:"refcount-table"`
	RefcountBlock   *bool                  `qapi:"refcount-block"`
	SnapshotTable   *bool                  `qapi:"snapshot-table"`
	InactiveL1      *bool                  `qapi:"inactive-l1"`
	InactiveL2      *bool                  `qapi:"inactive-l2"`
	BitmapDirectory *bool                  `qapi:"bitmap-directory"`
}

// Qcow2OverlapChecks is which metadata is guarded: a mode, or kind by kind.
type Qcow2OverlapChecks struct {
	Flags *Qcow2OverlapCheckFlags `qapi:"flags,alternate"`
	Mode  *Qcow2OverlapCheckMode  `qapi:"mode,alternate"`
}

// BlockdevOptionsQcow2 is the options of a qcow2 image.
type BlockdevOptionsQcow2 struct {
	BlockdevOptionsGenericCOWFormat
	LazyRefcounts       *bool               `qapi:"lazy-refcounts"`        // count references when the image is closed; as the image says by default
	PassDiscardRequest  *bool               `qapi:"pass-discard-request"`  // give the host back what is discarded; as discard says by default
	PassDiscardSnapshot *bool               `qapi:"pass-discard-snapshot"` // and what deleted snapshots had; true by default
	PassDiscardOther    *bool               `qapi:"pass-discard-other"`    // and whatever else becomes free
	OverlapCheck        *Qcow2OverlapChecks `qapi:"overlap-check"`
	CacheSize           *int64              `qapi:"cache-size"`           // bytes of metadata in memory
	L2CacheSize         *int64              `qapi:"l2-cache-size"`        // bytes of L2 tables among them
	L2CacheEntrySize    *int64              `qapi:"l2-cache-entry-size"`  // bytes that are read at once
	RefcountCacheSize   *int64              `qapi:"refcount-cache-size"`  // bytes of refcounts among them
	CacheCleanInterval  *int64              `qapi:"cache-clean-interval"` // seconds after which unused metadata leaves memory, 600 by default; 0 is never
	DataFile            *BlockdevRef        `qapi:"data-file"`            // where the data is, if that is not the image; as the image says by default
}

// EventBlockImageCorrupted tells that an image is damaged.
var EventBlockImageCorrupted = Event[BlockImageCorruptedEvent]{Name: "BLOCK_IMAGE_CORRUPTED"}

// BlockImageCorruptedEvent is the data of BLOCK_IMAGE_CORRUPTED.
type BlockImageCorruptedEvent struct {
	Device   string  `qapi:"device"` // id of the -drive, or empty
	NodeName *string `qapi:"node-name"`
	Msg      string  `qapi:"msg"`
	Offset   *int64  `qapi:"offset"` // of a request, in the image
	Size     *int64  `qapi:"size"`
	Fatal    bool    `qapi:"fatal"` // the image cannot be used any more
}
