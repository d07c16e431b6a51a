package queue_test

import (
	"testing"

	"hv/devices/virtio/queue"
	"hv/devices/virtio/virtiotest"
)

// TestPositions follows chains through every kind of ring, round its end.
func TestPositions(t *testing.T) {
	for _, o := range options() {
		d, q := rig(t, o)
		mark := d.Mark()
		for i := range uint16(150) {
			d.Release(mark)
			at := d.Alloc(8)
			d.Add(0, virtiotest.Buf{Addr: at, Len: 8})
			before := q.Positions()
			if !o.Packed && (before.Avail != i || before.Offered != i+1) || before.Taken != 0 || before.Used != before.Published {
				t.Fatalf("%s: before chain %d: %+v", name(o), i, before)
			}
			var c queue.Chain
			if ok, err := q.Pop(&c); !ok || err != nil {
				t.Fatalf("%s: %v, %v", name(o), ok, err)
			}
			if p := q.Positions(); p.Taken != 1 || p.Used != before.Used || p.Avail == before.Avail {
				t.Fatalf("%s: chain %d taken: %+v after %+v", name(o), i, p, before)
			}
			q.Push(&c, 0)
			if p := q.Positions(); p.Taken != 0 || p.Published != before.Published || p.Used == before.Used {
				t.Fatalf("%s: chain %d pushed: %+v", name(o), i, p)
			}
			q.Publish()
			if p := q.Positions(); p.Published != p.Used {
				t.Fatalf("%s: chain %d published: %+v", name(o), i, p)
			}
			d.Poll(0)
		}
	}
}
