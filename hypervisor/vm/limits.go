package vm

import (
	"errors"
	"fmt"
	"time"

	"hv/block/disk"
	"hv/block/graph"
	"hv/block/throttle"
	"hv/devices/qdev"
	"hv/devices/qom"
	"hv/hypervisor/config"
	"hv/hypervisor/vclock"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// throttleGroup is the type of the objects that have limits of block nodes and disks.
const throttleGroup = "throttle-group"

// qtestLatency is how long requests take on qtest's clock, as far as statistics know.
const qtestLatency = time.Millisecond

// ThrottleGroups returns the groups of limits. Control goroutine only.
func (v *VM) ThrottleGroups() *throttle.Groups { return &v.blocks.groups }

// settling is how long a machine that qtest drives waits for requests that go on when its
// clock does.
const settling = 100 * time.Millisecond

// settle waits for requests that need no more time of the machine's: in a machine that
// qtest drives, they have ended when a command has.
func (v *VM) settle() {
	if v.clock != nil {
		v.shell.Settle(v.blocks.groups.Waiting, settling)
	}
}

// settledClock is the clock of a machine that qtest drives.
type settledClock struct {
	*vclock.Clock
	settle func()
}

// Advance moves the time, and waits for what went on then.
func (c settledClock) Advance(to time.Duration) {
	c.Clock.Advance(to)
	c.settle()
}

// startBlocks has the block layer use the machine's clock, and tell what happens.
func (v *VM) startBlocks() {
	if v.clock != nil {
		v.blocks.groups.Clock = v.clock
		v.blocks.groups.OnWait = v.shell.Changed
	}
	v.blocks.graph.OnThreshold = func(n *graph.Node, threshold, exceeded uint64) {
		events.Emit(v.events, qapi.EventBlockWriteThreshold, qapi.BlockWriteThresholdEvent{
			NodeName: n.Name(), AmountExceeded: exceeded, WriteThreshold: threshold,
		})
	}
}

// newFront returns what a drive has whoever uses it.
func (v *VM) newFront(c *config.Drive) *disk.Front {
	stats := c.Stats
	if v.clock != nil {
		stats.Clock, stats.Latency = v.clock, qtestLatency
	}
	f := disk.NewFront(stats)
	if c.Limits.Enabled() {
		group := c.Group
		if group == "" {
			group = c.ID
		}
		v.blocks.groups.Join(&f.Limits, group).SetLimits(c.Limits)
	}
	return f
}

// accounts has what a device says of its accounts hold.
func (d *drive) accounts(invalid, failed qdev.OnOffAuto) {
	skipInvalid, skipFailed := d.front.Stats.Skips()
	for _, x := range []struct {
		said qdev.OnOffAuto
		skip *bool
	}{{invalid, &skipInvalid}, {failed, &skipFailed}} {
		if x.said == "on" || x.said == "off" {
			*x.skip = x.said == "off"
		}
	}
	d.front.Stats.SetSkips(skipInvalid, skipFailed)
}

// addObject makes an object.
func (v *VM) addObject(o config.Object) error {
	switch {
	case v.objects.find(o.ID) != nil:
		return v.objects.add(o)
	case o.TLS != nil:
		return v.addCredentials(o)
	case o.Dump != nil:
		return v.addDump(o)
	case o.Limits == nil:
		return v.objects.add(o)
	}
	if _, err := v.blocks.groups.Add(o.ID, *o.Limits); err != nil {
		return err
	}
	return v.objects.add(o)
}

// removeObject removes an object.
func (v *VM) removeObject(id string) error {
	if o := v.objects.find(id); o != nil && o.Limits != nil && !v.blocks.groups.Remove(v.blocks.groups.Find(id)) {
		return fmt.Errorf("object '%s' is in use, can not be deleted", id)
	}
	if o := v.objects.find(id); o != nil && o.dump != nil {
		v.detachDump(o.dump)
	}
	return v.objects.remove(id)
}

// throttleProps are the properties of a throttle-group without their values.
func throttleProps() []qom.Property {
	props := []qom.Property{{Name: "limits", Type: "ThrottleLimits"}}
	for _, name := range throttle.Parameters() {
		props = append(props, qom.Property{Name: "x-" + name, Type: "int"})
	}
	return props
}

// groupProps are the properties of a throttle-group.
func (v *VM) groupProps(id string) []qom.Property {
	g := v.blocks.groups.Find(id)
	l := g.Limits()
	props := throttleProps()
	var members []qom.Member
	for i, name := range throttle.Parameters() {
		value := qom.Uint(l.Get(name))
		members = append(members, qom.Member{Name: name, Value: value})
		props[i+1].Get = value
		props[i+1].Set = func(qapi.Value) error { return errors.New("Property cannot be set after initialization") }
	}
	props[0].Get = qom.Struct(members...)
	props[0].Set = func(value qapi.Value) error {
		var q qapi.ThrottleLimits
		if err := q.DecodeQAPI(value); err != nil {
			return err
		}
		if err := l.Change(&q); err != nil {
			return err
		}
		g.SetLimits(l)
		return nil
	}
	return props
}
