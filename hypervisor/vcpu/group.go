package vcpu

import (
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"hv/hypervisor/kvm"
)

// Group is the vCPUs of a VM, and its clock: while they are paused the guest's
// kvmclock stands still. Its methods are called by one goroutine at a time, but
// for RequestPause and VCPUs.
type Group struct {
	vm     *kvm.VM
	paused bool
	clock  uint64 // kvmclock while paused, in nanoseconds

	mu   sync.Mutex
	cpus []*VCPU
	// parked are vCPUs that were taken out: KVM cannot make another of the same APIC ID.
	parked []*VCPU
}

// NewGroup returns a group without vCPUs, paused.
func NewGroup(vm *kvm.VM) (*Group, error) {
	g := &Group{vm: vm, paused: true}
	return g, g.stopClock()
}

// Add starts c and makes it part of the group.
func (g *Group) Add(c *VCPU) {
	c.Start()
	if !g.paused {
		c.Resume()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cpus = append(g.cpus[:len(g.cpus):len(g.cpus)], c)
}

// Plug starts c in the state that e says and makes it part of the group, whether that
// runs or not. An error leaves c as it was before.
func (g *Group) Plug(c *VCPU, e Entry) error {
	if !c.started {
		c.Start()
	}
	if err := c.Reset(e); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cpus = append(g.cpus[:len(g.cpus):len(g.cpus)], c)
	g.parked = slices.DeleteFunc(g.parked, func(p *VCPU) bool { return p == c })
	if !g.paused {
		c.Resume()
	}
	return nil
}

// Unplug takes c out of the group. It stands still from now on, until it is plugged in again
// or the group is closed.
func (g *Group) Unplug(c *VCPU) {
	c.RequestPause()
	c.WaitPaused()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cpus = slices.DeleteFunc(slices.Clone(g.cpus), func(o *VCPU) bool { return o == c })
	g.parked = append(g.parked, c)
}

// Parked returns the vCPU that was taken out of the index's place, nil if there is none.
func (g *Group) Parked(index int) *VCPU {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.parked {
		if c.Index() == index {
			return c
		}
	}
	return nil
}

// VCPUs returns the vCPUs in the order they were added.
func (g *Group) VCPUs() []*VCPU {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cpus
}

// RequestPause asks all vCPUs to stand still and does not wait. A device model
// that was told to stop, reset or power off the machine calls it, so that no
// guest instruction follows.
func (g *Group) RequestPause() {
	for _, c := range g.VCPUs() {
		c.RequestPause()
	}
}

// Hold waits until all vCPUs stand still, for a moment in which the guest's clock goes on.
// Resume ends it.
func (g *Group) Hold() {
	g.RequestPause()
	for _, c := range g.VCPUs() {
		c.WaitPaused()
	}
}

// Pause waits until all vCPUs stand still and stops the guest's clock.
func (g *Group) Pause() error {
	g.Hold()
	if g.paused {
		return nil
	}
	g.paused = true
	return g.stopClock()
}

func (g *Group) stopClock() error {
	data, err := g.vm.Clock()
	if err != nil {
		return err
	}
	g.clock = data.Clock
	return nil
}

// Resume sets the guest's clock to where it stopped and lets all vCPUs run. If
// it fails the vCPUs stay paused.
func (g *Group) Resume() error {
	if g.paused {
		if err := g.vm.SetClock(g.clock); err != nil {
			return err
		}
		for _, c := range g.VCPUs() {
			if err := c.markStop(); err != nil {
				return err
			}
		}
		g.paused = false
	}
	for _, c := range g.VCPUs() {
		c.Resume()
	}
	return nil
}

// markStop tells the guest's watchdogs that it was stopped.
func (c *VCPU) markStop() error {
	var err error
	if e := c.Do(func(kv *kvm.VCPU) { err = kv.KVMClockCtrl() }); e != nil {
		return e
	}
	if errors.Is(err, unix.EINVAL) { // the guest does not use the clock
		return nil
	}
	return err
}

// Reset pauses the vCPUs and resets each to the state that entry returns for it.
// They stay paused.
func (g *Group) Reset(entry func(*VCPU) Entry) error {
	if err := g.Pause(); err != nil {
		return err
	}
	for _, c := range g.VCPUs() {
		if err := c.Reset(entry(c)); err != nil {
			return err
		}
	}
	return nil
}

// Close stops all vCPUs and gives them back. The group is empty then.
func (g *Group) Close() error {
	g.RequestPause()
	g.mu.Lock()
	all := slices.Concat(g.cpus, g.parked)
	g.cpus, g.parked = nil, nil
	g.mu.Unlock()
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
