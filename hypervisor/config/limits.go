package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"hv/block/throttle"
	"hv/devices/qdev"
)

// driveLimits are the keys of -drive for limits, by the names that they had before.
var driveLimits = map[string]string{
	"iops": "iops-total", "iops_rd": "iops-read", "iops_wr": "iops-write", "bps": "bps-total", "bps_rd": "bps-read", "bps_wr": "bps-write",
	"iops_max": "iops-total-max", "iops_rd_max": "iops-read-max", "iops_wr_max": "iops-write-max",
	"bps_max": "bps-total-max", "bps_rd_max": "bps-read-max", "bps_wr_max": "bps-write-max",
	"iops_size": "iops-size", "group": "group",
}

// limitKeys are the keys of -drive that are limits.
func limitKeys() []string {
	var keys []string
	for _, name := range throttle.Parameters() {
		keys = append(keys, "throttling."+name)
	}
	return keys
}

// takeAccounts takes the keys of a drive's limits and statistics.
func (d *Drive) takeAccounts(ps *pairs) error {
	for i := range *ps {
		kv := &(*ps)[i]
		name, ok := driveLimits[kv.key]
		if !ok {
			continue
		}
		if _, both := ps.get("throttling." + name); both {
			return fmt.Errorf("'throttling.%s' and its alias '%s' can't be used at the same time", name, kv.key)
		}
		kv.key = "throttling." + name
	}
	d.Limits = throttle.None()
	d.Group, _ = ps.take("throttling.group")
	for _, name := range throttle.Parameters() {
		if err := takeLimit(ps, "throttling."+name, name, &d.Limits); err != nil {
			return err
		}
	}
	if err := d.Limits.Check(); err != nil {
		return err
	}
	return d.takeStats(ps)
}

func (d *Drive) takeStats(ps *pairs) error {
	for _, x := range []struct {
		key string
		to  *bool
		is  bool
	}{
		{"copy-on-read", &d.CopyOnRead, true}, {"stats-account-invalid", &d.Stats.SkipInvalid, false},
		{"stats-account-failed", &d.Stats.SkipFailed, false},
	} {
		if v, ok := ps.take(x.key); ok {
			on, err := qdev.ParseBool(v)
			if err != nil {
				return fmt.Errorf("Parameter '%s' expects 'on' or 'off'", x.key)
			}
			*x.to = on == x.is
		}
	}
	for i := 0; ; i++ {
		v, ok := ps.take("stats-intervals." + strconv.Itoa(i))
		if !ok {
			break
		}
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n == 0 {
			return fmt.Errorf("Invalid interval length: %s", v)
		}
		d.Stats.Intervals = append(d.Stats.Intervals, time.Duration(n)*time.Second)
	}
	for _, kv := range *ps {
		if strings.HasPrefix(kv.key, "stats-intervals.") {
			return fmt.Errorf("Invalid option %s", kv.key)
		}
	}
	return nil
}

// takeLimits takes the keys of a throttle-group's limits.
func takeLimits(ps *pairs, l *throttle.Limits) error {
	for _, prefix := range []string{"x-", "limits."} {
		for _, name := range throttle.Parameters() {
			if err := takeLimit(ps, prefix+name, name, l); err != nil {
				return err
			}
		}
	}
	return l.Check()
}

// takeLimit takes a key, if it is there, for a limit.
func takeLimit(ps *pairs, key, name string, l *throttle.Limits) error {
	v, ok := ps.take(key)
	if !ok {
		return nil
	}
	n, err := strconv.ParseUint(v, 0, 64)
	if signed, bad := strconv.ParseInt(v, 0, 64); bad == nil && signed < 0 {
		if strings.HasPrefix(key, "x-") {
			return errors.New("Property values cannot be negative")
		}
		n, err = math.MaxUint64, nil
	}
	if err != nil {
		return fmt.Errorf("Parameter '%s' expects a number", key)
	}
	return l.Set(name, n)
}
