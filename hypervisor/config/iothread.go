package config

import (
	"errors"
	"fmt"
	"math"
)

// IOThread is an iothread object.
type IOThread struct {
	PollMax    int64 `prop:"poll-max-ns" default:"32768" desc:"nanoseconds that are spent at most looking for work before a sleep"`
	PollGrow   int64 `prop:"poll-grow" default:"0" desc:"factor by which that time grows when it was too short; 0 is 2"`
	PollShrink int64 `prop:"poll-shrink" default:"0" desc:"divisor by which it shrinks when there is little to do; 0 ends it"`
	MaxBatch   int64 `prop:"aio-max-batch" default:"0" desc:"requests of a queue that are started at once; 0 is all"`
	PoolMin    int64 `prop:"thread-pool-min" default:"0" desc:"threads that a queue has for requests from the beginning"`
	PoolMax    int64 `prop:"thread-pool-max" default:"64" desc:"and at most"`
}

// Check returns an error for what an iothread cannot be.
func (t *IOThread) Check() error {
	for _, x := range []struct {
		name  string
		value int64
	}{
		{"poll-max-ns", t.PollMax}, {"poll-grow", t.PollGrow}, {"poll-shrink", t.PollShrink}, {"aio-max-batch", t.MaxBatch},
		{"thread-pool-min", t.PoolMin}, {"thread-pool-max", t.PoolMax},
	} {
		if x.value < 0 {
			return fmt.Errorf("%s value must be in range [0, %d]", x.name, int64(math.MaxInt64))
		}
	}
	if t.PoolMin > t.PoolMax || t.PoolMax == 0 || t.PoolMax > math.MaxInt32 {
		return errors.New("bad thread-pool-min/thread-pool-max values")
	}
	return nil
}
