//qapi:schema

package qapi

// JobType is what a job does.
type JobType string

// The types.
const (
	JobTypeCreate JobType = "create" // makes an image
)

// JobStatus is the state of a job.
type JobStatus string

// The states, in which some may be paused.
const (
	JobStatusUndefined JobStatus = "undefined" // none yet; never seen
	JobStatusCreated   JobStatus = "created"   // not started yet
	JobStatusRunning   JobStatus = "running"
	JobStatusPaused    JobStatus = "paused"
	JobStatusReady     JobStatus = "ready"     // may be completed at any time
	JobStatusStandby   JobStatus = "standby"   // ready, and paused
	JobStatusWaiting   JobStatus = "waiting"   // done, but others of its group are not
	JobStatusPending   JobStatus = "pending"   // done, and may wait for job-finalize
	JobStatusAborting  JobStatus = "aborting"  // about to end with an error
	JobStatusConcluded JobStatus = "concluded" // ended, and may wait for job-dismiss
	JobStatusNull      JobStatus = "null"      // gone
)

// JobVerb is what can be done to a job.
type JobVerb string

// The verbs.
const (
	JobVerbCancel   JobVerb = "cancel"
	JobVerbPause    JobVerb = "pause"
	JobVerbResume   JobVerb = "resume"
	JobVerbComplete JobVerb = "complete"
	JobVerbDismiss  JobVerb = "dismiss"
	JobVerbFinalize JobVerb = "finalize"
)

// EventJobStatusChange says that a job is in another state.
var EventJobStatusChange = Event[JobStatusChangeEvent]{Name: "JOB_STATUS_CHANGE"}

// JobStatusChangeEvent is the data of JOB_STATUS_CHANGE.
type JobStatusChangeEvent struct {
	Id     string    `qapi:"id"`
	Status JobStatus `qapi:"status"`
}

// JobArgs names a job.
type JobArgs struct {
	Id string `qapi:"id"`
}

// CmdJobPause has a job pause as soon as it can.
var CmdJobPause = Command[JobArgs, Empty]{Name: "job-pause"}

// CmdJobResume has a paused job go on.
var CmdJobResume = Command[JobArgs, Empty]{Name: "job-resume"}

// CmdJobCancel has a job end with an error, unless it is done before.
var CmdJobCancel = Command[JobArgs, Empty]{Name: "job-cancel"}

// CmdJobComplete has a job end that is ready.
var CmdJobComplete = Command[JobArgs, Empty]{Name: "job-complete"}

// CmdJobDismiss forgets a job that has ended.
var CmdJobDismiss = Command[JobArgs, Empty]{Name: "job-dismiss"}

// CmdJobFinalize ends a job that is pending, and those of its group.
var CmdJobFinalize = Command[JobArgs, Empty]{Name: "job-finalize"}

// JobInfo describes a job.
type JobInfo struct {
	Id              string    `qapi:"id"`
	Type            JobType   `qapi:"type"`
	Status          JobStatus `qapi:"status"`
	CurrentProgress int64     `qapi:"current-progress"` // in no certain unit
	TotalProgress   int64     `qapi:"total-progress"`   // where the progress will end, as far as is known
	Error           *string   `qapi:"error"`            // why it failed
}

// JobInfoList is a list of jobs.
type JobInfoList []JobInfo

// CmdQueryJobs lists the jobs.
var CmdQueryJobs = Command[Empty, JobInfoList]{Name: "query-jobs"}
