package disk

import (
	"testing"
	"time"

	"hv/block/account"
	"hv/block/graph"
	"hv/block/hostfile"
	"hv/block/nulldrv"
	"hv/block/throttle"
	"hv/qmp/qapi"
)

// frozen is a clock that stands still.
type frozen struct{}

func (frozen) Elapsed() time.Duration                      { return 0 }
func (frozen) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

// TestLimits: what is beyond the limits waits in the queue; a drain, a Lift and the end of
// the limits let it through.
func TestLimits(t *testing.T) {
	_, n := nodes(t, qapi.BlockdevOptionsRaw{}, nil)
	d := open(t, n)
	q := queue(t, d)
	groups := throttle.Groups{Clock: frozen{}}
	groups.Join(&d.front.Limits, "g")
	l := throttle.None()
	l.Rates[throttle.OpsWrite].Average = 10
	d.front.Limits.Group().SetLimits(l)
	data := make([]byte, 512)
	do(t, q, hostfile.OpWrite, 0, data)
	do(t, q, hostfile.OpWrite, 0, data) // a tenth of a second's worth
	held(t, q, func() { n.Drain()() })
	held(t, q, func() { d.Lift(); d.Drop() })
	do(t, q, hostfile.OpRead, 0, data) // reads are not limited
	do(t, q, hostfile.OpFlush, 0, nil)
	held(t, q, func() { groups.Leave(&d.front.Limits) })
	do(t, q, hostfile.OpWrite, 0, data)
	if got := d.Front().Stats.Total(account.Write).Operations; got != 6 {
		t.Errorf("%d writes were counted, want 6", got)
	}
}

// held submits a write that has to wait until free is called.
func held(t *testing.T, q hostfile.IO, free func()) {
	t.Helper()
	done := false
	if err := q.Submit(hostfile.OpWrite, 1, 0, 512, [][]byte{make([]byte, 512)}); err != nil {
		t.Fatal(err)
	}
	wait := func(block bool) {
		if err := q.Wait(block, func(_ uint32, res int32) { done = res >= 0 }); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		wait(false)
	}
	if done {
		t.Fatal("a write beyond the limits did not wait")
	}
	freed := make(chan struct{})
	go func() { free(); close(freed) }()
	for !done {
		wait(true)
	}
	<-freed
}

// slow is a node whose writes wait until they are let go.
type slow struct {
	graph.Driver
	throttle.Member
}

func (s *slow) Writev(off int64, v [][]byte, f graph.Flags) error {
	s.Wait(true, 512)
	return s.Driver.Writev(off, v, f)
}

// TestLimitsBelow: requests that wait in a node do not keep others from it.
func TestLimitsBelow(t *testing.T) {
	below, err := nulldrv.Open(nulldrv.Config{Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s := &slow{Driver: below}
	groups := throttle.Groups{Clock: frozen{}}
	l := throttle.None()
	l.Rates[throttle.OpsWrite].Average = 1
	groups.Join(&s.Member, "g").SetLimits(l)
	n, err := new(graph.Graph).Open(graph.Spec{Driver: "slow", Filename: func() string { return "" }, Open: func([]*graph.Child) (graph.Driver, error) { return s, nil }})
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, n)
	q := queue(t, d)
	data, ended := make([]byte, 512), 0
	for tag := range uint32(64) {
		op := hostfile.OpWrite
		if tag == 63 {
			op = hostfile.OpRead
		}
		if err := q.Submit(op, tag, 0, 512, [][]byte{data}); err != nil {
			t.Fatal(err)
		}
	}
	read := false
	for !read {
		if err := q.Wait(true, func(tag uint32, _ int32) { read = read || tag == 63; ended++ }); err != nil {
			t.Fatal(err)
		}
	}
	d.Lift()
	for ended < 64 {
		if err := q.Wait(true, func(uint32, int32) { ended++ }); err != nil {
			t.Fatal(err)
		}
	}
	d.Drop()
}
