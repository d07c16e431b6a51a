package jobs

import (
	"errors"
	"fmt"

	"hv/qmp/qapi"
)

// apply runs f for a job, with the mutex held, if the verb may come.
func (m *Manager) apply(id string, v qapi.JobVerb, f func(j *Job) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.find(id)
	if j == nil {
		return errors.New("Job not found")
	}
	if v == qapi.JobVerbResume && !j.userPaused {
		return errors.New("Can't resume a job that was not paused")
	}
	if err := j.may(v); err != nil {
		return err
	}
	return f(j)
}

// Pause has a job pause as soon as it can.
func (m *Manager) Pause(id string) error {
	return m.apply(id, qapi.JobVerbPause, func(j *Job) error {
		if j.userPaused {
			return errors.New("Job is already paused")
		}
		j.userPaused = true
		j.pauses++
		return nil
	})
}

// Resume has a paused job go on.
func (m *Manager) Resume(id string) error {
	return m.apply(id, qapi.JobVerbResume, func(j *Job) error {
		j.resume()
		return nil
	})
}

// resume takes back what Pause did.
func (j *Job) resume() {
	if j.userPaused {
		j.userPaused = false
		j.pauses--
		j.resumed.Broadcast()
	}
}

// Complete has a job end that is ready.
func (m *Manager) Complete(id string) error {
	var job *Job
	err := m.apply(id, qapi.JobVerbComplete, func(j *Job) error {
		if j.cancelled || j.spec.Complete == nil {
			return fmt.Errorf("The active block job '%s' cannot be completed", id)
		}
		job = j
		return nil
	})
	if err != nil {
		return err
	}
	return job.spec.Complete()
}

// Cancel has a job end; with force not even a job that is ready comes to a good end.
func (m *Manager) Cancel(id string, force bool) error {
	var job *Job
	err := m.apply(id, qapi.JobVerbCancel, func(j *Job) error {
		job = j
		return nil
	})
	if err == nil {
		m.cancel(job, force)
	}
	return err
}

// Finalize has jobs of a group end for good that wait for that.
func (m *Manager) Finalize(id string) error {
	var job *Job
	err := m.apply(id, qapi.JobVerbFinalize, func(j *Job) error {
		job = j
		return nil
	})
	if err == nil {
		m.finalize(job.group)
	}
	return err
}

// Dismiss forgets a job that has ended.
func (m *Manager) Dismiss(id string) error {
	return m.apply(id, qapi.JobVerbDismiss, func(j *Job) error {
		m.forget(j)
		return nil
	})
}
