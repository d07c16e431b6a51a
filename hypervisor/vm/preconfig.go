package vm

import (
	"context"
	"errors"
)

// errBuilt is QEMU's answer when there is nothing left to build.
var errBuilt = errors.New("The command is permitted only before machine initialization")

// ExitPreconfig builds the machine that -preconfig held back, and lets it run unless -S
// was given. One that cannot be built ends the process. Control goroutine only.
func (v *VM) ExitPreconfig(ctx context.Context) error {
	if v.built {
		return errBuilt
	}
	if err := v.buildMachine(ctx); err != nil {
		v.failed("build the machine", err)
		v.control.RequestExit(1)
		return err
	}
	v.table.SetPreconfig(false)
	if v.cfg.Paused {
		return nil
	}
	return v.control.Continue()
}
