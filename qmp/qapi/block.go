//qapi:schema

package qapi

// BlockdevDriver is what does the I/O of a block node.
type BlockdevDriver string

// The drivers.
const (
	BlockdevDriverBlkdebug        BlockdevDriver = "blkdebug"          // another node, which fails as it is told to
	BlockdevDriverBlklogwrites    BlockdevDriver = "blklogwrites"      // another node, whose writes are noted
	BlockdevDriverBlkverify       BlockdevDriver = "blkverify"         // two nodes that must not differ
	BlockdevDriverCopyBeforeWrite BlockdevDriver = "copy-before-write" // another node, of which is copied what is overwritten
	BlockdevDriverCopyOnRead      BlockdevDriver = "copy-on-read"      // another node, into which is copied what backing nodes have
	BlockdevDriverFile            BlockdevDriver = "file"              // a regular file
	BlockdevDriverHostDevice      BlockdevDriver = "host_device"       // a block device of the host
	BlockdevDriverNbd             BlockdevDriver = "nbd"               // an export of an NBD server
	BlockdevDriverNullAio         BlockdevDriver = "null-aio"          // nothing, as null-co
	BlockdevDriverNullCo          BlockdevDriver = "null-co"           // nothing: takes all writes, reads as anything
	BlockdevDriverPreallocate     BlockdevDriver = "preallocate"       // a file that is made longer ahead of writes
	BlockdevDriverQcow2           BlockdevDriver = "qcow2"             // an image that grows, with snapshots
	BlockdevDriverQuorum          BlockdevDriver = "quorum"            // nodes that vote on what is right
	BlockdevDriverRaw             BlockdevDriver = "raw"               // another node as it is, or a part of it
	BlockdevDriverSnapshotAccess  BlockdevDriver = "snapshot-access"   // what a copy-before-write node was
	BlockdevDriverThrottle        BlockdevDriver = "throttle"          // another node, slower
)

// BlockdevOptions describes a block node.
type BlockdevOptions struct {
	Driver          BlockdevDriver                `qapi:"driver,discriminator"`
	NodeName        *string                       `qapi:"node-name"`
	Discard         *BlockdevDiscardOptions       `qapi:"discard"` // ignore by default
	Cache           *BlockdevCacheOptions         `qapi:"cache"`
	ReadOnly        *bool                         `qapi:"read-only"`
	AutoReadOnly    *bool                         `qapi:"auto-read-only"` // open for writing only while somebody writes
	ForceShare      *bool                         `qapi:"force-share"`    // share with all, for reading only
	DetectZeroes    *BlockdevDetectZeroesOptions  `qapi:"detect-zeroes"`
	Blkdebug        *BlockdevOptionsBlkdebug      `qapi:",branch=blkdebug"`
	Blklogwrites    *BlockdevOptionsBlklogwrites  `qapi:",branch=blklogwrites"`
	Blkverify       *BlockdevOptionsBlkverify     `qapi:",branch=blkverify"`
	CopyBeforeWrite *BlockdevOptionsCbw           `qapi:",branch=copy-before-write"`
	CopyOnRead      *BlockdevOptionsCor           `qapi:",branch=copy-on-read"`
	File            *BlockdevOptionsFile          `qapi:",branch=file"`
	HostDevice      *BlockdevOptionsFile          `qapi:",branch=host_device"`
	Nbd             *BlockdevOptionsNbd           `qapi:",branch=nbd"`
	NullAio         *BlockdevOptionsNull          `qapi:",branch=null-aio"`
	NullCo          *BlockdevOptionsNull          `qapi:",branch=null-co"`
	Preallocate     *BlockdevOptionsPreallocate   `qapi:",branch=preallocate"`
	Qcow2           *BlockdevOptionsQcow2         `qapi:",branch=qcow2"`
	Quorum          *BlockdevOptionsQuorum        `qapi:",branch=quorum"`
	Raw             *BlockdevOptionsRaw           `qapi:",branch=raw"`
	SnapshotAccess  *BlockdevOptionsGenericFormat `qapi:",branch=snapshot-access"`
	Throttle        *BlockdevOptionsThrottle      `qapi:",branch=throttle"`
}

// BlockdevCacheOptions is how a node uses the host's page cache.
type BlockdevCacheOptions struct {
	Direct  *bool `qapi:"direct"`   // go around it
	NoFlush *bool `qapi:"no-flush"` // flushes do nothing
}

// BlockdevDiscardOptions is what becomes of discards.
type BlockdevDiscardOptions string

// What there is.
const (
	BlockdevDiscardOptionsIgnore BlockdevDiscardOptions = "ignore" // nothing
	BlockdevDiscardOptionsUnmap  BlockdevDiscardOptions = "unmap"  // they are passed on
)

// BlockdevDetectZeroesOptions is what becomes of data that is all zeroes.
type BlockdevDetectZeroesOptions string

// What there is.
const (
	BlockdevDetectZeroesOptionsOff   BlockdevDetectZeroesOptions = "off"   // it is written
	BlockdevDetectZeroesOptionsOn    BlockdevDetectZeroesOptions = "on"    // zeroes are made without data
	BlockdevDetectZeroesOptionsUnmap BlockdevDetectZeroesOptions = "unmap" // by giving space back, if discard=unmap
)

// BlockdevAioOptions is how requests reach the host.
type BlockdevAioOptions string

// The ways.
const (
	BlockdevAioOptionsThreads BlockdevAioOptions = "threads"  // threads that do one at a time
	BlockdevAioOptionsNative  BlockdevAioOptions = "native"   // needs cache.direct; served by io_uring here
	BlockdevAioOptionsIoUring BlockdevAioOptions = "io_uring" // the kernel's rings
)

// OnOffAuto is a switch that may be left to hv.
type OnOffAuto string

// The positions.
const (
	OnOffAutoAuto OnOffAuto = "auto"
	OnOffAutoOn   OnOffAuto = "on"
	OnOffAutoOff  OnOffAuto = "off"
)

// BlockdevOptionsFile is the options of a file or device of the host.
//
//qapi:features dynamic-auto-read-only
type BlockdevOptionsFile struct {
	Filename string              `qapi:"filename"`
	Locking  *OnOffAuto          `qapi:"locking"` // keep other programs from what would harm, by locks on the file
	Aio      *BlockdevAioOptions `qapi:"aio"`
	// Has migration, of which there is none, look whether it left nothing in the page cache.
	XCheckCacheDropped *bool `qapi:"x-check-cache-dropped,feature=unstable"`
}

// BlockdevOptionsNull is the options of a node without a medium.
type BlockdevOptionsNull struct {
	Size       *int64  `qapi:"size"`        // bytes, 1 GiB by default
	LatencyNs  *uint64 `qapi:"latency-ns"`  // how long each request takes
	ReadZeroes *bool   `qapi:"read-zeroes"` // reads give zeroes
}

// BlockdevOptionsRaw is the options of a node that is another as it is, or a part of it.
type BlockdevOptionsRaw struct {
	File   BlockdevRef `qapi:"file"`
	Offset *int64      `qapi:"offset"` // where it begins
	Size   *int64      `qapi:"size"`   // how long it is; up to the end by default
}

// BlockdevRef is a node that is there, by name, or a new one.
type BlockdevRef struct {
	Definition *BlockdevOptions `qapi:"definition,alternate"`
	Reference  *string          `qapi:"reference,alternate"`
}

// CmdBlockdevAdd makes a block node.
var CmdBlockdevAdd = Command[BlockdevOptions, Empty]{Name: "blockdev-add", Preconfig: true}

// CmdBlockdevDel takes away a node that blockdev-add or -blockdev made and nobody uses.
var CmdBlockdevDel = Command[BlockdevDelArgs, Empty]{Name: "blockdev-del", Preconfig: true}

// BlockdevDelArgs is the arguments of blockdev-del.
type BlockdevDelArgs struct {
	NodeName string `qapi:"node-name"`
}

// CmdBlockResize changes the size of a disk.
var CmdBlockResize = Command[BlockResizeArgs, Empty]{Name: "block_resize", Preconfig: true}

// BlockResizeArgs is the arguments of block_resize.
type BlockResizeArgs struct {
	Device   *string `qapi:"device"`    // id of a -drive
	NodeName *string `qapi:"node-name"` // or a node
	Size     int64   `qapi:"size"`      // bytes
}
