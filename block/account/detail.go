package account

import (
	"errors"
	"slices"
	"time"
)

// detail counts how long a request took.
func (s *Stats) detail(k Kind, took time.Duration, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.histograms[k]; h != nil {
		h.add(took)
	}
	if failed && s.skipFailed.Load() {
		return
	}
	now := s.Now()
	for _, v := range s.intervals {
		v.kinds[k].add(took, now, v.length)
	}
}

// Histogram is how many requests took how long.
type Histogram struct {
	// Boundaries are the times in nanoseconds at which bins begin, but for the first.
	Boundaries []uint64
	Bins       []uint64
}

type histogram struct{ Histogram }

func (h *histogram) add(took time.Duration) {
	i, found := slices.BinarySearch(h.Boundaries, uint64(took))
	if found {
		i++
	}
	h.Bins[i]++
}

// SetHistogram counts anew with other bins, in ascending order; none ends that.
func (s *Stats) SetHistogram(k Kind, boundaries []uint64) error {
	last := uint64(0)
	for _, b := range boundaries {
		if b <= last {
			return errors.New("boundaries must be positive and ascending")
		}
		last = b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.histograms[k] = &histogram{Histogram{slices.Clone(boundaries), make([]uint64, len(boundaries)+1)}}
	s.detailed.Store(true)
	return nil
}

// ClearHistograms ends all histograms.
func (s *Stats) ClearHistograms() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.histograms = [kinds]*histogram{}
	s.detailed.Store(len(s.intervals) > 0)
}

// Histogram returns what was counted since SetHistogram; false if it was not called.
func (s *Stats) Histogram(k Kind) (Histogram, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.histograms[k]
	if h == nil {
		return Histogram{}, false
	}
	return Histogram{slices.Clone(h.Boundaries), slices.Clone(h.Bins)}, true
}

// interval is averages over some time.
type interval struct {
	length time.Duration
	kinds  [kinds]average
}

func newInterval(length, now time.Duration) *interval {
	v := &interval{length: length}
	for k := range v.kinds {
		// Each window lasts for the whole length; the older one of the two is looked at.
		v.kinds[k] = average{{end: now + length/2}, {end: now + length}}
	}
	return v
}

// average is two windows of time, half a length apart.
type average [2]window

type window struct {
	end           time.Duration
	min, max, sum time.Duration
	count         int64
}

// roll ends windows whose time is over.
func (a *average) roll(now, length time.Duration) {
	for i := range a {
		if w := &a[i]; w.end <= now {
			*w = window{end: w.end + ((now-w.end)/length+1)*length}
		}
	}
}

func (a *average) add(took, now, length time.Duration) {
	a.roll(now, length)
	for i := range a {
		w := &a[i]
		if w.count == 0 || took < w.min {
			w.min = took
		}
		w.max = max(w.max, took)
		w.sum += took
		w.count++
	}
}

// Average is what requests took over some time.
type Average struct {
	Min, Max, Mean time.Duration
	Depth          float64 // how many requests were under way
}

// Interval is averages over a length of time, by Kind.
type Interval struct {
	Length time.Duration
	Kinds  [kinds]Average
}

// Intervals returns the averages, the interval that was given last first.
func (s *Stats) Intervals() []Interval {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	var out []Interval
	for _, v := range s.intervals {
		x := Interval{Length: v.length}
		for k := range v.kinds {
			x.Kinds[k] = v.kinds[k].read(now, v.length)
		}
		out = append(out, x)
	}
	return out
}

func (a *average) read(now, length time.Duration) Average {
	a.roll(now, length)
	w := a[0]
	if a[1].end < w.end {
		w = a[1]
	}
	out := Average{Min: w.min, Max: w.max}
	if w.count > 0 {
		out.Mean = w.sum / time.Duration(w.count)
	}
	if elapsed := length - (w.end - now); elapsed > 0 {
		out.Depth = float64(w.sum) / float64(elapsed)
	}
	return out
}
