package virtioballoon

import (
	"encoding/binary"
	"errors"
	"time"

	"hv/devices/virtio/queue"
)

var errPages = errors.New("list of pages that is not made of 32-bit numbers")

// pages handles the inflate and deflate queues: lists of page numbers. Runs of
// pages are discarded in one go. A deflated page needs nothing: it comes back when it
// is touched.
func (d *Device) pages(i int) {
	d.each(i, func(c *queue.Chain) error {
		if c.OutLen()%4 != 0 {
			return errPages
		}
		if i == queueInflate {
			d.inflate(c)
		}
		return nil
	})
}

func (d *Device) inflate(c *queue.Chain) {
	var run, count uint64
	var b [4]byte
	for off := uint32(0); off < c.OutLen(); off += 4 {
		c.CopyOut(b[:], off)
		pfn := uint64(binary.LittleEndian.Uint32(b[:]))
		if count > 0 && pfn == run+count {
			count++
			continue
		}
		d.drop(run, count)
		run, count = pfn, 1
	}
	d.drop(run, count)
}

// drop gives a run of pages back. A range that is no RAM is the guest's mistake, and
// there is nothing to give back then.
func (d *Device) drop(run, count uint64) {
	if count > 0 {
		_ = d.discard.Discard(run*pageSize, count*pageSize)
	}
}

// report handles reported free pages: writable buffers that are the pages.
func (d *Device) report() {
	d.each(queueReporting, func(c *queue.Chain) error {
		for _, b := range c.In {
			if err := d.discard.Release(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// Stats is what the guest last told about its memory, by tag (§5.5.6.3), in
// bytes or counts; Update is when.
type Stats struct {
	Update time.Time
	Values map[uint16]uint64
}

const statSize = 10

// takeStats reads statistics and keeps their buffer until they are asked for again.
func (d *Device) takeStats() {
	if len(d.queues) <= queueStats || d.queues[queueStats] == nil {
		return
	}
	q := d.queues[queueStats]
	for !d.holding {
		ok, err := q.Pop(&d.statChain)
		if err != nil {
			d.tell.NeedsReset(err)
			return
		}
		if ok {
			d.holding = true
			d.readStats()
		} else if !q.EnableKicks() {
			return
		}
	}
}

func (d *Device) readStats() {
	s := Stats{Update: time.Now(), Values: map[uint16]uint64{}}
	var b [statSize]byte
	for off := uint32(0); off+statSize <= min(d.statChain.OutLen(), 64*statSize); off += statSize {
		d.statChain.CopyOut(b[:], off)
		s.Values[binary.LittleEndian.Uint16(b[:])] = binary.LittleEndian.Uint64(b[2:])
	}
	d.mu.Lock()
	d.stats = s
	d.mu.Unlock()
}

// askStats sends the buffer back, on which the guest fills it anew.
func (d *Device) askStats() {
	if d.holding {
		q := d.queues[queueStats]
		q.Push(&d.statChain, 0)
		d.holding = false
		q.Show()
	}
	d.schedule()
}

// Stats returns what the guest last told.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// schedule sets the time of the next question.
func (d *Device) schedule() {
	if n := d.interval.Load(); n > 0 {
		d.pump.After(time.Duration(n)*time.Second, d.askStats)
	} else {
		d.pump.After(0, nil)
	}
}
