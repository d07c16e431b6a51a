package jobs

import (
	"slices"

	"hv/qmp/qapi"
)

// reap goes on with the jobs whose work is over.
func (m *Manager) reap() {
	m.mu.Lock()
	var ended []*Job
	for _, j := range m.jobs {
		if j.returned && !j.over() {
			ended = append(ended, j)
		}
	}
	m.mu.Unlock()
	for _, j := range slices.Backward(ended) {
		m.ended(j, j.result)
	}
}

// ended goes on with a job whose work is over.
func (m *Manager) ended(j *Job, err error) {
	m.mu.Lock()
	j.fail(err)
	if j.err != nil {
		m.mu.Unlock()
		m.abort(j.group, j)
		return
	}
	j.to(qapi.JobStatusWaiting)
	wait := slices.ContainsFunc(j.group.jobs, func(x *Job) bool { return !x.over() })
	manual := false
	if !wait {
		for _, x := range j.group.jobs {
			x.to(qapi.JobStatusPending)
			manual = manual || x.spec.ManualFinalize
		}
	}
	m.mu.Unlock()
	if !wait && !manual {
		m.finalize(j.group)
	}
}

// fail notes why a job fails, if it does.
func (j *Job) fail(err error) {
	if err == nil && j.forced {
		err = ErrCancelled
	}
	if j.err == nil {
		j.err = err
	}
	if j.err != nil {
		j.to(qapi.JobStatusAborting)
	}
}

// abort has all jobs of a group fail because one did. The last that ends its work ends
// them all.
func (m *Manager) abort(g *Group, because *Job) {
	if !g.aborting {
		g.aborting = true
		for _, j := range slices.Clone(g.jobs) {
			if j != because {
				m.ask(j, true)
			}
		}
	}
	m.mu.Lock()
	for _, j := range g.jobs {
		if !j.over() && !j.started {
			j.fail(nil)
		}
	}
	wait := slices.ContainsFunc(g.jobs, func(x *Job) bool { return !x.over() })
	m.mu.Unlock()
	if !wait {
		m.conclude(g)
	}
}

// finalize ends the jobs of a group whose work is done.
func (m *Manager) finalize(g *Group) {
	for _, j := range slices.Clone(g.jobs) {
		if j.spec.Prepare == nil {
			continue
		}
		if err := j.spec.Prepare(); err != nil {
			m.mu.Lock()
			j.fail(err)
			m.mu.Unlock()
			m.abort(g, j)
			return
		}
	}
	m.conclude(g)
}

// conclude ends all jobs of a group as they are.
func (m *Manager) conclude(g *Group) {
	for _, j := range slices.Clone(g.jobs) {
		m.mu.Lock()
		j.fail(nil)
		end := j.spec.Commit
		if j.err != nil {
			end = j.spec.Abort
		}
		m.mu.Unlock()
		for _, f := range []func(){end, j.spec.Clean} {
			if f != nil {
				f()
			}
		}
		j.stop()
		m.mu.Lock()
		g.jobs = slices.DeleteFunc(g.jobs, func(x *Job) bool { return x == j })
		j.to(qapi.JobStatusConcluded)
		if !j.spec.ManualDismiss || !j.started {
			m.forget(j)
		}
		m.mu.Unlock()
	}
}

// forget takes a job off the list.
func (m *Manager) forget(j *Job) {
	j.to(qapi.JobStatusNull)
	m.jobs = slices.DeleteFunc(m.jobs, func(x *Job) bool { return x == j })
}

// ask has a job know that it is to end.
func (m *Manager) ask(j *Job, force bool) {
	if j.spec.Cancel != nil {
		force = j.spec.Cancel(force)
	} else {
		force = true
	}
	m.mu.Lock()
	j.resume()
	if force || !j.returned {
		j.cancelled = true
		j.forced = j.forced || force
	}
	j.resumed.Broadcast()
	m.mu.Unlock()
	if force {
		j.stop()
	}
}

// cancel has a job end.
func (m *Manager) cancel(j *Job, force bool) {
	m.mu.Lock()
	status := j.status
	m.mu.Unlock()
	if status == qapi.JobStatusConcluded {
		m.mu.Lock()
		m.forget(j)
		m.mu.Unlock()
		return
	}
	m.ask(j, force)
	m.mu.Lock()
	waits, started := j.over(), j.started
	forced := j.forced
	m.mu.Unlock()
	switch {
	case !started:
		m.ended(j, nil)
	case waits && forced:
		m.mu.Lock()
		j.fail(nil)
		m.mu.Unlock()
		m.abort(j.group, j)
	}
}
