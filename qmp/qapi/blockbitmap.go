//qapi:schema

package qapi

// BlockDirtyInfo describes a dirty bitmap.
type BlockDirtyInfo struct {
	Name         *string `qapi:"name"`
	Count        int64   `qapi:"count"`       // bytes that are dirty
	Granularity  uint32  `qapi:"granularity"` // bytes that a bit stands for
	Recording    bool    `qapi:"recording"`   // it follows writes
	Busy         bool    `qapi:"busy"`        // something uses it: commands cannot
	Persistent   bool    `qapi:"persistent"`  // the image keeps it
	Inconsistent *bool   `qapi:"inconsistent"`
}

// BlockDirtyInfoList is a list of dirty bitmaps.
type BlockDirtyInfoList []BlockDirtyInfo

// BlockDirtyBitmap names a dirty bitmap.
type BlockDirtyBitmap struct {
	Node string `qapi:"node"` // or a -drive
	Name string `qapi:"name"`
}

// CmdBlockDirtyBitmapAdd makes a dirty bitmap, which follows writes from now on.
var CmdBlockDirtyBitmapAdd = Command[BlockDirtyBitmapAdd, Empty]{Name: "block-dirty-bitmap-add", Preconfig: true}

// BlockDirtyBitmapAdd describes a new dirty bitmap.
type BlockDirtyBitmapAdd struct {
	Node        string  `qapi:"node"`
	Name        string  `qapi:"name"`
	Granularity *uint32 `qapi:"granularity"` // 64 KiB, or what the image gives room in
	Persistent  *bool   `qapi:"persistent"`  // keep it in the image when that is closed
	Disabled    *bool   `qapi:"disabled"`    // follow no writes yet
}

// CmdBlockDirtyBitmapRemove takes a dirty bitmap away, from its image too.
var CmdBlockDirtyBitmapRemove = Command[BlockDirtyBitmap, Empty]{Name: "block-dirty-bitmap-remove", Preconfig: true}

// CmdBlockDirtyBitmapClear has a dirty bitmap forget all that it has marked.
var CmdBlockDirtyBitmapClear = Command[BlockDirtyBitmap, Empty]{Name: "block-dirty-bitmap-clear", Preconfig: true}

// CmdBlockDirtyBitmapEnable has a dirty bitmap follow writes.
var CmdBlockDirtyBitmapEnable = Command[BlockDirtyBitmap, Empty]{Name: "block-dirty-bitmap-enable", Preconfig: true}

// CmdBlockDirtyBitmapDisable has a dirty bitmap no longer follow writes.
var CmdBlockDirtyBitmapDisable = Command[BlockDirtyBitmap, Empty]{Name: "block-dirty-bitmap-disable", Preconfig: true}

// CmdBlockDirtyBitmapMerge marks in a dirty bitmap what is marked in others: all of them, or nothing.
var CmdBlockDirtyBitmapMerge = Command[BlockDirtyBitmapMerge, Empty]{Name: "block-dirty-bitmap-merge", Preconfig: true}

// BlockDirtyBitmapMerge says which bitmaps to merge.
type BlockDirtyBitmapMerge struct {
	Node    string                    `qapi:"node"` // of the target
	Target  string                    `qapi:"target"`
	Bitmaps BlockDirtyBitmapOrStrList `qapi:"bitmaps"`
}

// BlockDirtyBitmapOrStr names a dirty bitmap, of the same node or of another one.
type BlockDirtyBitmapOrStr struct {
	Local    *string           `qapi:"local,alternate"`
	External *BlockDirtyBitmap `qapi:"external,alternate"`
}

// BlockDirtyBitmapOrStrList is a list of names of dirty bitmaps.
type BlockDirtyBitmapOrStrList []BlockDirtyBitmapOrStr

// CmdDebugBlockDirtyBitmapSha256 tells the hash of what a dirty bitmap has marked.
//
//qapi:features unstable
var CmdDebugBlockDirtyBitmapSha256 = Command[BlockDirtyBitmap, BlockDirtyBitmapSha256]{Name: "x-debug-block-dirty-bitmap-sha256", Preconfig: true}

// BlockDirtyBitmapSha256 is a hash of a dirty bitmap.
type BlockDirtyBitmapSha256 struct {
	Sha256 string `qapi:"sha256"` // 64 hexadecimal digits
}
