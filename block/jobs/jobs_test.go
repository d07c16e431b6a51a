package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

// host is a control goroutine, which is the test's, and what it was told.
type host struct {
	*Manager
	posts  chan func()
	events chan string
}

func newHost(t *testing.T) *host {
	h := &host{posts: make(chan func(), 100), events: make(chan string, 100)}
	h.Manager = NewManager(func(f func()) { h.posts <- f }, func(id string, s qapi.JobStatus) { h.events <- id + " " + string(s) })
	t.Cleanup(func() {
		if err := h.Close(); err != nil || len(h.Infos()) != 0 {
			t.Errorf("%v, %v left", err, h.Infos())
		}
	})
	return h
}

// until serves until a job is in a state.
func (h *host) until(t *testing.T, event string) {
	t.Helper()
	var seen []string
	for {
		select {
		case f := <-h.posts:
			f()
		case e := <-h.events:
			seen = append(seen, e)
			if e == event {
				return
			}
		case <-t.Context().Done():
			t.Fatalf("no %q after %q", event, seen)
		}
	}
}

// expect wants the events that there were up to the last of these.
func (h *host) expect(t *testing.T, want string) {
	t.Helper()
	var seen []string
	for list := strings.Split(want, ", "); len(seen) < len(list); {
		select {
		case f := <-h.posts:
			f()
		case e := <-h.events:
			seen = append(seen, e)
		}
	}
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func (h *host) start(t *testing.T, s Spec) *Job {
	t.Helper()
	s.Type = qapi.JobTypeCreate
	j, err := h.New(s)
	if err != nil {
		t.Fatal(err)
	}
	j.Start()
	return j
}

func wants(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestGoodEnd(t *testing.T) {
	h := newHost(t)
	var ends []string
	end := func(s string) func() { return func() { ends = append(ends, s) } }
	h.start(t, Spec{ID: "a", ManualDismiss: true, Commit: end("commit"), Abort: end("abort"), Clean: end("clean"), Run: func(j *Job) error {
		j.Expect(3)
		j.Progress(2)
		return nil
	}})
	h.expect(t, "a created, a running, a waiting, a pending, a concluded")
	if i := h.Infos(); len(i) != 1 || i[0].CurrentProgress != 2 || i[0].TotalProgress != 3 || i[0].Error != nil || i[0].Status != qapi.JobStatusConcluded {
		t.Errorf("%+v", i)
	}
	if !slices.Equal(ends, []string{"commit", "clean"}) {
		t.Error(ends)
	}
	_, err := h.New(Spec{ID: "a"})
	wants(t, err, "Job ID 'a' already in use")
	wants(t, h.Cancel("a", true), "Job 'a' in state 'concluded' cannot accept command verb 'cancel'")
	wants(t, h.Dismiss("a"), "")
	h.expect(t, "a null")
	wants(t, h.Dismiss("a"), "Job not found")
	for _, id := range []string{"", "1", "#x", "a b", "_"} {
		_, err := h.New(Spec{ID: id})
		wants(t, err, fmt.Sprintf("Invalid job ID '%s'", id))
	}
}

func TestFailure(t *testing.T) {
	h := newHost(t)
	ends := ""
	h.start(t, Spec{ID: "a", ManualDismiss: true, Commit: func() { ends += "commit" }, Abort: func() { ends += "abort " }, Clean: func() { ends += "clean" },
		Run: func(*Job) error { return errors.New("no room") }})
	h.expect(t, "a created, a running, a aborting, a concluded")
	if i := h.Infos(); *i[0].Error != "no room" || ends != "abort clean" {
		t.Errorf("%+v %s", i, ends)
	}
	h.start(t, Spec{ID: "b", Run: func(*Job) error { return nil }, Prepare: func() error { return errors.New("late") }, Abort: func() { ends = "late" }})
	h.expect(t, "b created, b running, b waiting, b pending, b aborting, b concluded, b null")
	if ends != "late" {
		t.Error(ends)
	}
}

// pacer is work that goes on step by step.
func pacer(steps chan struct{}) func(*Job) error {
	return func(j *Job) error {
		for {
			if err := j.Point(); err != nil {
				return err
			}
			select {
			case _, more := <-steps:
				if !more {
					return nil
				}
			case <-j.Context().Done():
			}
		}
	}
}

func TestPause(t *testing.T) {
	h := newHost(t)
	steps := make(chan struct{})
	h.start(t, Spec{ID: "a", Run: pacer(steps)})
	h.expect(t, "a created, a running")
	steps <- struct{}{}
	wants(t, h.Resume("a"), "Can't resume a job that was not paused")
	wants(t, h.Pause("a"), "")
	wants(t, h.Pause("a"), "Job is already paused")
	wants(t, h.Complete("a"), "Job 'a' in state 'running' cannot accept command verb 'complete'")
	steps <- struct{}{}
	h.expect(t, "a paused")
	wants(t, h.Resume("a"), "")
	h.expect(t, "a running")
	wants(t, h.Pause("a"), "")
	steps <- struct{}{}
	h.expect(t, "a paused")
	wants(t, h.Cancel("a", true), "")
	h.expect(t, "a running, a aborting, a concluded, a null")
}

func TestReady(t *testing.T) {
	h := newHost(t)
	steps, done := make(chan struct{}), make(chan struct{})
	work := func(j *Job) error {
		j.Ready()
		return pacer(steps)(j)
	}
	h.start(t, Spec{ID: "a", Run: work, Complete: func() error { close(steps); return nil }, Cancel: func(force bool) bool { close(done); return force }})
	h.expect(t, "a created, a running, a ready")
	wants(t, h.Pause("a"), "")
	steps <- struct{}{}
	h.expect(t, "a standby")
	wants(t, h.Resume("a"), "")
	h.expect(t, "a ready")
	wants(t, h.Complete("a"), "")
	h.expect(t, "a waiting, a pending, a concluded, a null")
	steps = make(chan struct{})
	h.start(t, Spec{ID: "b", Run: work, Cancel: func(force bool) bool { close(steps); return force }})
	h.until(t, "b ready")
	wants(t, h.Complete("b"), "The active block job 'b' cannot be completed")
	wants(t, h.Cancel("b", false), "") // which is a good end then
	h.expect(t, "b waiting, b pending, b concluded, b null")
	select {
	case <-done:
		t.Error("a job was cancelled that was completed")
	default:
	}
}

func TestFinalize(t *testing.T) {
	h := newHost(t)
	h.start(t, Spec{ID: "a", ManualFinalize: true, Run: func(*Job) error { return nil }})
	h.until(t, "a pending")
	wants(t, h.Pause("a"), "Job 'a' in state 'pending' cannot accept command verb 'pause'")
	wants(t, h.Finalize("a"), "")
	h.expect(t, "a concluded, a null")
	h.start(t, Spec{ID: "b", ManualFinalize: true, ManualDismiss: true, Run: func(*Job) error { return nil }})
	h.until(t, "b pending")
	wants(t, h.Cancel("b", true), "")
	h.expect(t, "b aborting, b concluded")
	if i := h.Infos(); *i[0].Error != "Operation canceled" {
		t.Errorf("%+v", i)
	}
}

func TestGroups(t *testing.T) {
	h := newHost(t)
	for _, fails := range []bool{false, true} {
		var g Group
		a, b := make(chan struct{}), make(chan struct{})
		ends := map[string]int{}
		spec := func(id string, run func(*Job) error) Spec {
			return Spec{ID: id, Group: &g, Run: run, Commit: func() { ends["commit"]++ }, Abort: func() { ends["abort"]++ }}
		}
		h.start(t, spec("a", pacer(a)))
		h.start(t, spec("b", func(j *Job) error {
			err := pacer(b)(j)
			if fails {
				err = errors.New("no")
			}
			return err
		}))
		close(b)
		if !fails {
			h.until(t, "b waiting")
			close(a)
		}
		h.until(t, "a null")
		if want := map[bool]string{false: "commit", true: "abort"}[fails]; ends[want] != 2 || len(ends) != 1 {
			t.Errorf("%v: %v", fails, ends)
		}
	}
	// One that was never started goes with the others.
	var g Group
	if _, err := h.New(Spec{ID: "c", Group: &g}); err != nil {
		t.Fatal(err)
	}
	h.start(t, Spec{ID: "d", Group: &g, Run: func(*Job) error { return errors.New("no") }})
	h.until(t, "c null")
}

func TestClose(t *testing.T) {
	h := newHost(t)
	cleaned := 0
	for i := range 4 {
		s := Spec{ID: fmt.Sprintf("j%d", i), Run: pacer(make(chan struct{})), ManualFinalize: true, ManualDismiss: true, Clean: func() { cleaned++ }}
		if i == 3 {
			if _, err := h.New(s); err != nil {
				t.Fatal(err)
			}
			continue
		}
		h.start(t, s)
	}
	wants(t, h.Close(), "")
	if cleaned != 4 {
		t.Errorf("%d jobs were cleaned", cleaned)
	}
}

// TestTables tries each verb in each state.
func TestTables(t *testing.T) {
	all := []qapi.JobStatus{
		qapi.JobStatusUndefined, qapi.JobStatusCreated, qapi.JobStatusRunning, qapi.JobStatusPaused, qapi.JobStatusReady, qapi.JobStatusStandby,
		qapi.JobStatusWaiting, qapi.JobStatusPending, qapi.JobStatusAborting, qapi.JobStatusConcluded, qapi.JobStatusNull,
	}
	for verb, want := range map[qapi.JobVerb]string{
		qapi.JobVerbCancel: "01111111000", qapi.JobVerbPause: "01111100000", qapi.JobVerbResume: "01111100000", qapi.JobVerbComplete: "00001100000",
		qapi.JobVerbFinalize: "00000001000", qapi.JobVerbDismiss: "00000000010",
	} {
		for i, s := range all {
			j := Job{status: s}
			if err := j.may(verb); (err == nil) != (want[i] == '1') {
				t.Errorf("%s in state %s: %v", verb, s, err)
			}
		}
	}
	for i, want := range []string{
		"01000000000", "00100000101", "00011010100", "00100000000", "00000110100", "00001000000", "00000001100", "00000000110", "00000000010", "00000000001", "00000000000",
	} {
		for k, to := range all {
			j := Job{status: all[i], m: &Manager{changed: func(string, qapi.JobStatus) {}}}
			j.to(to)
			if moved := j.status == to && i != k; moved != (want[k] == '1') {
				t.Errorf("%s to %s: %v", all[i], to, moved)
			}
		}
	}
}
