//qapi:schema

package qapi

// ActionCompletionMode is what becomes of a transaction's jobs when one of them fails.
type ActionCompletionMode string

// The modes.
const (
	ActionCompletionModeIndividual ActionCompletionMode = "individual" // the others go on
	ActionCompletionModeGrouped    ActionCompletionMode = "grouped"    // all of them fail
)

// TransactionActionKind is what an action of a transaction does.
type TransactionActionKind string

// The kinds.
const (
	TransactionActionKindAbort                        TransactionActionKind = "abort" // fails, so that nothing is done
	TransactionActionKindBlockDirtyBitmapAdd          TransactionActionKind = "block-dirty-bitmap-add"
	TransactionActionKindBlockDirtyBitmapRemove       TransactionActionKind = "block-dirty-bitmap-remove"
	TransactionActionKindBlockDirtyBitmapClear        TransactionActionKind = "block-dirty-bitmap-clear"
	TransactionActionKindBlockDirtyBitmapEnable       TransactionActionKind = "block-dirty-bitmap-enable"
	TransactionActionKindBlockDirtyBitmapDisable      TransactionActionKind = "block-dirty-bitmap-disable"
	TransactionActionKindBlockDirtyBitmapMerge        TransactionActionKind = "block-dirty-bitmap-merge"
	TransactionActionKindBlockdevSnapshot             TransactionActionKind = "blockdev-snapshot"
	TransactionActionKindBlockdevSnapshotInternalSync TransactionActionKind = "blockdev-snapshot-internal-sync"
	TransactionActionKindBlockdevSnapshotSync         TransactionActionKind = "blockdev-snapshot-sync"
)

// TransactionAction is one of what a transaction does. Most are commands, too.
type TransactionAction struct {
	Type                         TransactionActionKind            `qapi:"type,discriminator"`
	Abort                        *AbortWrapper                    `qapi:",branch=abort"`
	BlockDirtyBitmapAdd          *BlockDirtyBitmapAddWrapper      `qapi:",branch=block-dirty-bitmap-add"`
	BlockDirtyBitmapRemove       *BlockDirtyBitmapWrapper         `qapi:",branch=block-dirty-bitmap-remove"`
	BlockDirtyBitmapClear        *BlockDirtyBitmapWrapper         `qapi:",branch=block-dirty-bitmap-clear"`
	BlockDirtyBitmapEnable       *BlockDirtyBitmapWrapper         `qapi:",branch=block-dirty-bitmap-enable"`
	BlockDirtyBitmapDisable      *BlockDirtyBitmapWrapper         `qapi:",branch=block-dirty-bitmap-disable"`
	BlockDirtyBitmapMerge        *BlockDirtyBitmapMergeWrapper    `qapi:",branch=block-dirty-bitmap-merge"`
	BlockdevSnapshot             *BlockdevSnapshotWrapper         `qapi:",branch=blockdev-snapshot"`
	BlockdevSnapshotInternalSync *BlockdevSnapshotInternalWrapper `qapi:",branch=blockdev-snapshot-internal-sync"`
	BlockdevSnapshotSync         *BlockdevSnapshotSyncWrapper     `qapi:",branch=blockdev-snapshot-sync"`
}

// TransactionActionList is what a transaction does, in this order.
type TransactionActionList []TransactionAction

// Abort is the arguments of abort.
type Abort struct{}

// AbortWrapper holds the arguments of an action.
type AbortWrapper struct {
	Data Abort `qapi:"data"`
}

// BlockDirtyBitmapAddWrapper holds the arguments of an action.
type BlockDirtyBitmapAddWrapper struct {
	Data BlockDirtyBitmapAdd `qapi:"data"`
}

// BlockDirtyBitmapWrapper holds the arguments of an action.
type BlockDirtyBitmapWrapper struct {
	Data BlockDirtyBitmap `qapi:"data"`
}

// BlockDirtyBitmapMergeWrapper holds the arguments of an action.
type BlockDirtyBitmapMergeWrapper struct {
	Data BlockDirtyBitmapMerge `qapi:"data"`
}

// BlockdevSnapshotWrapper holds the arguments of an action.
type BlockdevSnapshotWrapper struct {
	Data BlockdevSnapshot `qapi:"data"`
}

// BlockdevSnapshotInternalWrapper holds the arguments of an action.
type BlockdevSnapshotInternalWrapper struct {
	Data BlockdevSnapshotInternal `qapi:"data"`
}

// BlockdevSnapshotSyncWrapper holds the arguments of an action.
type BlockdevSnapshotSyncWrapper struct {
	Data BlockdevSnapshotSync `qapi:"data"`
}

// TransactionProperties is how a transaction is done.
type TransactionProperties struct {
	CompletionMode *ActionCompletionMode `qapi:"completion-mode"` // individual by default
}

// CmdTransaction does several things to disks at one moment, or none of them.
var CmdTransaction = Command[TransactionArgs, Empty]{Name: "transaction"}

// TransactionArgs is the arguments of transaction.
type TransactionArgs struct {
	Actions    TransactionActionList  `qapi:"actions"`
	Properties *TransactionProperties `qapi:"properties"`
}
