package e2e

import (
	"testing"

	"hv/qmp/qapi"
)

// TestCrashKernel has the guest say that it starts its crash kernel: it goes on.
func TestCrashKernel(t *testing.T) {
	v := start(t, bare(t, "panic event=2; print=went_on; shell", "-device", "pvpanic", "-action", "panic=pause", "-S")...)
	v.do(t, "cont")
	data := v.event(t, "GUEST_CRASHLOADED")
	var ev qapi.GuestCrashloadedEvent
	if err := ev.DecodeQAPI(data.Data); err != nil || ev.Action != qapi.GuestPanicActionRun {
		t.Errorf("%+v, %v", ev, err)
	}
	v.Expect(t, "went_on")
	if s := v.status(t); s != qapi.RunStateRunning {
		t.Errorf("state %s", s)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}
