package vm

import (
	"slices"
	"time"

	"hv/block/blockqmp"
	"hv/block/formats"
	"hv/block/graph"
	"hv/block/jobs"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// What blockqmp needs of jobs, and to change nodes.
var (
	_ blockqmp.JobHost = (*VM)(nil)
	_ blockqmp.Changer = (*VM)(nil)
)

// makeJobs makes the list of jobs, empty. They end before the nodes go.
func (v *VM) makeJobs() {
	v.jobs = jobs.NewManager(v.control.Post, func(id string, s qapi.JobStatus) {
		events.Emit(v.events, qapi.EventJobStatusChange, qapi.JobStatusChangeEvent{Id: id, Status: s})
	})
	v.undo.later(v.blocks.close)
	v.undo.later(v.jobs.Close)
	v.undo.later(v.shell.Close)
}

// Jobs returns the VM's jobs.
func (v *VM) Jobs() *jobs.Manager { return v.jobs }

// CreateImage gets what it takes to make an image. Control goroutine only.
func (v *VM) CreateImage(o *qapi.BlockdevCreateOptions) (formats.Creation, error) {
	return v.opener(false).Create(o)
}

// OpenOverlay makes a node on an image that is to come over another one. Control goroutine
// only.
func (v *VM) OpenOverlay(o formats.Overlay, over *graph.Node) (*graph.Node, error) {
	return v.opener(false).Overlay(o, over)
}

// Reopen gives nodes other options. Control goroutine only.
func (v *VM) Reopen(list []qapi.BlockdevOptions) error { return v.opener(false).Reopen(list) }

// SetReadOnly has a node be writable, or not. Control goroutine only.
func (v *VM) SetReadOnly(n *graph.Node, on bool) error { return v.opener(false).SetReadOnly(n, on) }

// GuestTime is for how long there has been a guest.
func (v *VM) GuestTime() time.Duration {
	if v.clock != nil {
		return v.clock.Elapsed()
	}
	return time.Since(v.since)
}

// HasDisk reports whether a hold is that of a drive whose disk has one, too.
func (v *VM) HasDisk(c *graph.Child) bool {
	return slices.ContainsFunc(v.blocks.drives, func(d *drive) bool { return d.root == c && d.user != nil })
}
