package virtiotest

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/queue"
	"hv/hypervisor/mem"
)

// Descriptor flags.
const (
	flagNext     = 1
	flagWrite    = 2
	flagIndirect = 4
	flagAvail    = 1 << 7
	flagUsed     = 1 << 15
	descSize     = 16
)

// vq is a queue as its driver sees it. Tokens are the numbers of descriptors (split) or
// buffer ids (packed); a chain's descriptors are free again when it was waited for.
type vq struct {
	d                          *Driver
	size                       uint16
	packed, eventIdx, indirect bool
	desc, driver, device       uint64 // addresses
	descs, drv, dev            mem.Ring
	kick, call                 int

	free   []uint16 // split: descriptors; packed: ids
	length []uint16 // descriptors of a chain, by token
	next   []uint16 // split: what follows a descriptor; the device may have written over the ring

	avail, used         uint16 // split: indices; packed: positions
	availWrap, usedWrap bool
	kicked              uint16 // split: the index that was kicked last
}

func (q *vq) layout() {
	n := uint64(q.size)
	q.desc = q.d.alloc(descSize*n, 4096)
	q.driver = q.d.alloc(6+2*n, 4096)
	q.device = q.d.alloc(6+8*n, 4096)
	q.descs = mem.NewRing(q.d.Bytes(q.desc, int(descSize*n)))
	q.drv = mem.NewRing(q.d.Bytes(q.driver, int(6+2*n)))
	q.dev = mem.NewRing(q.d.Bytes(q.device, int(6+8*n)))
	q.availWrap, q.usedWrap = true, true
	q.length, q.next = make([]uint16, n), make([]uint16, n)
	for i := range q.size {
		q.free = append(q.free, q.size-1-i)
	}
}

func (q *vq) config(i int) queue.Config {
	return queue.Config{Index: i, Size: q.size, Desc: q.desc, Driver: q.driver, Device: q.device,
		Packed: q.packed, EventIdx: q.eventIdx, Indirect: q.indirect}
}

// Add makes a chain available to the device, which hears of it by Kick. It fails the
// test if there is no room.
func (d *Driver) Add(i int, bufs ...Buf) (token uint16) {
	d.t.Helper()
	q := d.queues[i]
	if q.indirect && len(bufs) > 1 {
		bufs = []Buf{q.table(bufs)}
	}
	if q.packed {
		return q.addPacked(bufs)
	}
	return q.addSplit(bufs)
}

// tableFlag marks a Buf that is an indirect table, in its length.
const tableFlag = 1 << 31

// table writes an indirect table.
func (q *vq) table(bufs []Buf) Buf {
	addr := q.d.alloc(uint64(descSize*len(bufs)), 16)
	for i, b := range bufs {
		q.put(q.d.Bytes(addr+uint64(descSize*i), descSize), b, uint16(i), uint16(i+1), i+1 < len(bufs))
	}
	return Buf{Addr: addr, Len: uint32(descSize*len(bufs)) | tableFlag}
}

// put encodes a descriptor of a table.
func (q *vq) put(at []byte, b Buf, id, next uint16, more bool) {
	le := binary.LittleEndian
	le.PutUint64(at, b.Addr)
	le.PutUint32(at[8:], b.Len)
	flags := uint16(0)
	if b.Write {
		flags = flagWrite
	}
	if q.packed {
		le.PutUint16(at[12:], id)
		le.PutUint16(at[14:], flags)
		return
	}
	if more {
		flags |= flagNext
	}
	le.PutUint16(at[12:], flags)
	le.PutUint16(at[14:], next)
}

func (q *vq) take() uint16 {
	q.d.t.Helper()
	if len(q.free) == 0 {
		q.d.t.Fatal("the driver has no descriptor left")
	}
	id := q.free[len(q.free)-1]
	q.free = q.free[:len(q.free)-1]
	return id
}

func flagsOf(b Buf) (size uint32, flags uint16) {
	if b.Write {
		flags |= flagWrite
	}
	if b.Len&tableFlag != 0 {
		flags |= flagIndirect
	}
	return b.Len &^ tableFlag, flags
}

func (q *vq) addSplit(bufs []Buf) uint16 {
	head := q.take()
	q.length[head] = uint16(len(bufs))
	at := head
	for i, b := range bufs {
		size, flags := flagsOf(b)
		off := descSize * int(at)
		next := uint16(0)
		if i+1 < len(bufs) {
			next = q.take()
			flags |= flagNext
		}
		q.descs.Store64(off, b.Addr)
		q.descs.Store32(off+8, size)
		q.descs.Store16(off+12, flags)
		q.descs.Store16(off+14, next)
		q.next[at] = next
		at = next
	}
	q.drv.Store16(4+2*int(q.avail%q.size), head)
	q.avail++
	q.drv.Store16(2, q.avail)
	return head
}

func (q *vq) addPacked(bufs []Buf) uint16 {
	id := q.take()
	q.length[id] = uint16(len(bufs))
	firstOff, firstFlags := -1, uint16(0)
	for i, b := range bufs {
		size, flags := flagsOf(b)
		if i+1 < len(bufs) {
			flags |= flagNext
		}
		if q.availWrap {
			flags |= flagAvail
		} else {
			flags |= flagUsed
		}
		off := descSize * int(q.avail)
		q.descs.Store64(off, b.Addr)
		q.descs.Store32(off+8, size)
		q.descs.Store16(off+12, id)
		if firstOff < 0 {
			firstOff, firstFlags = off+14, flags
		} else {
			q.descs.Store16(off+14, flags)
		}
		if q.avail++; q.avail == q.size {
			q.avail, q.availWrap = 0, !q.availWrap
		}
	}
	// The first descriptor shows the whole chain (§2.8.21).
	q.descs.Store16(firstOff, firstFlags)
	return id
}

// Kick notifies the device if it wants to be, and reports whether it was.
func (d *Driver) Kick(i int) bool {
	q := d.queues[i]
	mem.Fence()
	if !q.wantsKick() {
		return false
	}
	signal(q.kick)
	return true
}

// Nudge notifies the device in any case.
func (d *Driver) Nudge(i int) { signal(d.queues[i].kick) }

func (q *vq) wantsKick() bool {
	if q.packed {
		// Whatever is not "disabled" is taken as "enabled": too many kicks do no harm.
		return q.dev.Load32(0)>>16&3 != 1
	}
	if q.eventIdx {
		old := q.kicked
		q.kicked = q.avail
		event := q.dev.Load16(4 + 8*int(q.size))
		return q.avail-event-1 < q.avail-old
	}
	return q.dev.Load16(0)&1 == 0
}

// Poll returns the next completion, if there is one.
func (d *Driver) Poll(i int) (token uint16, written uint32, ok bool) {
	q := d.queues[i]
	if q.packed {
		return q.pollPacked()
	}
	if q.dev.Load16(2) == q.used {
		return 0, 0, false
	}
	off := 4 + 8*int(q.used%q.size)
	id, n := q.dev.Load32(off), q.dev.Load32(off+4)
	q.used++
	if id >= uint32(q.size) || q.length[id] == 0 {
		d.t.Fatalf("queue %d: completion of chain %d, which is not under way", i, id)
	}
	at := uint16(id)
	for range q.length[id] {
		q.free = append(q.free, at)
		at = q.next[at]
	}
	q.length[id] = 0
	if q.eventIdx {
		q.drv.Store16(4+2*int(q.size), q.used)
		mem.Fence()
	}
	return uint16(id), n, true
}

func (q *vq) pollPacked() (uint16, uint32, bool) {
	off := descSize * int(q.used)
	flags := q.descs.Load16(off + 14)
	if (flags&flagAvail != 0) != q.usedWrap || (flags&flagUsed != 0) != q.usedWrap {
		return 0, 0, false
	}
	id, n := q.descs.Load16(off+12), q.descs.Load32(off+8)
	if id >= q.size || q.length[id] == 0 {
		q.d.t.Fatalf("completion of chain %d, which is not under way", id)
	}
	if q.used += q.length[id]; q.used >= q.size {
		q.used -= q.size
		q.usedWrap = !q.usedWrap
	}
	q.length[id] = 0
	q.free = append(q.free, id)
	if q.eventIdx {
		word := uint32(q.used) | 2<<16
		if q.usedWrap {
			word |= 1 << 15
		}
		q.drv.Store32(0, word)
		mem.Fence()
	}
	return id, n, true
}

// Wait returns the next completion, and sleeps until the device's interrupt for it.
func (d *Driver) Wait(i int) (token uint16, written uint32) {
	d.t.Helper()
	q := d.queues[i]
	limit := time.Now().Add(patience)
	for {
		if token, written, ok := d.Poll(i); ok {
			return token, written
		}
		if err := d.NeedsReset(); err != nil {
			d.t.Fatalf("queue %d: the device broke: %v", i, err)
		}
		if time.Now().After(limit) {
			d.t.Fatalf("queue %d: no completion", i)
		}
		fds := []unix.PollFd{{Fd: int32(q.call), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 100); n > 0 {
			var b [8]byte
			_, _ = unix.Read(q.call, b[:])
		}
	}
}

// Feed is for fuzzing: it gives queue i a chain of out, cut in two, and a buffer of in
// bytes, and reports whether that made a chain at all.
func (d *Driver) Feed(i int, out []byte, in uint32, cut uint8) bool {
	at := d.Alloc(len(out) + int(in) + 1)
	copy(d.Bytes(at, len(out)), out)
	first := uint32(min(int(cut), len(out)))
	var bufs []Buf
	for _, b := range []Buf{
		{Addr: at, Len: first},
		{Addr: at + uint64(first), Len: uint32(len(out)) - first},
		{Addr: at + uint64(len(out)), Len: in, Write: true},
	} {
		if b.Len > 0 {
			bufs = append(bufs, b)
		}
	}
	if len(bufs) > 0 {
		d.Add(i, bufs...)
		d.Nudge(i)
	}
	return len(bufs) > 0
}

// Settle returns when the device has given a chain back, with what it wrote, or is broken.
func (d *Driver) Settle(i int) (written uint32) {
	for d.NeedsReset() == nil {
		if _, n, ok := d.Poll(i); ok {
			return n
		}
	}
	return 0
}

// Send carries out one whole request: out is what the device reads, in one buffer each,
// and in the bytes that it may write, in one buffer. It returns those.
func (d *Driver) Send(i int, in int, out ...[]byte) (answer []byte, written uint32) {
	d.t.Helper()
	mark := d.Mark()
	defer d.Release(mark)
	var bufs []Buf
	for _, b := range out {
		at := d.Alloc(len(b))
		copy(d.Bytes(at, len(b)), b)
		bufs = append(bufs, Buf{Addr: at, Len: uint32(len(b))})
	}
	var at uint64
	if in > 0 {
		at = d.Alloc(in)
		bufs = append(bufs, Buf{Addr: at, Len: uint32(in), Write: true})
	}
	token := d.Add(i, bufs...)
	d.Kick(i)
	got, written := d.Wait(i)
	if got != token {
		d.t.Fatalf("queue %d: chain %d completed, not %d", i, got, token)
	}
	if in > 0 {
		answer = append(answer, d.Bytes(at, in)...)
	}
	return answer, written
}

// Ring returns the three areas of a queue as memory, for a driver that writes nonsense
// into them.
func (d *Driver) Ring(i int) (desc, driver, device []byte) {
	q := d.queues[i]
	n := int(q.size)
	return d.Bytes(q.desc, descSize*n), d.Bytes(q.driver, 6+2*n), d.Bytes(q.device, 6+8*n)
}
