package blockqmp

// Action is a step of a transaction: what a command does, such that it can be undone. All steps
// are prepared in order; then all are committed in order, or those that were prepared are
// aborted, the last first; and in any case cleaned up. Steps that are nil do nothing.
type Action struct {
	Prepare       func() error
	Commit, Abort func()
	Clean         func()
}

// run is a transaction of one action.
func (a *Action) run() error {
	err := a.Prepare()
	switch {
	case err == nil && a.Commit != nil:
		a.Commit()
	case err != nil && a.Abort != nil:
		a.Abort()
	}
	if a.Clean != nil {
		a.Clean()
	}
	return err
}
