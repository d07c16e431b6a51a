package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// filterKey is what clients are told of once.
func filterKey(path string) events.Key {
	return events.Key{Event: qapi.EventNicRxFilterChanged.Name, Source: path}
}

// onceRig is a rig with query-rx-filter, which arms the NIC that it names and calls
// during before it returns.
func onceRig(t *testing.T, during func(r *rig)) *rig {
	var r *rig
	r = newRig(t, func(c *Config) {
		dispatch.Register(c.Table, qapi.CmdQueryRxFilter, func(ctx context.Context, a qapi.QueryRxFilterArgs) (qapi.RxFilterInfoList, error) {
			Arm(ctx, filterKey(*a.Name))
			during(r)
			return nil, nil
		})
	})
	return r
}

func (r *rig) filterChanged(path string) {
	events.Emit(r.events, qapi.EventNicRxFilterChanged, qapi.NicRxFilterChangedEvent{Path: path})
}

// fence has a client's command answered, so that the test sees what came before.
func (p *peer) fence(id int) {
	p.t.Helper()
	p.send(fmt.Sprintf(`{"execute": "query-status", "id": %d}`, id))
	p.expect(fmt.Sprintf(`"id": %d}`, id))
}

// TestOncePerClient tells each client once of each NIC, and again when that client has
// asked.
func TestOncePerClient(t *testing.T) {
	r := onceRig(t, func(*rig) {})
	path := r.listen(Monitor{})
	a, b := negotiated(t, path, ""), negotiated(t, path, "")
	a.fence(1)
	b.fence(1)
	for range 3 {
		r.filterChanged("/n0")
	}
	r.filterChanged("/n1")
	a.expect("/n0", "/n1")
	a.fence(2)
	b.expect("/n0", "/n1")
	a.send(`{"execute": "query-rx-filter", "arguments": {"name": "/n0"}, "id": 3}`)
	a.expect(`{"return": [], "id": 3}`)
	a.fence(4)
	r.filterChanged("/n1")
	r.filterChanged("/n0")
	a.expect("/n0")
	a.fence(5)
	b.fence(5)
	late := negotiated(t, path, "")
	late.fence(1)
	r.filterChanged("/n1")
	late.expect("/n1")
	a.fence(6)
	r.events.Forget(filterKey("/n1"))
	r.filterChanged("/n1")
	for _, p := range []*peer{a, b, late} {
		p.expect("/n1")
		p.fence(7)
	}
}

// TestOnceWhileAsking lets things change while a client is being answered: it is told
// after the reply, once, and of no more until it asks again.
func TestOnceWhileAsking(t *testing.T) {
	for _, first := range []bool{false, true} {
		r := onceRig(t, func(r *rig) {
			r.filterChanged("/n0")
			r.filterChanged("/n0")
		})
		path := r.listen(Monitor{})
		other, p := negotiated(t, path, ""), negotiated(t, path, "")
		other.fence(1)
		p.fence(1)
		if first {
			r.filterChanged("/n0")
			p.expect("NIC_RX_FILTER_CHANGED")
			other.expect("NIC_RX_FILTER_CHANGED")
		}
		p.send(`{"execute": "query-rx-filter", "arguments": {"name": "/n0"}, "id": 2}`)
		p.expect(`"id": 2}`, "NIC_RX_FILTER_CHANGED")
		r.filterChanged("/n0")
		p.fence(3)
		if !first {
			other.expect("NIC_RX_FILTER_CHANGED")
		}
		other.fence(3)
	}
}

// TestOnceStorm changes things as fast as it can while clients ask: no client gets more events
// than it has asked plus one, and each hears of the last change.
func TestOnceStorm(t *testing.T) {
	const rounds, changes = 200, 200
	asked := make(chan struct{}, 3*rounds)
	r := onceRig(t, func(*rig) { asked <- struct{}{} })
	path := r.listen(Monitor{})
	var clients sync.WaitGroup
	for range 3 {
		p := negotiated(t, path, "")
		p.fence(0)
		clients.Go(func() {
			for i := range rounds {
				p.expect("NIC_RX_FILTER_CHANGED")
				p.send(fmt.Sprintf(`{"execute": "query-rx-filter", "arguments": {"name": "/n0"}, "id": %d}`, i))
				if got := p.line(); !strings.Contains(got, fmt.Sprintf(`"id": %d}`, i)) {
					t.Errorf("%s: a second event before the reply to %d", got, i)
					return
				}
			}
			p.expect("NIC_RX_FILTER_CHANGED")
			p.fence(rounds)
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for more := true; more; _, more = <-asked {
			for range changes {
				r.filterChanged("/n0")
			}
		}
	}()
	clients.Wait()
	close(asked)
	<-ended
	r.srv.once.mu.Lock()
	defer r.srv.once.mu.Unlock()
	if h := r.srv.once.told[filterKey("/n0")]; h == nil || h.asking != 0 || len(h.state) != 3 {
		t.Errorf("hearers %+v", h)
	}
}

// TestOnceForgetsClients leaves nothing of a client that has gone.
func TestOnceForgetsClients(t *testing.T) {
	r := onceRig(t, func(r *rig) { r.filterChanged("/n0") })
	path := r.listen(Monitor{})
	p, stays := negotiated(t, path, ""), negotiated(t, path, "")
	stays.fence(1)
	p.send(`{"execute": "query-rx-filter", "arguments": {"name": "/n0"}, "id": 2}`)
	p.expect(`"id": 2}`, "NIC_RX_FILTER_CHANGED")
	stays.expect("NIC_RX_FILTER_CHANGED")
	p.Close()
	r.close(patience)
	if n := len(r.srv.once.told) + len(r.srv.once.clients); n != 0 {
		t.Errorf("%d things are left of clients", n)
	}
}

// BenchmarkOnce is what a change costs that nobody is to hear of.
func BenchmarkOnce(b *testing.B) {
	r := newRig(b)
	path := r.listen(Monitor{})
	p := negotiated(b, path, "")
	p.fence(1)
	r.filterChanged("/n0")
	b.ReportAllocs()
	for b.Loop() {
		r.filterChanged("/n0")
	}
}
