package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"hv/block/tlscreds"
	"hv/devices/ioloop"
	"hv/hypervisor/config"
)

// object is a user-creatable object, and how many devices use it.
type object struct {
	config.Object
	users int
	creds *tlscreds.Creds // of a tls-creds object
	dump  *packetDump     // of a filter-dump

	// Of an iothread:
	loop        *ioloop.Loop
	least, most atomic.Int64 // goroutines of a queue's pool
}

// objects is a VM's user-creatable objects, in the order in which they came.
type objects struct {
	all []*object
	// identities are those of authz-simple objects, by id. Any goroutine may look.
	identities sync.Map
}

func (o *objects) find(id string) *object {
	i := slices.IndexFunc(o.all, func(x *object) bool { return x.ID == id })
	if i < 0 {
		return nil
	}
	return o.all[i]
}

func (o *objects) add(cfg config.Object) error {
	if o.find(cfg.ID) != nil {
		return fmt.Errorf("attempt to add duplicate property '%s' to object (type 'container')", cfg.ID)
	}
	x := &object{Object: cfg}
	if err := x.start(); err != nil {
		return err
	}
	o.all = append(o.all, x)
	if cfg.Authz != nil {
		o.identities.Store(cfg.ID, cfg.Authz.Identity)
	}
	return nil
}

// close ends what the objects do.
func (o *objects) close() error {
	var errs []error
	for _, x := range o.all {
		errs = append(errs, x.stop())
	}
	o.all = nil
	return errors.Join(errs...)
}

func (o *objects) remove(id string) error {
	x := o.find(id)
	switch {
	case x == nil:
		return fmt.Errorf("object '%s' not found", id)
	case x.users > 0:
		return fmt.Errorf("object '%s' is in use, can not be deleted", id)
	}
	o.identities.Delete(id)
	o.all = slices.DeleteFunc(o.all, func(y *object) bool { return y == x })
	return x.stop()
}

// makeObjects makes the objects of the command line.
func (v *VM) makeObjects(context.Context) error {
	v.undo.later(v.objects.close)
	for _, o := range v.cfg.Objects {
		if o.Dump != nil {
			continue // it waits for its back end
		}
		if err := v.addObject(o); err != nil {
			return err
		}
		if o.ID == v.cfg.Machine.MemoryBackend {
			v.objects.find(o.ID).users++
		}
	}
	return nil
}
