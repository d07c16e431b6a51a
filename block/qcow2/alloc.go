package qcow2

import (
	"errors"
	"fmt"
)

// run is a run of clusters.
type run struct {
	first, n int64
	data     discardKind
}

// discardKind says why clusters became free.
type discardKind uint8

const (
	freedOther discardKind = iota
	freedRequest
	freedSnapshot
)

// alloc takes a run of up to n free clusters, n of them if exact, and returns its offset
// and length. The lock is held.
func (im *Image) alloc(n int64, exact bool) (off, got int64, err error) {
	if im.lazy {
		if err := im.setDirty(); err != nil {
			return 0, 0, err
		}
	}
	im.event(EventClusterAlloc)
	var c int64
	if exact && n >= im.geo.refBlock {
		c, err = im.bulk(n)
		got = n
	} else if c, got, err = im.find(n, exact); err == nil {
		for i := c; i < c+got && err == nil; i++ {
			err = im.setRefcount(i, 1)
		}
	}
	if err != nil {
		return 0, 0, err
	}
	off = c << im.geo.clusterBits
	if off+got<<im.geo.clusterBits > maxHostOffset {
		return 0, 0, errors.New("file would be too large")
	}
	if off == 0 {
		return 0, 0, im.corrupt(-1, 0, true, "Preventing invalid allocation of a cluster at offset 0")
	}
	return off, got, im.checkOverlap(off, got<<im.geo.clusterBits, 0)
}

// maxScan bounds the search for a free cluster in an image whose refcounts make no sense.
const maxScan = 1 << 28

// find looks for a run of free clusters from the hint on.
func (im *Image) find(n int64, exact bool) (c, got int64, err error) {
	first := true
	for i := im.refs.hint; ; i++ {
		if i-im.refs.hint > maxScan || i > maxHostOffset>>im.geo.clusterBits {
			return 0, 0, errors.New("no free cluster")
		}
		if _, err := im.needBlock(i); err != nil {
			return 0, 0, err
		}
		v, err := im.refcount(i)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case v == 0 && got == 0:
			c, got = i, 1
			if first {
				im.refs.hint, first = i, false
			}
		case v == 0:
			got++
		case got > 0 && !exact:
			return im.found(c, got)
		default:
			got = 0
		}
		if got == n {
			return im.found(c, got)
		}
	}
}

func (im *Image) found(c, got int64) (int64, int64, error) {
	if im.refs.hint == c {
		im.refs.hint = c + got
	}
	return c, got, nil
}

// free gives up one reference to n clusters at off, once storage no longer refers to them
// and no request can.
func (im *Image) free(off, n int64) { im.freeAs(off, n, freedOther) }

func (im *Image) freeAs(off, n int64, k discardKind) {
	c := off >> im.geo.clusterBits
	im.nfreed += int(n)
	if l := im.freed[0]; len(l) > 0 {
		if last := &l[len(l)-1]; last.first+last.n == c && last.data == k {
			last.n += n
			return
		}
	}
	im.freed[0] = append(im.freed[0], run{c, n, k})
}

// freeEntry gives up what an L2 entry refers to.
func (im *Image) freeEntry(e entry, k discardKind) {
	g := &im.geo
	switch {
	case g.external:
	case e.desc&flagCompressed != 0:
		off, n := g.compressedAt(e)
		first := g.down(off)
		im.freeAs(first, g.clusters(off+n-first), k)
	case e.host() != 0:
		im.freeAs(e.host(), 1, k)
	}
}

// reap counts down what is durably unreferenced, after the requests that began before. The
// lock is held.
func (im *Image) reap(durable []run) error {
	now := im.epoch.Load() & 1
	var err error
	if im.inflight[now^1].Load() == 0 {
		err = im.release(im.freed[1])
		im.freed[1] = nil
		if len(durable) > 0 {
			im.epoch.Store(now ^ 1)
		}
		if im.inflight[now].Load() == 0 {
			return errors.Join(err, im.release(durable))
		}
		im.freed[1] = durable
		return err
	}
	// Requests of two epochs are under way: these wait with the ones to come.
	im.freed[0] = append(durable, im.freed[0]...)
	return nil
}

// release counts runs down, and gives their space back if that is wanted.
func (im *Image) release(l []run) error {
	var errs error
	for _, r := range l {
		im.event(EventClusterFree)
		im.nfreed -= int(r.n)
		start := r.first
		for c := r.first; c < r.first+r.n; c++ {
			left, err := im.subRef(c)
			if err != nil && errs == nil {
				errs = fmt.Errorf("free cluster %d: %w", c, err)
			}
			if left > 0 || err != nil {
				im.passDiscard(start, c, r.data)
				start = c + 1
			} else if c == im.bytesOff>>im.geo.clusterBits {
				im.bytesOff = 0
			}
		}
		im.passDiscard(start, r.first+r.n, r.data)
	}
	return errs
}

// passDiscard tells storage about clusters [lo, hi); it may fail, which changes nothing.
func (im *Image) passDiscard(lo, hi int64, k discardKind) {
	o := &im.opt
	if lo >= hi || !(k == freedRequest && o.DiscardRequest || k == freedSnapshot && o.DiscardSnapshot || k == freedOther && o.DiscardOther) {
		return
	}
	_ = im.file.Discard(lo<<im.geo.clusterBits, (hi-lo)<<im.geo.clusterBits)
}

// allocation is a request that links clusters when its data is there.
type allocation struct {
	lo, hi int64 // guest clusters as byte offsets
	host   int64
	own    int64 // clusters allocated for it at host
	reuse  bool  // the entry has the host cluster already
	from   int64 // what is written
	to     int64
}

// conflict returns the listed allocation that overlaps [lo, hi).
func (im *Image) conflict(lo, hi int64) *allocation {
	for _, a := range im.flight {
		if a.lo < hi && lo < a.hi {
			return a
		}
	}
	return nil
}

// await waits until nothing under way overlaps [lo, hi) and tells whether it had to. The
// lock is held, and given up to wait.
func (im *Image) await(lo, hi int64) bool {
	waited := false
	for im.conflict(lo, hi) != nil {
		waited = true
		im.cond.Wait()
	}
	return waited
}

// landed takes an allocation off the list.
func (im *Image) landed(a *allocation) {
	for i, b := range im.flight {
		if a == b {
			last := len(im.flight) - 1
			im.flight[i], im.flight[last] = im.flight[last], nil
			im.flight = im.flight[:last]
		}
	}
	im.cond.Broadcast()
}
