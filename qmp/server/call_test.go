package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"hv/qmp/qapi"
)

func TestCall(t *testing.T) {
	r := newRig(t)
	b, err := r.srv.Call(t.Context(), "query-version", nil)
	if err != nil || !strings.Contains(string(b), `"package": "hv test"`) {
		t.Errorf("query-version: %s, %v", b, err)
	}
	if b, err = r.srv.Call(t.Context(), "query-version", map[string]any{}); err != nil {
		t.Errorf("with no arguments: %s, %v", b, err)
	}
	for _, c := range []struct {
		name, want string
		args       any
		class      qapi.QapiErrorClass
	}{
		{"nothing", "The command nothing has not been found", nil, qapi.QapiErrorClassCommandNotFound},
		{"query-version", "Parameter 'x' is unexpected", map[string]any{"x": 1}, qapi.QapiErrorClassGenericError},
		{"query-version", "must be an object", 7, qapi.QapiErrorClassGenericError},
		{"query-version", "unsupported type", map[string]any{"x": make(chan int)}, qapi.QapiErrorClassGenericError},
		{"qmp_capabilities", "for clients", nil, qapi.QapiErrorClassGenericError},
	} {
		_, err := r.srv.Call(t.Context(), c.name, c.args)
		if err == nil || !strings.Contains(err.Error(), c.want) || qapi.ClassOf(err) != c.class {
			t.Errorf("%s %v: %v", c.name, c.args, err)
		}
	}
	if !r.srv.Has("query-version") || r.srv.Has("nothing") {
		t.Error("Has is wrong")
	}
}

// TestCallRunsWhereClientsDo sees a call wait for a client's command.
func TestCallRunsWhereClientsDo(t *testing.T) {
	r := newRig(t)
	blocked := make(chan error, 1)
	go func() {
		_, err := r.srv.Call(t.Context(), "x-block", nil)
		blocked <- err
	}()
	<-r.entered
	second := make(chan error, 1)
	go func() {
		_, err := r.srv.Call(t.Context(), "x-block", nil)
		second <- err
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.srv.Call(ctx, "x-wait", nil); err == nil || err.Error() != context.Canceled.Error() { // concurrent ones do not wait
		t.Error(err)
	}
	close(r.release)
	if err := errors.Join(<-blocked, <-second); err != nil {
		t.Error(err)
	}
	r.close(time.Second)
	if _, err := r.srv.Call(t.Context(), "query-status", nil); !errors.Is(err, errOver) {
		t.Errorf("after the end: %v", err)
	}
}
