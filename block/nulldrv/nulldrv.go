// Package nulldrv is the drivers null-co and null-aio: a node without a medium, which
// takes all writes, for tests and measurements.
//
// Methods may be called concurrently. It depends on block/graph.
package nulldrv

import (
	"errors"
	"fmt"
	"time"

	"hv/block/graph"
)

// Config is a node's options.
type Config struct {
	Size    int64
	Latency time.Duration // how long each request takes, at most MaxLatency
	Zeroes  bool          // reads give zeroes; otherwise buffers stay as they are
}

// MaxLatency bounds how long a request takes, and thereby how long a drain waits.
const MaxLatency = 10 * time.Second

// Driver is a node without a medium.
type Driver struct{ cfg Config }

// Open makes a driver.
func Open(cfg Config) (*Driver, error) {
	switch {
	case cfg.Size < 0:
		return nil, fmt.Errorf("size must not be negative, is %d", cfg.Size)
	case cfg.Latency < 0 || cfg.Latency > MaxLatency:
		return nil, errors.New("latency-ns is invalid")
	}
	return &Driver{cfg}, nil
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.cfg.Size }

// Allocated returns that nothing is.
func (d *Driver) Allocated() int64 { return 0 }

func (d *Driver) wait() {
	if d.cfg.Latency > 0 {
		time.Sleep(d.cfg.Latency)
	}
}

// Readv leaves the buffers alone, or clears them.
func (d *Driver) Readv(_ int64, v [][]byte) error {
	d.wait()
	if d.cfg.Zeroes {
		for _, b := range v {
			clear(b)
		}
	}
	return nil
}

// Writev forgets the data.
func (d *Driver) Writev(int64, [][]byte, graph.Flags) error {
	d.wait()
	return nil
}

// WriteZeroes does nothing.
func (d *Driver) WriteZeroes(int64, int64, graph.Flags) error {
	d.wait()
	return nil
}

// BlockStatus tells what reads would give.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	e := graph.Extent{N: n, Status: graph.OffsetValid | graph.Allocated, Offset: off}
	if d.cfg.Zeroes {
		e.Status |= graph.Zero
	}
	return e, nil
}

// Flush does nothing but take its time.
func (d *Driver) Flush() error {
	d.wait()
	return nil
}

// Reopen implements graph.Reopener: all options go for it.
func (d *Driver) Reopen(graph.Options, any) (commit func() error, undo func(), err error) {
	return func() error { return nil }, func() {}, nil
}

// Close does nothing.
func (d *Driver) Close() error { return nil }
