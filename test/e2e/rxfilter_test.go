package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"hv/test/hvrun"
	"hv/test/netlab"
)

// nicMAC is the address that NICs begin with.
const nicMAC = "52:54:00:00:00:01"

// onMacvtap starts hv with a NIC called nic0 on a macvtap of a lab, NAMEtap.
func onMacvtap(t *testing.T, name, commands string) (*vm, *netlab.Lab) {
	t.Helper()
	lab := netlab.New(t, name)
	files := lab.Macvtap(t, name+"tap", "bridge", nicMAC, 1)
	return startWith(t, files, bare(t, commands, "-netdev", "tap,id=n0,fd=3", "-device", "virtio-net-pci,id=nic0,netdev=n0,mac="+nicMAC)...), lab
}

// rxFilter is what of query-rx-filter changes here.
type rxFilter struct {
	MainMAC   string `json:"main-mac"`
	VLANTable []int  `json:"vlan-table"`
}

func (v *vm) rxFilter(t *testing.T) rxFilter {
	t.Helper()
	var all []rxFilter
	if err := v.c.Execute(t.Context(), "query-rx-filter", map[string]string{"name": "nic0"}, &all); err != nil || len(all) != 1 {
		t.Fatalf("query-rx-filter: %+v, %v", all, err)
	}
	return all[0]
}

// stormEnd is what the guest prints after a storm: the last state, and how long its
// commands took.
const stormEnd = `net\.storm dev=0 rounds=(\d+) commands=(\d+) refused=0 mac=(\S+) vlan=(\d+) p50_us=(\d+) p99_us=(\d+) max_us=(\d+)\s`

// stormed waits for the end of a storm and returns the state that it left.
func (v *vm) stormed(t *testing.T) rxFilter {
	t.Helper()
	m := v.Expect(t, stormEnd)
	t.Logf("%s commands: %s us in the middle, %s us at the 99th percentile, %s us at most", m[2], m[5], m[6], m[7])
	vlan, err := strconv.Atoi(m[4])
	if err != nil {
		t.Fatal(err)
	}
	return rxFilter{m[3], []int{vlan}}
}

func same(a, b rxFilter) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// TestFilterStorm has a guest change its MAC address and VLANs as fast as it can, and a
// client query at its own pace: it is told once for each query, and what it has seen
// last is what the guest did last.
func TestFilterStorm(t *testing.T) {
	ms := hvrun.Count(1000, 60_000)
	v, _ := onMacvtap(t, "hvstorm", fmt.Sprintf("net.ctrl promisc=off; net.storm ms=%d; idle", ms))
	over := make(chan rxFilter, 1)
	go func() {
		if m := v.Expect(t, stormEnd); m != nil {
			over <- v.stormed(t)
		}
	}()
	pace := time.NewTicker(3 * time.Millisecond)
	defer pace.Stop()
	queries, last, limit := 0, rxFilter{}, time.After(hvrun.Patience)
	for final := (*rxFilter)(nil); final == nil || !same(last, *final); {
		select {
		case end := <-over:
			final = &end
		case e := <-v.c.Events():
			if e.Name != "NIC_RX_FILTER_CHANGED" {
				continue
			}
			<-pace.C
			if n := len(v.c.Events()); n > 0 {
				t.Fatalf("%d more events without a query", n)
			}
			last = v.rxFilter(t)
			queries++
		case <-limit:
			t.Fatalf("after %d queries %+v, while the guest ended with %+v", queries, last, final)
		}
	}
	t.Logf("%d queries", queries)
	v.do(t, "quit")
	v.ends(t, 0)
}
