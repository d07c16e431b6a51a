package jobs

import (
	"fmt"
	"slices"

	"hv/qmp/qapi"
)

// transitions says which states may follow each.
var transitions = map[qapi.JobStatus][]qapi.JobStatus{
	qapi.JobStatusUndefined: {qapi.JobStatusCreated},
	qapi.JobStatusCreated:   {qapi.JobStatusRunning, qapi.JobStatusAborting, qapi.JobStatusNull},
	qapi.JobStatusRunning:   {qapi.JobStatusPaused, qapi.JobStatusReady, qapi.JobStatusWaiting, qapi.JobStatusAborting},
	qapi.JobStatusPaused:    {qapi.JobStatusRunning},
	qapi.JobStatusReady:     {qapi.JobStatusStandby, qapi.JobStatusWaiting, qapi.JobStatusAborting},
	qapi.JobStatusStandby:   {qapi.JobStatusReady},
	qapi.JobStatusWaiting:   {qapi.JobStatusPending, qapi.JobStatusAborting},
	qapi.JobStatusPending:   {qapi.JobStatusAborting, qapi.JobStatusConcluded},
	qapi.JobStatusAborting:  {qapi.JobStatusAborting, qapi.JobStatusConcluded},
	qapi.JobStatusConcluded: {qapi.JobStatusNull},
}

// alive is the states in which there is work to do.
var alive = []qapi.JobStatus{
	qapi.JobStatusCreated, qapi.JobStatusRunning, qapi.JobStatusPaused, qapi.JobStatusReady, qapi.JobStatusStandby,
}

// verbs says in which states each may come.
var verbs = map[qapi.JobVerb][]qapi.JobStatus{
	qapi.JobVerbCancel:   slices.Concat(alive, []qapi.JobStatus{qapi.JobStatusWaiting, qapi.JobStatusPending}),
	qapi.JobVerbPause:    alive,
	qapi.JobVerbResume:   alive,
	qapi.JobVerbComplete: {qapi.JobStatusReady, qapi.JobStatusStandby},
	qapi.JobVerbFinalize: {qapi.JobStatusPending},
	qapi.JobVerbDismiss:  {qapi.JobStatusConcluded},
}

// to has a job be in another state. One that may not follow is left out.
func (j *Job) to(s qapi.JobStatus) {
	if !slices.Contains(transitions[j.status], s) || j.status == s {
		return
	}
	j.status = s
	j.m.changed(j.spec.ID, s)
}

// over reports whether there is no work left.
func (j *Job) over() bool { return !slices.Contains(alive, j.status) }

// may returns an error if a verb may not come now.
func (j *Job) may(v qapi.JobVerb) error {
	if slices.Contains(verbs[v], j.status) {
		return nil
	}
	return fmt.Errorf("Job '%s' in state '%s' cannot accept command verb '%s'", j.spec.ID, j.status, v)
}
