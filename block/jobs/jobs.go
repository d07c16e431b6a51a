// Package jobs is long operations in the background: their states, what may be done to them
// in each, and groups that succeed or fail together.
//
// A job's work runs on a goroutine of its own. Everything else, its completion among it,
// runs on the control goroutine of a VM; Point, Progress and the like are for the work. One
// mutex guards the states of all jobs, and is not held while functions of a job run.
//
// States, verbs and their tables are those of QEMU's job.c and qapi/job.json. It depends
// on qmp/qapi.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"hv/qmp/qapi"
)

// ErrCancelled is the error of a job that was cancelled.
var ErrCancelled = errors.New("Operation canceled")

// Spec is what a job is to be.
type Spec struct {
	ID             string
	Type           qapi.JobType
	ManualFinalize bool // wait for Finalize once the work is done
	ManualDismiss  bool // stay until Dismiss once all is done
	Group          *Group
	// Run does the work, on a goroutine of its own. It calls Point often.
	Run func(j *Job) error
	// Prepare may still have the job, and with it its group, fail. Optional, as those below.
	Prepare func() error
	// Commit makes the result final, Abort takes it back.
	Commit, Abort func()
	// Clean comes after either.
	Clean func()
	// Complete has a job end that is ready.
	Complete func() error
	// Cancel tells that the job is to end. It returns whether the job fails by that, and need
	// not have come to a good end; it does without this function.
	Cancel func(force bool) bool
}

// Job is an operation in the background.
type Job struct {
	m           *Manager
	spec        Spec
	group       *Group
	done, total atomic.Int64
	ctx         context.Context // of the work
	stop        context.CancelFunc

	// Guarded by m.mu.
	status     qapi.JobStatus
	started    bool
	returned   bool // the work is over
	result     error
	resumed    sync.Cond
	pauses     int // the work is to pause if it is not 0
	userPaused bool
	cancelled  bool // asked to end
	forced     bool // and to fail
	err        error
}

// Group is jobs that succeed or fail together.
type Group struct {
	jobs     []*Job
	aborting bool
}

// Manager is the jobs of a VM.
type Manager struct {
	post    func(func())
	changed func(id string, s qapi.JobStatus)
	work    sync.WaitGroup

	mu   sync.Mutex
	jobs []*Job // the newest first
}

// NewManager returns one without jobs. post runs a function on the control goroutine,
// later, or not at all once that has ended. changed is told each new state, and must not
// call back.
func NewManager(post func(func()), changed func(id string, s qapi.JobStatus)) *Manager {
	return &Manager{post: post, changed: changed}
}

// wellFormed reports whether users may give an id to a job.
func wellFormed(id string) bool {
	for i, c := range []byte(id) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')) {
			return false
		}
	}
	return id != ""
}

// New makes a job that is not started yet.
func (m *Manager) New(s Spec) (*Job, error) {
	if !wellFormed(s.ID) {
		return nil, fmt.Errorf("Invalid job ID '%s'", s.ID)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(s.ID) != nil {
		return nil, fmt.Errorf("Job ID '%s' already in use", s.ID)
	}
	j := &Job{m: m, spec: s, group: s.Group, status: qapi.JobStatusUndefined}
	if j.group == nil {
		j.group = &Group{}
	}
	j.resumed.L = &m.mu
	j.ctx, j.stop = context.WithCancel(context.Background())
	j.group.jobs = slices.Insert(j.group.jobs, 0, j)
	m.jobs = slices.Insert(m.jobs, 0, j)
	j.to(qapi.JobStatusCreated)
	return j, nil
}

// find returns the job with an id, nil if there is none.
func (m *Manager) find(id string) *Job {
	i := slices.IndexFunc(m.jobs, func(j *Job) bool { return j.spec.ID == id })
	if i < 0 {
		return nil
	}
	return m.jobs[i]
}

// Start begins the work.
func (j *Job) Start() {
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	j.started = true
	j.to(qapi.JobStatusRunning)
	j.m.work.Go(j.run)
}

func (j *Job) run() {
	err := j.Point()
	if err == nil {
		err = j.spec.Run(j)
	}
	j.m.mu.Lock()
	j.returned, j.result = true, err
	j.m.mu.Unlock()
	j.m.post(j.m.reap)
}

// Point is where the work waits while the job is paused. It returns an error if the work
// is to end.
func (j *Job) Point() error {
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	if was := j.status; j.pauses > 0 && !j.forced {
		paused := qapi.JobStatusPaused
		if was == qapi.JobStatusReady {
			paused = qapi.JobStatusStandby
		}
		j.to(paused)
		for j.pauses > 0 && !j.forced {
			j.resumed.Wait()
		}
		j.to(was)
	}
	if j.forced {
		return ErrCancelled
	}
	return nil
}

// Context returns what ends when the work is to end.
func (j *Job) Context() context.Context { return j.ctx }

// Ready tells that the job could be completed.
func (j *Job) Ready() {
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	j.to(qapi.JobStatusReady)
}

// Expect says how much work there is, what is done included.
func (j *Job) Expect(total int64) { j.total.Store(total) }

// Progress tells that some of the work is done.
func (j *Job) Progress(n int64) { j.done.Add(n) }

// Infos describes all jobs, the newest first.
func (m *Manager) Infos() qapi.JobInfoList {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := qapi.JobInfoList{}
	for _, j := range m.jobs {
		info := qapi.JobInfo{Id: j.spec.ID, Type: j.spec.Type, Status: j.status, CurrentProgress: j.done.Load(), TotalProgress: j.total.Load()}
		if j.err != nil {
			text := j.err.Error()
			info.Error = &text
		}
		list = append(list, info)
	}
	return list
}

// Close cancels all jobs, and returns when they have ended and are forgotten.
func (m *Manager) Close() error {
	m.cancelAll()
	m.work.Wait()
	m.reap()
	m.cancelAll()
	return nil
}

func (m *Manager) cancelAll() {
	m.mu.Lock()
	all := slices.Clone(m.jobs)
	m.mu.Unlock()
	for _, j := range all {
		m.cancel(j, true)
	}
}
