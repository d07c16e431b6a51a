package blockqmp

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hv/block/jobs"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// transaction is what actions have in common.
type transaction struct {
	vm    Changer
	group *jobs.Group // of the jobs that are to succeed or fail together, nil for none
}

// maker makes an action of a transaction.
type maker func(t *transaction, a *qapi.TransactionAction) *Action

// makers make all kinds of actions.
var makers = map[qapi.TransactionActionKind]maker{
	qapi.TransactionActionKindAbort: func(*transaction, *qapi.TransactionAction) *Action {
		return &Action{Prepare: func() error { return errors.New("Transaction aborted using Abort action") }}
	},
	qapi.TransactionActionKindBlockDirtyBitmapAdd: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, addBitmap(t.vm, &a.BlockDirtyBitmapAdd.Data))
	},
	qapi.TransactionActionKindBlockDirtyBitmapRemove: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, removeBitmap(t.vm, &a.BlockDirtyBitmapRemove.Data))
	},
	qapi.TransactionActionKindBlockDirtyBitmapClear: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, clearBitmap(t.vm, &a.BlockDirtyBitmapClear.Data))
	},
	qapi.TransactionActionKindBlockDirtyBitmapEnable: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, enableBitmap(t.vm, &a.BlockDirtyBitmapEnable.Data))
	},
	qapi.TransactionActionKindBlockDirtyBitmapDisable: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, disableBitmap(t.vm, &a.BlockDirtyBitmapDisable.Data))
	},
	qapi.TransactionActionKindBlockDirtyBitmapMerge: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, mergeBitmaps(t.vm, &a.BlockDirtyBitmapMerge.Data))
	},
	qapi.TransactionActionKindBlockdevSnapshot: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, snapshot(t.vm, &a.BlockdevSnapshot.Data))
	},
	qapi.TransactionActionKindBlockdevSnapshotSync: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, snapshotSync(t.vm, &a.BlockdevSnapshotSync.Data))
	},
	qapi.TransactionActionKindBlockdevSnapshotInternalSync: func(t *transaction, a *qapi.TransactionAction) *Action {
		return t.alone(a.Type, snapshotInternal(t.vm, &a.BlockdevSnapshotInternalSync.Data))
	},
}

// alone has an action refuse to be one of a group.
func (t *transaction) alone(kind qapi.TransactionActionKind, a *Action) *Action {
	if t.group == nil {
		return a
	}
	return &Action{Prepare: func() error {
		return fmt.Errorf("Action '%s' does not support Transaction property completion-mode = %s", kind, qapi.ActionCompletionModeGrouped)
	}}
}

// registerTransaction adds the command transaction.
func registerTransaction(t *dispatch.Table, vm Changer) {
	dispatch.Register(t, qapi.CmdTransaction, func(_ context.Context, a qapi.TransactionArgs) (qapi.Empty, error) {
		x := &transaction{vm: vm}
		if p := a.Properties; p != nil && p.CompletionMode != nil && *p.CompletionMode == qapi.ActionCompletionModeGrouped {
			x.group = &jobs.Group{}
		}
		return qapi.Empty{}, x.run(a.Actions)
	})
}

// run does all actions at one moment, or none.
func (t *transaction) run(list qapi.TransactionActionList) error {
	for _, n := range t.vm.Graph().Nodes() {
		defer n.Drain()()
	}
	var begun []*Action
	defer func() {
		for _, a := range begun {
			if a.Clean != nil {
				a.Clean()
			}
		}
	}()
	for i := range list {
		a := makers[list[i].Type](t, &list[i])
		begun = append(begun, a)
		if err := a.Prepare(); err != nil {
			for _, a := range slices.Backward(begun) {
				if a.Abort != nil {
					a.Abort()
				}
			}
			return err
		}
	}
	for _, a := range begun {
		if a.Commit != nil {
			a.Commit()
		}
	}
	return nil
}
