package queue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
	"hv/devices/virtio/virtiotest"
)

// held is a device without a worker: the test uses its queues itself.
type held struct {
	virtio.Device
	r virtio.Resources
}

func (h *held) Features() uint64                  { return 0 }
func (h *held) QueueSizes() []uint16              { return []uint16{64} }
func (h *held) Activate(r virtio.Resources) error { h.r = r; return nil }
func (h *held) Close() error                      { return nil }
func (h *held) queue() *queue.Queue               { return h.r.Queues[0].Queue }
func options() []virtiotest.Options {
	var all []virtiotest.Options
	for i := range 8 {
		all = append(all, virtiotest.Options{Packed: i&1 != 0, EventIdx: i&2 != 0, Indirect: i&4 != 0})
	}
	return all
}

func name(o virtiotest.Options) string {
	return fmt.Sprintf("packed=%v,event_idx=%v,indirect=%v", o.Packed, o.EventIdx, o.Indirect)
}

func rig(t testing.TB, o virtiotest.Options) (*virtiotest.Driver, *queue.Queue) {
	t.Helper()
	h := &held{}
	d := virtiotest.NewDriver(t, h, o)
	return d, h.queue()
}

// request is a chain that is under way.
type request struct {
	out  []byte
	at   uint64
	size int
}

// TestChains sends random chains through every kind of ring, completes them in random
// order, and checks every byte.
func TestChains(t *testing.T) {
	for _, o := range options() {
		t.Run(name(o), func(t *testing.T) { chains(t, o) })
	}
}

func chains(t *testing.T, o virtiotest.Options) {
	d, q := rig(t, o)
	rng := rand.New(rand.NewPCG(1, 2))
	mark := d.Mark()
	for round := range 400 {
		d.Release(mark)
		sent := map[uint16]request{}
		for range 1 + rng.IntN(9) {
			token, r := send(d, rng)
			sent[token] = r
		}
		var taken []*queue.Chain
		for {
			c := &queue.Chain{}
			ok, err := q.Pop(c)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			taken = append(taken, c)
		}
		if len(taken) != len(sent) {
			t.Fatalf("round %d: %d chains of %d", round, len(taken), len(sent))
		}
		rng.Shuffle(len(taken), func(i, j int) { taken[i], taken[j] = taken[j], taken[i] })
		for _, c := range taken {
			q.Push(c, answer(c))
		}
		q.Publish()
		for range taken {
			token, written, ok := d.Poll(0)
			r := sent[token]
			if !ok || int(written) != r.size || !bytes.Equal(d.Bytes(r.at, r.size), reversed(r.out, r.size)) {
				t.Fatalf("round %d: chain %d: %v, %d bytes of %d", round, token, ok, written, r.size)
			}
			delete(sent, token)
		}
	}
}

// send adds a chain of up to three buffers each way; the device answers with the bytes
// backwards, as many as there is room for.
func send(d *virtiotest.Driver, rng *rand.Rand) (uint16, request) {
	r := request{}
	var bufs []virtiotest.Buf
	for range 1 + rng.IntN(3) {
		b := make([]byte, 1+rng.IntN(50))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		at := d.Alloc(len(b))
		copy(d.Bytes(at, len(b)), b)
		r.out = append(r.out, b...)
		bufs = append(bufs, virtiotest.Buf{Addr: at, Len: uint32(len(b))})
	}
	r.size = rng.IntN(len(r.out))
	if r.size > 0 {
		r.at = d.Alloc(r.size)
		half := uint32(r.size / 2)
		if half > 0 {
			bufs = append(bufs, virtiotest.Buf{Addr: r.at, Len: half, Write: true})
		}
		bufs = append(bufs, virtiotest.Buf{Addr: r.at + uint64(half), Len: uint32(r.size) - half, Write: true})
	}
	return d.Add(0, bufs...), r
}

func answer(c *queue.Chain) uint32 {
	in := make([]byte, c.OutLen())
	c.CopyOut(in, 0)
	return uint32(c.CopyIn(reversed(in, int(c.InLen())), 0))
}

func reversed(b []byte, n int) []byte {
	out := make([]byte, 0, len(b))
	for i := len(b) - 1; i >= 0; i-- {
		out = append(out, b[i])
	}
	return out[:n]
}

// TestCopyOffsets reads and writes a chain of three buffers from every offset.
func TestCopyOffsets(t *testing.T) {
	c := queue.Chain{Out: [][]byte{[]byte("abc"), []byte("d"), []byte("efgh")}, In: [][]byte{make([]byte, 2), make([]byte, 3)}}
	for off := range uint32(10) {
		got := make([]byte, 5)
		n := c.CopyOut(got, off)
		want := "abcdefgh"[min(off, 8):min(off+5, 8)]
		if string(got[:n]) != want {
			t.Errorf("from %d: %q, not %q", off, got[:n], want)
		}
	}
	if n := c.CopyIn([]byte("xyz"), 1); n != 3 || string(c.In[0])+string(c.In[1]) != "\x00xyz\x00" {
		t.Errorf("%d bytes: %q", n, c.In)
	}
	if n := c.CopyIn([]byte("123"), 3); n != 2 {
		t.Errorf("%d bytes found room at the end", n)
	}
}

// TestUnpop gives a chain back, over the ring's end too.
func TestUnpop(t *testing.T) {
	for _, o := range options() {
		d, q := rig(t, o)
		mark := d.Mark()
		var c queue.Chain
		for range 100 {
			d.Release(mark)
			at := d.Alloc(16)
			token := d.Add(0, virtiotest.Buf{Addr: at, Len: 8}, virtiotest.Buf{Addr: at + 8, Len: 8, Write: true}, virtiotest.Buf{Addr: at, Len: 1, Write: true})
			for range 3 {
				if ok, err := q.Pop(&c); !ok || err != nil || c.OutLen() != 8 || c.InLen() != 9 {
					t.Fatalf("%s: %v, %v, %d and %d bytes", name(o), ok, err, c.OutLen(), c.InLen())
				}
				q.Unpop(&c)
			}
			if ok, _ := q.Pop(&c); !ok {
				t.Fatal("gone")
			}
			q.Push(&c, 5)
			q.Publish()
			if got, n, ok := d.Poll(0); !ok || got != token || n != 5 {
				t.Fatalf("%s: completion %d, %d, %v", name(o), got, n, ok)
			}
		}
	}
}

// TestSuppression: neither side is notified of what it did not ask for, and a chain that
// comes while notifications are switched on is not missed.
func TestSuppression(t *testing.T) {
	for _, o := range options() {
		d, q := rig(t, o)
		at := d.Alloc(16)
		add := func() { d.Add(0, virtiotest.Buf{Addr: at, Len: 16, Write: true}) }
		var c queue.Chain
		q.EnableKicks()
		add()
		if !d.Kick(0) {
			t.Errorf("%s: no kick of the first chain", name(o))
		}
		if ok, _ := q.Pop(&c); !ok {
			t.Fatal("no chain")
		}
		q.DisableKicks()
		add()
		if d.Kick(0) && !o.EventIdx {
			t.Errorf("%s: a kick that was not asked for", name(o))
		}
		if !q.EnableKicks() {
			t.Errorf("%s: a chain that came meanwhile is missed", name(o))
		}
		q.Push(&c, 0)
		if !q.Publish() {
			t.Errorf("%s: no interrupt for the first completion", name(o))
		}
		if q.Publish() {
			t.Errorf("%s: an interrupt for nothing", name(o))
		}
		_, driver, _ := d.Ring(0)
		ask(driver, o)
		if ok, _ := q.Pop(&c); !ok {
			t.Fatal("no second chain")
		}
		q.Push(&c, 0)
		if q.Publish() {
			t.Errorf("%s: an interrupt that was not asked for", name(o))
		}
	}
}

// ask has the driver want no interrupt soon.
func ask(driver []byte, o virtiotest.Options) {
	le := binary.LittleEndian
	switch {
	case o.Packed && o.EventIdx:
		le.PutUint16(driver, 40|1<<15)
		le.PutUint16(driver[2:], 2)
	case o.Packed:
		le.PutUint16(driver[2:], 1)
	case o.EventIdx:
		le.PutUint16(driver[4+2*64:], 40)
	default:
		le.PutUint16(driver, 1)
	}
}

func TestBadConfigs(t *testing.T) {
	d, q := rig(t, virtiotest.Options{})
	good := q.Config()
	for what, change := range map[string]func(c *queue.Config){
		"size 0":     func(c *queue.Config) { c.Size = 0 },
		"size 3":     func(c *queue.Config) { c.Size = 3 },
		"size 40000": func(c *queue.Config) { c.Packed, c.Size = true, 40000 },
		"descriptor": func(c *queue.Config) { c.Desc += 8 },
		"driver":     func(c *queue.Config) { c.Driver = 1 << 40 },
		"device":     func(c *queue.Config) { c.Device++ },
		"RAM":        func(c *queue.Config) { c.Desc = 4<<20 - 16 },
	} {
		c := good
		change(&c)
		var e *queue.Error
		if _, err := queue.New(d.Mem(), c); !errors.As(err, &e) {
			t.Errorf("%s: %v", what, err)
		}
	}
	c := good
	c.Packed, c.Size = true, 3
	if _, err := queue.New(d.Mem(), c); err != nil {
		t.Errorf("packed queue of 3: %v", err)
	}
}

// raw writes one descriptor into the ring, split or packed, and makes it available.
func raw(d *virtiotest.Driver, o virtiotest.Options, slot int, addr uint64, size uint32, flags, next uint16) {
	desc, driver, _ := d.Ring(0)
	le := binary.LittleEndian
	b := desc[16*slot:]
	le.PutUint64(b, addr)
	le.PutUint32(b[8:], size)
	if o.Packed {
		le.PutUint16(b[12:], uint16(slot))
		le.PutUint16(b[14:], flags|1<<7)
		return
	}
	le.PutUint16(b[12:], flags)
	le.PutUint16(b[14:], next)
	le.PutUint16(driver[2:], 1)
}

// TestBadRings has every mistake found, once, and the queue stay broken.
func TestBadRings(t *testing.T) {
	const next, write, indirect = 1, 2, 4
	for _, c := range []struct {
		want string
		do   func(d *virtiotest.Driver, o virtiotest.Options)
	}{
		{"buffer of no bytes", func(d *virtiotest.Driver, o virtiotest.Options) { raw(d, o, 0, 4096, 0, 0, 0) }},
		{"buffer: ", func(d *virtiotest.Driver, o virtiotest.Options) { raw(d, o, 0, 1<<50, 16, 0, 0) }},
		{"buffer: ", func(d *virtiotest.Driver, o virtiotest.Options) { raw(d, o, 0, ^uint64(0)-4, 16, write, 0) }},
		{"after a writable", func(d *virtiotest.Driver, o virtiotest.Options) {
			raw(d, o, 1, 4096, 16, 0, 0)
			raw(d, o, 0, 4096, 16, write|next, 1)
		}},
		{"longer than the queue", func(d *virtiotest.Driver, o virtiotest.Options) {
			for i := range 64 {
				raw(d, o, i, 4096, 16, next, uint16(i+1)%64)
			}
		}},
		{"indirect", func(d *virtiotest.Driver, o virtiotest.Options) { raw(d, o, 0, 4096, 15, indirect, 0) }},
		{"indirect", func(d *virtiotest.Driver, o virtiotest.Options) { raw(d, o, 0, 4096, 0, indirect, 0) }},
		{"indirect", func(d *virtiotest.Driver, o virtiotest.Options) { raw(d, o, 0, 1<<50, 16, indirect, 0) }},
		{"indirect", func(d *virtiotest.Driver, o virtiotest.Options) { raw(d, o, 0, 4096, 16, indirect|next, 0) }},
	} {
		for _, o := range options() {
			d, q := rig(t, o)
			c.do(d, o)
			var chain queue.Chain
			_, err := q.Pop(&chain)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, not %q", name(o), err, c.want)
			}
			if _, again := q.Pop(&chain); again != err {
				t.Errorf("%s: the broken queue says %v", name(o), again)
			}
		}
	}
}

// TestBadSplitRings are the mistakes that only a split ring has room for.
func TestBadSplitRings(t *testing.T) {
	const next, indirect = 1, 4
	o := virtiotest.Options{Indirect: true}
	table := func(d *virtiotest.Driver, flags, to uint16) {
		at := d.Alloc(32)
		b := d.Bytes(at, 32)
		binary.LittleEndian.PutUint64(b, 4096)
		binary.LittleEndian.PutUint32(b[8:], 16)
		binary.LittleEndian.PutUint16(b[12:], flags)
		binary.LittleEndian.PutUint16(b[14:], to)
		raw(d, o, 0, at, 32, indirect, 0)
	}
	for want, do := range map[string]func(d *virtiotest.Driver){
		"descriptor 99 of 64": func(d *virtiotest.Driver) { raw(d, o, 0, 4096, 16, next, 99) },
		"jumped from 0 to 65": func(d *virtiotest.Driver) {
			_, driver, _ := d.Ring(0)
			driver[2] = 65
		},
		"in an indirect table":     func(d *virtiotest.Driver) { table(d, indirect, 0) },
		"indirect descriptor 7 of": func(d *virtiotest.Driver) { table(d, next, 7) },
		"longer than the queue":    func(d *virtiotest.Driver) { table(d, next, 0) },
	} {
		d, q := rig(t, o)
		do(d)
		var c queue.Chain
		if _, err := q.Pop(&c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
}

// FuzzRings gives a queue rings and tables of any content: it may refuse them, but never
// reads or writes outside of RAM, panics, or takes forever.
func FuzzRings(f *testing.F) {
	f.Add(true, true, true, []byte{0, 16, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0x80, 0}, []byte{0, 0, 1, 0})
	f.Add(false, true, true, []byte{0, 16, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0}, []byte{0, 0, 1, 0})
	f.Add(false, false, false, []byte{0, 16, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 4, 0, 1, 0}, []byte{0, 0, 9, 0})
	f.Fuzz(func(t *testing.T, packed, event, indirect bool, descs, avail []byte) {
		d, q := rig(t, virtiotest.Options{Packed: packed, EventIdx: event, Indirect: indirect, RAM: 64 << 10})
		desc, driver, _ := d.Ring(0)
		for i := range desc {
			if len(descs) > 0 {
				desc[i] = descs[i%len(descs)]
			}
		}
		copy(driver, avail)
		copy(d.Bytes(4096, 4096), descs)
		var c queue.Chain
		for range 200 {
			ok, err := q.Pop(&c)
			if !ok || err != nil {
				break
			}
			n := 0
			for _, b := range append(c.Out, c.In...) {
				n += len(b)
			}
			if n != int(c.OutLen())+int(c.InLen()) {
				t.Fatalf("%d bytes in buffers, %d and %d counted", n, c.OutLen(), c.InLen())
			}
			q.Push(&c, c.InLen())
			q.Publish()
			q.EnableKicks()
		}
	})
}

// BenchmarkChain is a chain of two buffers through the device's side of a queue.
func BenchmarkChain(b *testing.B) {
	for _, o := range options()[:4] {
		b.Run(name(o), func(b *testing.B) {
			d, q := rig(b, o)
			at := d.Alloc(4096)
			var c queue.Chain
			b.ReportAllocs()
			for b.Loop() {
				d.Add(0, virtiotest.Buf{Addr: at, Len: 16}, virtiotest.Buf{Addr: at + 16, Len: 4000, Write: true})
				if ok, err := q.Pop(&c); !ok || err != nil {
					b.Fatal(ok, err)
				}
				q.Push(&c, 4000)
				q.Publish()
				if _, _, ok := d.Poll(0); !ok {
					b.Fatal("no completion")
				}
			}
		})
	}
}
