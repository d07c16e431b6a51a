package vm

import (
	"errors"
	"fmt"

	"hv/hypervisor/vcpu"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// suspended is the board's word that the guest suspended itself.
func (v *VM) suspended() {
	v.hw.kick()
	v.control.Post(func() {
		if v.control.Suspend() {
			events.Emit(v.events, qapi.EventSuspend, qapi.Empty{})
		}
	})
}

// CanSuspend reports whether the guest can suspend itself.
func (v *VM) CanSuspend() bool { return v.hw.board.CanSuspend() }

// WakeUp wakes a suspended guest. Control goroutine only.
func (v *VM) WakeUp() error {
	if !v.CanSuspend() {
		return errors.New("wake-up from suspend is not supported by this guest")
	}
	if err := v.control.Wake(v.hw.wake); err != nil {
		return err
	}
	events.Emit(v.events, qapi.EventWakeup, qapi.Empty{})
	return nil
}

// wake resets everything but RAM, and has the first vCPU go on where the guest wants.
func (h *hardware) wake() error {
	if err := h.chip.Reset(); err != nil {
		return fmt.Errorf("interrupt controllers: %w", err)
	}
	h.board.Reset()
	vector, err := h.board.Wake()
	if err != nil {
		return err
	}
	if h.cpus == nil {
		return nil
	}
	return h.cpus.Reset(func(c *vcpu.VCPU) vcpu.Entry {
		e := h.waiting()
		if c.Index() == 0 {
			e.Mode, e.RIP = vcpu.ModeRealAt, uint64(vector)
		}
		return e
	})
}
