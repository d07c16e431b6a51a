package e2e

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// TestLimits sets limits of drives in all the ways there are, and reads them back.
func TestLimits(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 8)
	v := start(t, bare(t, "spin", "-object", "throttle-group,id=g0,x-iops-total=7", "-blockdev", `{"driver":"null-co","node-name":"n"}`,
		"-drive", "file="+image+",format=raw,if=none,id=d0,throttling.bps-read=1000,throttling.bps-read-max=2000,throttling.bps-read-max-length=3,iops_wr=5,iops_size=4096,group=shared",
		"-device", "virtio-blk-pci,drive=d0,id=disk0", "-device", "virtio-blk-pci,drive=n,id=disk1,account-failed=off")...)
	if s := ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{}); s[1].Stats.AccountFailed || !s[1].Stats.AccountInvalid || !s[0].Stats.AccountFailed {
		t.Errorf("what is accounted: %+v", s)
	}
	limits := func(i int) *qapi.BlockDeviceInfo { return ask(t, v, qapi.CmdQueryBlock, qapi.Empty{})[i].Inserted }
	if x := limits(0); x.BpsRd != 1000 || *x.BpsRdMax != 2000 || *x.BpsRdMaxLength != 3 || x.IopsWr != 5 || *x.IopsSize != 4096 || *x.Group != "shared" || x.BpsMax != nil {
		t.Errorf("%+v", x)
	}
	if x := limits(1); x.Group != nil || x.Bps != 0 {
		t.Errorf("%+v", x)
	}
	none := `"bps":0,"bps_rd":0,"bps_wr":0,"iops":%d,"iops_rd":0,"iops_wr":0}`
	v.works(t, "block_set_io_throttle", fmt.Sprintf(`{"id":"disk1",`+none, 100))
	if x := limits(1); x.Iops != 100 || *x.Group != "disk1" {
		t.Errorf("%+v", x)
	}
	v.works(t, "block_set_io_throttle", fmt.Sprintf(`{"id":"/machine/peripheral/disk1/virtio-backend","group":"shared",`+none, 50))
	if x := limits(0); x.Iops != 50 || x.BpsRd != 0 {
		t.Errorf("one of the group has not what the other was given: %+v", x)
	}
	v.works(t, "block_set_io_throttle", fmt.Sprintf(`{"device":"d0",`+none, 0))
	if limits(0).Group != nil || *limits(1).Group != "shared" {
		t.Error("the wrong one left the group")
	}
	for arg, want := range map[string]string{
		`{"device":"x",` + none: "Device 'x' not found", `{` + none: "Need exactly one of", `{"device":"d0","id":"disk0",` + none: "Need exactly one of",
		`{"device":"d0","iops_max":5,` + none: "bps_max/iops_max cannot be lower than bps/iops",
	} {
		v.failing(t, want, "block_set_io_throttle", fmt.Sprintf(arg, 10))
	}
	// The object.
	v.works(t, "object-add", `{"qom-type":"throttle-group","id":"g1","limits":{"iops-total":1000}}`)
	v.failing(t, "cannot be used at the same time", "object-add", `{"qom-type":"throttle-group","id":"g2","limits":{"iops-total":1000,"iops-read":1}}`)
	v.failing(t, "A group with this name already exists", "object-add", `{"qom-type":"throttle-group","id":"shared"}`)
	v.failing(t, "Property cannot be set after initialization", "qom-set", `{"path":"g1","property":"x-iops-total","value":0}`)
	v.failing(t, "cannot be used at the same time", "qom-set", `{"path":"g1","property":"limits","value":{"iops-read":10}}`)
	v.works(t, "qom-set", `{"path":"g1","property":"limits","value":{"iops-total":0,"iops-read":10}}`)
	var l map[string]int
	var total int
	v.result(t, "qom-get", `{"path":"g1","property":"limits"}`, &l)
	v.result(t, "qom-get", `{"path":"g0","property":"x-iops-total"}`, &total)
	if l["iops-read"] != 10 || l["iops-total"] != 0 || l["iops-read-max-length"] != 1 || len(l) != 19 || total != 7 {
		t.Errorf("%v, %d", l, total)
	}
	v.works(t, "blockdev-add", `{"driver":"throttle","node-name":"t","throttle-group":"g1","file":{"driver":"null-co"}}`)
	v.failing(t, "object 'g1' is in use, can not be deleted", "object-del", `{"id":"g1"}`)
	v.works(t, "blockdev-del", `{"node-name":"t"}`)
	v.works(t, "object-del", `{"id":"g1"}`)
	v.failing(t, "Throttle group 'g1' does not exist", "blockdev-add", `{"driver":"throttle","node-name":"t","throttle-group":"g1","file":"n"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestThrottledGuest: a guest's requests take as long as limits say, of the disk and of a
// node below; but nothing waits for limits when the VM is stopped.
func TestThrottledGuest(t *testing.T) {
	for _, c := range []struct {
		name           string
		options        []string
		command, limit string // to one request a second
	}{
		{
			"disk",
			[]string{"-drive", "if=none,id=d,format=raw,throttling.iops-total=100,file=" + hvrun.Image(t, t.TempDir(), 8), "-device", "virtio-blk-pci,drive=d,packed=on,id=disk"},
			"block_set_io_throttle", `{"id":"disk","bps":0,"bps_rd":0,"bps_wr":0,"iops":1,"iops_rd":0,"iops_wr":0}`,
		},
		{
			"node",
			[]string{"-object", "throttle-group,id=g,limits.iops-total=100", "-blockdev", "driver=throttle,node-name=t,throttle-group=g,file.driver=file,file.filename=" + hvrun.Image(t, t.TempDir(), 8),
				"-device", "virtio-blk-pci,drive=t,packed=on,id=disk"},
			"qom-set", `{"path":"g","property":"limits","value":{"iops-total":1}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := start(t, bare(t, "blk.bench n=60 depth=8 packed=1; blk.bench n=1000000 depth=32 packed=1; poweroff", c.options...)...)
			iops, err := strconv.Atoi(v.Expect(t, `n=60 .* iops=(\d+)\s`)[1])
			if err != nil || iops > 150 {
				t.Errorf("60 reads at 100 a second, 10 of them at once, were %d a second", iops)
			}
			v.works(t, "block-latency-histogram-set", `{"id":"disk","boundaries":[1000000,10000000]}`)
			v.failing(t, "Device 'disk' set write boundaries fail", "block-latency-histogram-set", `{"id":"disk","boundaries-write":[5,5]}`)
			for { // until one of the many has waited for limits
				h := ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{})[0].Stats.RdLatencyHistogram
				if h != nil && h.Bins[len(h.Bins)-1] > 0 {
					break
				}
				runtime.Gosched()
			}
			v.works(t, c.command, c.limit)
			began := time.Now()
			v.do(t, "stop")
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("with 32 requests at one a second, stop took %v", took)
			}
			s := ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{})[0].Stats
			if h := s.RdLatencyHistogram; h == nil || len(h.Bins) != 3 || h.Bins[2] == 0 || s.WrLatencyHistogram == nil {
				t.Errorf("histogram %+v", h)
			}
			v.works(t, "block-latency-histogram-set", `{"id":"disk"}`)
			if s := ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{})[0].Stats; s.RdLatencyHistogram != nil || s.RdOperations < 60 {
				t.Errorf("%+v", s)
			}
			v.do(t, "cont")
			v.do(t, "quit")
			v.ends(t, 0)
		})
	}
}

// TestWriteThreshold has the first write beyond an offset told of.
func TestWriteThreshold(t *testing.T) {
	v := start(t, bare(t, "print=up; blk.write sector=9000 packed=1; blk.write sector=9100 packed=1; idle", "-S", "-blockdev",
		"driver=raw,node-name=n,file.driver=file,file.filename="+hvrun.Image(t, t.TempDir(), 8), "-device", "virtio-blk-pci,drive=n,packed=on")...)
	v.failing(t, "Device 'x' not found", "block-set-write-threshold", `{"node-name":"x","write-threshold":1}`)
	v.works(t, "block-set-write-threshold", `{"node-name":"n","write-threshold":4096000}`)
	threshold := func() int64 {
		list := ask(t, v, qapi.CmdQueryNamedBlockNodes, qapi.QueryNamedBlockNodesArgs{})
		for _, n := range list {
			if *n.NodeName == "n" {
				return n.WriteThreshold
			}
		}
		return -1
	}
	if got := threshold(); got != 4096000 {
		t.Errorf("threshold %d", got)
	}
	v.do(t, "cont")
	var e qapi.BlockWriteThresholdEvent
	if err := e.DecodeQAPI(v.event(t, "BLOCK_WRITE_THRESHOLD").Data); err != nil || e.NodeName != "n" || e.WriteThreshold != 4096000 || e.AmountExceeded < 9001*512-4096000 {
		t.Errorf("%+v, %v", e, err)
	}
	if got := threshold(); got != 0 {
		t.Errorf("threshold %d after the event", got)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestInvalidRequests: requests that the disk refuses are counted.
func TestInvalidRequests(t *testing.T) {
	v := start(t, bare(t, "badring kind=beyond_capacity ms=10; print=done; idle", "-blockdev",
		"driver=raw,node-name=n,file.driver=file,file.filename="+hvrun.Image(t, t.TempDir(), 8), "-device", "virtio-blk-pci,drive=n,packed=on")...)
	v.Expect(t, "guest: done")
	s := ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{})[0].Stats
	if s.InvalidRdOperations+s.InvalidWrOperations == 0 || s.FailedRdOperations+s.FailedWrOperations != 0 {
		t.Errorf("%+v", s)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}
