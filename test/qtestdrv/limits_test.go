package qtestdrv

import (
	"fmt"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/qmp/qapi"
)

// shell has a monitor's qemu-io do something with a drive.
func shell(t *testing.T, c *client.Client, drive, command string) {
	t.Helper()
	call(t, c, qapi.CmdHumanMonitorCommand, qapi.HumanMonitorCommandArgs{CommandLine: fmt.Sprintf("qemu-io %s %q", drive, command)})
}

// counted returns the statistics of the drives.
func counted(t *testing.T, c *client.Client) (all []qapi.BlockDeviceStats) {
	t.Helper()
	for _, s := range call(t, c, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{}) {
		all = append(all, s.Stats)
	}
	return all
}

// TestLimitsOnTheClock: what waits for limits goes on when the clock does, by the right
// amounts for each of a group, and has ended when the clock's command has.
func TestLimitsOnTheClock(t *testing.T) {
	d, _, c := withQMP(t, "-drive", "if=none,id=a,driver=null-co,iops_rd=10,group=g", "-drive", "if=none,id=b,driver=null-co,iops_rd=10,group=g",
		"-drive", "if=none,id=free,driver=null-co")
	for range 40 {
		for _, drive := range []string{"a", "b", "free"} {
			shell(t, c, drive, "aio_read 0 512")
		}
	}
	s := counted(t, c)
	if s[0].RdOperations+s[1].RdOperations > 2 || s[2].RdOperations != 40 {
		t.Errorf("at first %d and %d reads, and %d without limits", s[0].RdOperations, s[1].RdOperations, s[2].RdOperations)
	}
	for range 4 {
		d.Step(time.Second)
		now := counted(t, c)
		for i := range 2 {
			if got := now[i].RdOperations - s[i].RdOperations; got != 5 {
				t.Errorf("drive %d: %d reads in a second, want 5", i, got)
			}
		}
		s = now
	}
	// The end of one's limits lets all of its requests through, and no others.
	name := "a"
	call(t, c, qapi.CmdBlockSetIOThrottle, qapi.BlockIOThrottle{Device: &name})
	shell(t, c, "a", "aio_read 0 512")
	if now := counted(t, c); now[0].RdOperations != 41 || now[1].RdOperations != s[1].RdOperations {
		t.Errorf("%d and %d reads", now[0].RdOperations, now[1].RdOperations)
	}
	shell(t, c, "a", "aio_flush") // which drains
	if now := counted(t, c); now[1].RdOperations != 40 {
		t.Errorf("%d reads after a drain", now[1].RdOperations)
	}
}

// TestTimedStats: what was counted in the last seconds, by a clock that a test moves.
func TestTimedStats(t *testing.T) {
	d, _, c := withQMP(t, "-drive", "if=none,id=a,driver=null-co,stats-intervals.0=10,stats-account-invalid=off")
	d.Step(time.Second)
	for range 3 {
		shell(t, c, "a", "aio_write 0 64k")
	}
	shell(t, c, "a", "aio_read -i 0 512")
	d.Step(time.Second)
	s := counted(t, c)[0]
	if len(s.TimedStats) != 1 || s.TimedStats[0].IntervalLength != 10 || s.TimedStats[0].AvgWrLatencyNs != 1e6 || s.TimedStats[0].MaxRdLatencyNs != 0 {
		t.Errorf("%+v", s.TimedStats)
	}
	if s.WrTotalTimeNs != 3e6 || s.InvalidRdOperations != 1 || s.AccountInvalid || !s.AccountFailed || s.IdleTimeNs == nil || *s.IdleTimeNs != 1e9 {
		t.Errorf("%+v", s)
	}
	d.Step(time.Minute)
	if s := counted(t, c)[0].TimedStats[0]; s.AvgWrLatencyNs != 0 || s.AvgWrQueueDepth != 0 {
		t.Errorf("a minute later: %+v", s)
	}
}
