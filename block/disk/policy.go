package disk

import (
	"slices"

	"golang.org/x/sys/unix"

	"hv/block/account"

	"hv/qmp/qapi"
)

// Policy says what becomes of requests that fail. Flushes, discards and zeroes are writes.
type Policy struct{ Read, Write qapi.BlockdevOnError }

// Or returns the policy with other's in place of what is left to it.
func (p Policy) Or(other Policy) Policy {
	for _, x := range []struct{ to, from *qapi.BlockdevOnError }{{&p.Read, &other.Read}, {&p.Write, &other.Write}} {
		if *x.to == "" || *x.to == qapi.BlockdevOnErrorAuto {
			*x.to = *x.from
		}
	}
	return p
}

// DefaultPolicy is that of disks of which it is not said.
var DefaultPolicy = Policy{Read: qapi.BlockdevOnErrorReport, Write: qapi.BlockdevOnErrorEnospc}

// actions is what a policy does; enospc is stop for a medium that is full, else report.
var actions = map[qapi.BlockdevOnError]qapi.BlockErrorAction{
	qapi.BlockdevOnErrorReport: qapi.BlockErrorActionReport, qapi.BlockdevOnErrorEnospc: qapi.BlockErrorActionReport,
	qapi.BlockdevOnErrorIgnore: qapi.BlockErrorActionIgnore, qapi.BlockdevOnErrorStop: qapi.BlockErrorActionStop,
}

// action returns what is done about an error.
func (p Policy) action(read bool, e unix.Errno) qapi.BlockErrorAction {
	on := p.Write
	if read {
		on = p.Read
	}
	if on == qapi.BlockdevOnErrorEnospc && e == unix.ENOSPC {
		return qapi.BlockErrorActionStop
	}
	return actions[on]
}

// stops reports whether there are errors that stop the VM.
func (p Policy) stops() bool {
	return p.Write == qapi.BlockdevOnErrorEnospc || p.Write == qapi.BlockdevOnErrorStop || p.Read == qapi.BlockdevOnErrorStop
}

// Failure is a request that failed, and what became of it.
type Failure struct {
	Read   bool
	Errno  unix.Errno
	Action qapi.BlockErrorAction
}

// Full reports whether the request failed because the medium is full.
func (f *Failure) Full() bool { return f.Errno == unix.ENOSPC }

// fail decides about a request that failed. What stops the VM is noted before it is told.
func (d *Disk) fail(read bool, e unix.Errno) qapi.BlockErrorAction {
	f := Failure{read, e, d.policy.action(read, e)}
	if f.Action == qapi.BlockErrorActionStop {
		to := qapi.BlockDeviceIoStatusFailed
		if f.Full() {
			to = qapi.BlockDeviceIoStatusNospace
		}
		d.mu.Lock()
		if d.status == qapi.BlockDeviceIoStatusOk {
			d.status = to
		}
		d.mu.Unlock()
	}
	if d.failed != nil {
		d.failed(f)
	}
	return f.Action
}

// Status returns whether there were errors that stopped the VM; false if none does.
func (d *Disk) Status() (qapi.BlockDeviceIoStatus, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status, d.policy.stops()
}

// ResetStatus forgets errors that stopped the VM.
func (d *Disk) ResetStatus() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = qapi.BlockDeviceIoStatusOk
}

// Retry has the requests that wait since they failed be made again, when the VM goes on.
func (d *Disk) Retry() {
	for _, q := range d.all() {
		q.retry()
	}
}

// refused does what the disk's policy says about a request that failed. It returns the
// result that it completes with, or false if it waits.
func (q *Queue) refused(tag uint32, res int32) (int32, bool) {
	r := &q.requests[tag]
	switch q.disk.fail(kindOf(r.op) == account.Read, unix.Errno(-res)) {
	case qapi.BlockErrorActionIgnore:
		return int32(r.n), true
	case qapi.BlockErrorActionStop:
		q.mu.Lock()
		q.parked = append(q.parked, tag)
		q.mu.Unlock()
		return 0, false
	}
	return res, true
}

// Parked returns how many requests wait since they failed. They are under way for who made
// them, until Retry, or until the queue is closed and they are dropped.
func (q *Queue) Parked() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.parked)
}

// retry has requests that failed be made again by the queue's thread.
func (q *Queue) retry() {
	q.mu.Lock()
	again := len(q.parked) > 0
	if again {
		q.again, q.stale = true, true
	}
	q.mu.Unlock()
	if again {
		q.Wake()
	}
}

// Drop gives up a request that is parked, and reports whether it was. The queue's thread
// stands still.
func (q *Queue) Drop(tag uint32) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.parked, tag)
	if i >= 0 {
		q.parked = slices.Delete(q.parked, i, i+1)
	}
	return i >= 0
}
