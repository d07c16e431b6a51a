package throttledrv_test

import (
	"slices"
	"testing"
	"time"

	"hv/block/formats"
	"hv/block/graph"
	"hv/block/throttle"
	"hv/qmp/qapi"
)

// never is a clock that stands still: what waits waits forever.
type never struct{}

func (never) Elapsed() time.Duration                             { return 0 }
func (never) AfterFunc(time.Duration, func()) (stop func() bool) { return func() bool { return true } }

// node makes a throttle node on a null one, in a group with one operation a second.
func node(t *testing.T) (*graph.Graph, *throttle.Groups, *graph.Node) {
	t.Helper()
	g, groups := &graph.Graph{}, &throttle.Groups{Clock: never{}}
	x := &formats.Opener{Graph: g, Groups: groups, Drive: func(string) *graph.Node { return nil }}
	l := throttle.None()
	l.Rates[throttle.OpsTotal].Average = 1
	if _, err := groups.Add("g", l); err != nil {
		t.Fatal(err)
	}
	size, name, zeroes := int64(1<<20), "t", true
	n, err := x.Open(&qapi.BlockdevOptions{Driver: "throttle", NodeName: &name, Throttle: &qapi.BlockdevOptionsThrottle{
		ThrottleGroup: "g", File: qapi.BlockdevRef{Definition: &qapi.BlockdevOptions{
			Driver: "null-co", NullCo: &qapi.BlockdevOptionsNull{Size: &size, ReadZeroes: &zeroes},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return g, groups, n
}

// TestDrainLifts: requests wait for the limits, and a drain lets them through.
func TestDrainLifts(t *testing.T) {
	_, groups, n := node(t)
	c, err := n.Use(func() string { return "a test" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	if n.Size() != 1<<20 || groups.Remove(groups.Find("g")) {
		t.Errorf("size %d, or the group could be removed", n.Size())
	}
	buf := make([]byte, 512)
	done := make(chan error)
	requests := []func() error{
		func() error { return c.Readv(0, [][]byte{buf}) }, func() error { return c.Writev(0, [][]byte{slices.Clone(buf)}, 0) },
		func() error { return c.WriteZeroes(0, 512, 0) },
	}
	if err := requests[0](); err != nil { // a second's worth
		t.Fatal(err)
	}
	for _, r := range requests {
		go func() { done <- r() }()
	}
	select {
	case <-done:
		t.Fatal("a request did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	if e, err := c.BlockStatus(0, 512); err != nil || e.Status&graph.Zero == 0 || c.Flush() != nil {
		t.Errorf("status %+v, %v", e, err)
	}
	n.Drain()()
	for range requests {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Unref(); err != nil || !groups.Remove(groups.Find("g")) {
		t.Errorf("%v, or the group is still in use", err)
	}
}

func TestNoGroup(t *testing.T) {
	_, groups, n := node(t)
	x := &formats.Opener{Graph: &graph.Graph{}, Groups: groups, Drive: func(string) *graph.Node { return nil }}
	_, err := x.Open(&qapi.BlockdevOptions{Driver: "throttle", Throttle: &qapi.BlockdevOptionsThrottle{
		ThrottleGroup: "none", File: qapi.BlockdevRef{Definition: &qapi.BlockdevOptions{Driver: "null-co", NullCo: &qapi.BlockdevOptionsNull{}}},
	}})
	if err == nil || err.Error() != "Throttle group 'none' does not exist" {
		t.Error(err)
	}
	if err := n.Unref(); err != nil {
		t.Error(err)
	}
}
