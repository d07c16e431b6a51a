package e2e

import (
	"testing"

	"hv/qmp/qapi"
)

// TestPreconfig: until x-exit-preconfig only some commands are there, and then the machine
// runs.
func TestPreconfig(t *testing.T) {
	for _, paused := range []bool{true, false} {
		args := bare(t, "sleep 1000", "-preconfig", "-smp", "1,maxcpus=2")
		want := qapi.RunStateRunning
		if paused {
			args, want = append(args, "-S"), qapi.RunStatePrelaunch
		}
		v := start(t, args...)
		v.failing(t, "permitted only after machine initialization has completed", "query-cpus-fast", "{}")
		v.failing(t, "permitted only after machine initialization has completed", "cont", "{}")
		for _, c := range []string{"query-hotpluggable-cpus", "query-memdev", "query-name", "query-status"} {
			v.works(t, c, "{}")
		}
		v.works(t, "qom-list", `{"path": "/machine/unattached"}`)
		v.works(t, "x-exit-preconfig", "{}")
		if s := v.status(t); s != want {
			t.Errorf("%s after x-exit-preconfig", s)
		}
		v.failing(t, "permitted only before machine initialization", "x-exit-preconfig", "{}")
		v.works(t, "query-cpus-fast", "{}")
		v.do(t, "quit")
		v.ends(t, 0)
	}
}

// TestPreconfigEnds without a machine, and when there can be none.
func TestPreconfigEnds(t *testing.T) {
	v := start(t, bare(t, "", "-preconfig")...)
	v.do(t, "quit")
	v.ends(t, 0)
	v = start(t, bare(t, "", "-preconfig", "-device", "virtio-rng-pci,rng=missing")...)
	v.failing(t, "can't find value 'missing'", "x-exit-preconfig", "{}")
	v.ends(t, 1)
}
