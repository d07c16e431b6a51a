package config

import (
	"strings"
	"testing"
	"time"

	"hv/block/throttle"
)

// TestDriveLimits reads limits and what is counted, under all names they have.
func TestDriveLimits(t *testing.T) {
	for arg, check := range map[string]func(d *Drive) bool{
		"throttling.bps-total=0x10,throttling.bps-total-max=32,throttling.bps-total-max-length=4,throttling.group=g": func(d *Drive) bool {
			return d.Limits.Rates[throttle.BytesTotal] == throttle.Rate{Average: 16, Burst: 32, Seconds: 4} && d.Group == "g"
		},
		"iops_rd=5,iops_rd_max=7,iops_size=512,group=h": func(d *Drive) bool {
			return d.Limits.Rates[throttle.OpsRead] == throttle.Rate{Average: 5, Burst: 7, Seconds: 1} && d.Limits.OpSize == 512 && d.Group == "h"
		},
		"stats-intervals.0=60,stats-intervals.1=3600,stats-account-failed=off,copy-on-read=on": func(d *Drive) bool {
			return len(d.Stats.Intervals) == 2 && d.Stats.Intervals[1] == time.Hour && d.Stats.SkipFailed && !d.Stats.SkipInvalid && d.CopyOnRead
		},
	} {
		ps, err := parsePairs(arg, "")
		var d Drive
		if err == nil {
			err = d.takeAccounts(&ps)
		}
		if err != nil || len(ps) > 0 || !check(&d) {
			t.Errorf("%s: %+v, %v, left %v", arg, d, err, ps)
		}
	}
	for arg, want := range map[string]string{
		"bps=1,throttling.bps-total=1":     "'throttling.bps-total' and its alias 'bps' can't be used at the same time",
		"bps=x":                            "Parameter 'throttling.bps-total' expects a number",
		"bps=-1":                           "must be within",
		"bps=1,bps_rd=1":                   "cannot be used at the same time",
		"throttling.bps-read-max-length=0": "burst length cannot be 0",
		"stats-intervals.0=0":              "Invalid interval length: 0",
		"stats-intervals.1=5":              "Invalid option stats-intervals.1",
		"copy-on-read=perhaps":             "'copy-on-read' expects 'on' or 'off'",
	} {
		ps, err := parsePairs(arg, "")
		if err == nil {
			err = new(Drive).takeAccounts(&ps)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", arg, err, want)
		}
	}
}

func TestGroupLimits(t *testing.T) {
	for arg, want := range map[string]string{
		"x-iops-total=5,limits.bps-read=7": "", "x-iops-total=-1": "Property values cannot be negative",
		"limits.iops-total=1,x-iops-read=1": "cannot be used at the same time", "x-iops-total-max-length=4294967296": "in the range",
	} {
		ps, err := parsePairs(arg, "")
		l := throttle.None()
		if err == nil {
			err = takeLimits(&ps, &l)
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", arg, err, want)
		}
		if want == "" && (l.Get("iops-total") != 5 || l.Get("bps-read") != 7) {
			t.Errorf("%s: %+v", arg, l)
		}
	}
}
