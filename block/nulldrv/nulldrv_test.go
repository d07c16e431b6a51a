package nulldrv

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hv/block/blocktest"
	"hv/block/graph"
)

func node(t testing.TB, g *graph.Graph, cfg Config) *graph.Node {
	t.Helper()
	n, err := g.Open(graph.Spec{Driver: "null-co", Filename: func() string { return "null-co://" },
		Open: func([]*graph.Child) (graph.Driver, error) { return Open(cfg) }})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConformance(t *testing.T) {
	for _, zeroes := range []bool{false, true} {
		t.Run(fmt.Sprint("zeroes ", zeroes), func(t *testing.T) {
			blocktest.Run(t, blocktest.Subject{Forgetful: true, Fixed: true, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
				return node(t, g, Config{Size: 1 << 20, Zeroes: zeroes})
			}})
		})
	}
}

func TestOptions(t *testing.T) {
	for _, x := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{Size: 1 << 62, Latency: MaxLatency}, ""},
		{Config{Size: -1}, "size must not be negative, is -1"},
		{Config{Latency: -1}, "latency-ns is invalid"},
		{Config{Latency: MaxLatency + 1}, "latency-ns is invalid"},
	} {
		d, err := Open(x.cfg)
		switch {
		case x.want == "" && (err != nil || d.Size() != x.cfg.Size || d.Allocated() != 0):
			t.Errorf("%+v: %v", x.cfg, err)
		case x.want != "" && (err == nil || err.Error() != x.want):
			t.Errorf("%+v: %v, want %s", x.cfg, err, x.want)
		}
	}
}

// TestContent has nothing be read, or zeroes, whatever was written.
func TestContent(t *testing.T) {
	for _, zeroes := range []bool{false, true} {
		var g graph.Graph
		c, err := node(t, &g, Config{Size: 1 << 40, Zeroes: zeroes}).Use(func() string { return "it" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
		if err != nil {
			t.Fatal(err)
		}
		b := []byte{1, 2, 3}
		err = errors.Join(c.Writev(1<<39, [][]byte{b}, graph.FUA), c.Readv(1<<39, [][]byte{b[:1], b[1:2]}), c.Flush())
		if want := map[bool][3]byte{true: {0, 0, 3}, false: {1, 2, 3}}[zeroes]; err != nil || [3]byte(b) != want {
			t.Errorf("zeroes %v: %v, read %d", zeroes, err, b)
		}
		e, err := c.BlockStatus(5, 1<<39)
		if err != nil || e.N != 1<<39 || e.Offset != 5 || e.Status&graph.Zero != 0 != zeroes || e.Status&graph.Allocated == 0 {
			t.Errorf("zeroes %v: %+v, %v", zeroes, e, err)
		}
	}
}

// TestLatency has each request take its time, but not one after the other, and a drain wait.
func TestLatency(t *testing.T) {
	const latency = 30 * time.Millisecond
	var g graph.Graph
	n := node(t, &g, Config{Size: 1 << 20, Latency: latency})
	c, err := n.Use(func() string { return "it" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	v := [][]byte{make([]byte, 512)}
	for what, f := range map[string]func() error{
		"read": func() error { return c.Readv(0, v) }, "write": func() error { return c.Writev(0, v, 0) },
		"zeroes": func() error { return c.WriteZeroes(0, 512, 0) }, "flush": c.Flush,
	} {
		begin := time.Now()
		if err := f(); err != nil || time.Since(begin) < latency {
			t.Errorf("%s: %v after %v", what, err, time.Since(begin))
		}
	}
	begin := time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { _ = c.Flush() })
	}
	all.Wait()
	if d := time.Since(begin); d > 50*latency {
		t.Errorf("50 requests at once took %v", d)
	}
	ended := make(chan struct{})
	go func() { _ = c.Flush(); close(ended) }()
	n.Drain()()
	<-ended
}
