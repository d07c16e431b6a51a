package throttle

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// The rates that are limited, as QEMU names them.
const (
	BytesTotal = iota
	BytesRead
	BytesWrite
	OpsTotal
	OpsRead
	OpsWrite
	rates
)

// maxValue is the most that a rate may be.
const maxValue = 1_000_000_000_000_000

// Rate is a limit of one kind.
type Rate struct {
	Average uint64 // units a second, 0 for no limit
	Burst   uint64 // units a second for a while, 0 for a tenth of a second's worth at once
	Seconds uint64 // how long a burst may go on
}

// Limits is what requests are held to.
type Limits struct {
	Rates [rates]Rate
	// OpSize is how many bytes count as one operation; 0 if all requests do.
	OpSize uint64
}

// None returns limits that limit nothing.
func None() Limits {
	var l Limits
	for i := range l.Rates {
		l.Rates[i].Seconds = 1
	}
	return l
}

// rateNames are the names of the rates in options and properties.
var rateNames = [rates]string{"bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"}

// Parameters are the names of all that Limits has.
func Parameters() []string {
	var names []string
	for _, suffix := range []string{"", "-max", "-max-length"} {
		for _, name := range rateNames {
			names = append(names, name+suffix)
		}
	}
	return append(names, opSize)
}

const opSize = "iops-size"

// fields returns where the values are, in the order of Parameters.
func (l *Limits) fields() []*uint64 {
	var out []*uint64
	for i := range l.Rates {
		out = append(out, &l.Rates[i].Average)
	}
	for i := range l.Rates {
		out = append(out, &l.Rates[i].Burst)
	}
	for i := range l.Rates {
		out = append(out, &l.Rates[i].Seconds)
	}
	return append(out, &l.OpSize)
}

// Get returns a value by its name.
func (l *Limits) Get(name string) uint64 {
	if i := slices.Index(Parameters(), name); i >= 0 {
		return *l.fields()[i]
	}
	return 0
}

// Set changes a value by its name. The whole is to be checked afterwards.
func (l *Limits) Set(name string, value uint64) error {
	i := slices.Index(Parameters(), name)
	switch {
	case i < 0:
		return fmt.Errorf("no limit is called '%s'", name)
	case i >= 2*int(rates) && name != opSize && value > math.MaxUint32:
		return fmt.Errorf("%s value must be in the range [0, %d]", name, uint32(math.MaxUint32))
	}
	*l.fields()[i] = value
	return nil
}

// Enabled reports whether anything is limited.
func (l *Limits) Enabled() bool {
	return slices.ContainsFunc(l.Rates[:], func(r Rate) bool { return r.Average > 0 })
}

// Check returns an error for limits that make no sense.
func (l *Limits) Check() error {
	for _, at := range []int{BytesTotal, OpsTotal} {
		all, one, other := l.Rates[at], l.Rates[at+1], l.Rates[at+2]
		if all.Average > 0 && one.Average|other.Average > 0 || all.Burst > 0 && one.Burst|other.Burst > 0 {
			return errors.New("bps/iops/max total values and read/write values cannot be used at the same time")
		}
	}
	if l.OpSize > 0 && l.Rates[OpsTotal].Average|l.Rates[OpsRead].Average|l.Rates[OpsWrite].Average == 0 {
		return errors.New("iops size requires an iops value to be set")
	}
	for i := range l.Rates {
		if err := l.Rates[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rate) check() error {
	switch {
	case r.Average > maxValue || r.Burst > maxValue:
		return fmt.Errorf("bps/iops/max values must be within [0, %d]", uint64(maxValue))
	case r.Seconds == 0:
		return errors.New("the burst length cannot be 0")
	case r.Seconds > 1 && r.Burst == 0:
		return errors.New("burst length set without burst rate")
	case r.Burst > 0 && r.Seconds > maxValue/r.Burst:
		return errors.New("burst length too high for this burst rate")
	case r.Burst > 0 && r.Average == 0:
		return errors.New("bps_max/iops_max require corresponding bps/iops values")
	case r.Burst > 0 && r.Burst < r.Average:
		return errors.New("bps_max/iops_max cannot be lower than bps/iops")
	}
	return nil
}

// bucket is what a rate was used lately. It leaks at the rate.
type bucket struct {
	level float64 // units that went through
	burst float64 // the same, but leaking at the rate of bursts
}

// leak has some time go by.
func (b *bucket) leak(r *Rate, d time.Duration) {
	b.level = max(b.level-float64(r.Average)*d.Seconds(), 0)
	if r.Seconds > 1 {
		b.burst = max(b.burst-float64(r.Burst)*d.Seconds(), 0)
	}
}

// add has units go through.
func (b *bucket) add(r *Rate, units float64) {
	b.level += units
	if r.Seconds > 1 {
		b.burst += units
	}
}

// wait returns how long it takes until something may go through.
func (b *bucket) wait(r *Rate) time.Duration {
	if r.Average == 0 {
		return 0
	}
	room, rush := float64(r.Average)/10, 0.0
	if r.Burst > 0 {
		room, rush = float64(r.Burst)*float64(r.Seconds), float64(r.Burst)/10
	}
	if b.level > room {
		return span((b.level - room) / float64(r.Average))
	}
	if r.Seconds > 1 && b.burst > rush {
		return span((b.burst - rush) / float64(r.Burst))
	}
	return 0
}

// span is a number of seconds. Less than the shortest time there is is none.
func span(seconds float64) time.Duration {
	const longest = float64(math.MaxInt64 / 2)
	return time.Duration(min(seconds*float64(time.Second), longest))
}
