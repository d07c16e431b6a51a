package blockqmp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hv/block/account"
	"hv/block/throttle"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// registerLimits adds the commands about limits and accounts.
func registerLimits(t *dispatch.Table, vm VM) {
	dispatch.Register(t, qapi.CmdBlockSetIOThrottle, func(_ context.Context, a qapi.BlockIOThrottle) (qapi.Empty, error) {
		return qapi.Empty{}, setLimits(vm, &a)
	})
	dispatch.Register(t, qapi.CmdBlockLatencyHistogramSet, func(_ context.Context, a qapi.BlockLatencyHistogramSetArgs) (qapi.Empty, error) {
		d, err := findDrive(vm, nil, &a.Id)
		if err != nil {
			return qapi.Empty{}, err
		}
		return qapi.Empty{}, setHistograms(d.Front.Stats, &a)
	})
	dispatch.Register(t, qapi.CmdBlockSetWriteThreshold, func(_ context.Context, a qapi.BlockSetWriteThresholdArgs) (qapi.Empty, error) {
		n := vm.Graph().Find(a.NodeName)
		if n == nil {
			return qapi.Empty{}, fmt.Errorf("Device '%s' not found", a.NodeName)
		}
		n.SetThreshold(a.WriteThreshold)
		return qapi.Empty{}, nil
	})
}

// findDrive returns the drive with an id, or that of the device with an id or path.
func findDrive(vm VM, device, id *string) (*Drive, error) {
	if (device == nil) == (id == nil) {
		return nil, errors.New("Need exactly one of 'device' and 'id'")
	}
	for _, d := range vm.Drives() {
		if device != nil && *device != "" && d.ID == *device || id != nil && d.isOf(*id) {
			return &d, nil
		}
	}
	name := device
	if id != nil {
		name = id
	}
	return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", *name)
}

// isOf reports whether the drive is that of the device with an id, or a path or the end of
// one.
func (d *Drive) isOf(id string) bool {
	if d.Qdev == "" || id == "" {
		return false
	}
	if d.Device == id {
		return true
	}
	for _, path := range []string{d.Qdev, strings.TrimSuffix(d.Qdev, "/virtio-backend")} {
		if path == id || strings.Contains(id, "/") && strings.HasSuffix(path, "/"+id) {
			return true
		}
	}
	return false
}

func setLimits(vm VM, a *qapi.BlockIOThrottle) error {
	d, err := findDrive(vm, a.Device, a.Id)
	switch {
	case err != nil:
		return err
	case d.Node == nil:
		return errors.New("Device has no medium")
	}
	l, err := limitsOf(a)
	if err != nil {
		return err
	}
	m, groups := &d.Front.Limits, vm.ThrottleGroups()
	if !l.Enabled() {
		groups.Leave(m)
		return nil
	}
	if a.Group != nil && m.Group() != nil && m.Group().Name() != *a.Group {
		groups.Leave(m)
	}
	if m.Group() == nil {
		name := a.Group
		if name == nil {
			name = a.Device
		}
		if name == nil {
			name = a.Id
		}
		groups.Join(m, *name)
	}
	m.Group().SetLimits(l)
	return nil
}

// limitsOf returns the limits that the command asks for.
func limitsOf(a *qapi.BlockIOThrottle) (throttle.Limits, error) {
	l := throttle.None()
	for i, r := range []struct {
		average             int64
		burst, burstSeconds *int64
	}{
		throttle.BytesTotal: {a.Bps, a.BpsMax, a.BpsMaxLength},
		throttle.BytesRead:  {a.BpsRd, a.BpsRdMax, a.BpsRdMaxLength},
		throttle.BytesWrite: {a.BpsWr, a.BpsWrMax, a.BpsWrMaxLength},
		throttle.OpsTotal:   {a.Iops, a.IopsMax, a.IopsMaxLength},
		throttle.OpsRead:    {a.IopsRd, a.IopsRdMax, a.IopsRdMaxLength},
		throttle.OpsWrite:   {a.IopsWr, a.IopsWrMax, a.IopsWrMaxLength},
	} {
		// What is negative is beyond all bounds.
		to := &l.Rates[i]
		to.Average = uint64(r.average)
		override(&to.Burst, r.burst)
		override(&to.Seconds, r.burstSeconds)
	}
	override(&l.OpSize, a.IopsSize)
	return l, l.Check()
}

func override(to *uint64, from *int64) {
	if from != nil {
		*to = uint64(*from)
	}
}

// tellLimits adds the limits of a group to what is told of a drive.
func tellLimits(g *throttle.Group, info *qapi.BlockDeviceInfo) {
	if g == nil {
		return
	}
	l, name := g.Limits(), g.Name()
	info.Group = &name
	for i, x := range []struct {
		average             *int64
		burst, burstSeconds **int64
	}{
		throttle.BytesTotal: {&info.Bps, &info.BpsMax, &info.BpsMaxLength},
		throttle.BytesRead:  {&info.BpsRd, &info.BpsRdMax, &info.BpsRdMaxLength},
		throttle.BytesWrite: {&info.BpsWr, &info.BpsWrMax, &info.BpsWrMaxLength},
		throttle.OpsTotal:   {&info.Iops, &info.IopsMax, &info.IopsMaxLength},
		throttle.OpsRead:    {&info.IopsRd, &info.IopsRdMax, &info.IopsRdMaxLength},
		throttle.OpsWrite:   {&info.IopsWr, &info.IopsWrMax, &info.IopsWrMaxLength},
	} {
		r := l.Rates[i]
		*x.average = int64(r.Average)
		if r.Burst > 0 {
			*x.burst, *x.burstSeconds = number(r.Burst), number(r.Seconds)
		}
	}
	if l.OpSize > 0 {
		info.IopsSize = number(l.OpSize)
	}
}

func number(n uint64) *int64 {
	i := int64(n)
	return &i
}

func setHistograms(s *account.Stats, a *qapi.BlockLatencyHistogramSetArgs) error {
	if a.Boundaries == nil && a.BoundariesRead == nil && a.BoundariesWrite == nil && a.BoundariesFlush == nil {
		s.ClearHistograms()
		return nil
	}
	for _, x := range []struct {
		kind account.Kind
		own  *qapi.Uint64List
		name string
	}{{account.Read, a.BoundariesRead, "read"}, {account.Write, a.BoundariesWrite, "write"}, {account.Flush, a.BoundariesFlush, "flush"}} {
		list := x.own
		if list == nil {
			list = a.Boundaries
		}
		if list == nil {
			continue
		}
		if err := s.SetHistogram(x.kind, *list); err != nil {
			return fmt.Errorf("Device '%s' set %s boundaries fail", a.Id, x.name)
		}
	}
	return nil
}
