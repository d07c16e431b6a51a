package vm

import (
	"fmt"
	"time"

	"hv/devices/ioloop"
	"hv/devices/qdev"
	"hv/devices/qom"
	"hv/devices/virtio/spin"
	"hv/hypervisor/config"
	"hv/qmp/qapi"
)

// start starts the thread that an iothread object is.
func (o *object) start() (err error) {
	if o.Thread == nil {
		return nil
	}
	if o.loop, err = ioloop.New(rule(o.Thread)); err == nil {
		o.apply()
	}
	return err
}

// apply tells the thread, and queues that it will serve, what its properties are now.
func (o *object) apply() {
	o.loop.SetRule(rule(o.Thread))
	o.loop.SetBatch(o.Thread.MaxBatch)
	o.least.Store(o.Thread.PoolMin)
	o.most.Store(o.Thread.PoolMax)
}

// stop ends what start started.
func (o *object) stop() error {
	switch {
	case o.loop != nil:
		return o.loop.Close()
	case o.dump != nil:
		return o.dump.close()
	}
	return nil
}

// carriers returns how many requests of a queue on an iothread are carried through the graph at
// once, at least and at most.
func (o *object) carriers() (least, most int) { return int(o.least.Load()), int(o.most.Load()) }

// claimThread returns the iothread with an id for a device's use, nil for none.
func (v *VM) claimThread(in *qdev.Instance, id string) (*object, error) {
	if id == "" {
		return nil, nil
	}
	o := v.objects.find(id)
	switch {
	case o == nil:
		return nil, fmt.Errorf("Device '%s' not found", id)
	case o.Thread == nil:
		return nil, fmt.Errorf("Invalid parameter type for 'iothread', expected: iothread")
	}
	o.users++
	in.Later(func() error { o.users--; return nil })
	return o, nil
}

// IOThreads lists the iothreads. Control goroutine only.
func (v *VM) IOThreads() qapi.IOThreadInfoList {
	list := qapi.IOThreadInfoList{}
	for _, o := range v.objects.all {
		if t := o.Thread; t != nil {
			list = append(list, qapi.IOThreadInfo{Id: o.ID, ThreadId: int64(o.loop.ThreadID()), PollMaxNs: t.PollMax, PollGrow: t.PollGrow,
				PollShrink: t.PollShrink, AioMaxBatch: t.MaxBatch})
		}
	}
	return list
}

// threadProps are the properties of an iothread, which can be changed at any time.
func (o *object) threadProps() []qom.Property {
	props := objectTexts(qdev.Objects(o.Props()))
	for i := range props {
		p := &props[i]
		p.Set = func(value qapi.Value) error {
			n, ok := value.Int64()
			if !ok {
				return fmt.Errorf("Invalid parameter type for '%s', expected: integer", p.Name)
			}
			t := *o.Thread
			if err := qdev.Set(&t, "iothread", p.Name, fmt.Sprint(n)); err != nil {
				return err
			}
			return o.change(t)
		}
	}
	return props
}

// change gives an iothread other properties. Those of thread pools are for queues that start
// from now on.
func (o *object) change(t config.IOThread) error {
	if err := t.Check(); err != nil {
		return err
	}
	*o.Thread = t
	o.apply()
	return nil
}

// rule returns how an iothread learns how long to look for work.
func rule(t *config.IOThread) spin.Rule {
	return spin.Rule{Max: time.Duration(t.PollMax), Grow: t.PollGrow, Shrink: t.PollShrink}
}
