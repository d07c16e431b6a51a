package vm

import (
	"hv/block/blockqmp"
	"hv/block/formats"
	"hv/block/jobs"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// What blockqmp needs of jobs.
var _ blockqmp.JobHost = (*VM)(nil)

// makeJobs makes the list of jobs, empty. They end before the nodes go.
func (v *VM) makeJobs() {
	v.jobs = jobs.NewManager(v.control.Post, func(id string, s qapi.JobStatus) {
		events.Emit(v.events, qapi.EventJobStatusChange, qapi.JobStatusChangeEvent{Id: id, Status: s})
	})
	v.undo.later(v.blocks.close)
	v.undo.later(v.jobs.Close)
}

// Jobs returns the VM's jobs.
func (v *VM) Jobs() *jobs.Manager { return v.jobs }

// CreateImage gets what it takes to make an image. Control goroutine only.
func (v *VM) CreateImage(o *qapi.BlockdevCreateOptions) (formats.Creation, error) {
	return v.opener(false).Create(o)
}
