package virtiomem

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"hv/devices/virtio"
	"hv/devices/virtio/virtiotest"
)

const (
	mib    = 1 << 20
	base   = 1 << 32
	region = 64 * mib
	block  = 2 * mib
)

// host remembers what it was asked for.
type host struct {
	mu        sync.Mutex
	populated [][2]uint64
	discarded [][2]uint64
	err       error
}

func (h *host) Populate(off, n uint64) error { return h.note(&h.populated, off, n) }
func (h *host) Discard(off, n uint64) error  { return h.note(&h.discarded, off, n) }

func (h *host) note(list *[][2]uint64, off, n uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, [2]uint64{off, n})
	return h.err
}

func (h *host) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// take returns what was asked for since the last call.
func (h *host) take() (populated, discarded [][2]uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	populated, discarded = h.populated, h.discarded
	h.populated, h.discarded = nil, nil
	return populated, discarded
}

// rig is a device with a driver.
type rig struct {
	t     testing.TB
	dev   *Device
	d     *virtiotest.Driver
	host  *host
	sizes chan uint64
}

func config(h *host, sizes chan uint64) Config {
	return Config{Memory: h, Addr: base, Region: region, Block: block, Changed: func(n uint64) { sizes <- n }}
}

func newRig(t testing.TB, o virtiotest.Options, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, host: &host{}, sizes: make(chan uint64, 1000)}
	c := config(r.host, r.sizes)
	change(&c)
	var err error
	if r.dev, err = New(c); err != nil {
		t.Fatal(err)
	}
	r.host.take()
	r.d = virtiotest.NewDriver(t, r.dev, o)
	return r
}

func encode(typ uint16, addr uint64, blocks uint16) []byte {
	var b [reqSize]byte
	binary.LittleEndian.PutUint16(b[:], typ)
	binary.LittleEndian.PutUint64(b[8:], addr)
	binary.LittleEndian.PutUint16(b[16:], blocks)
	return b[:]
}

// ask carries out a request for blocks from index first on.
func (r *rig) ask(typ uint16, first int, blocks uint16) (answer, state uint16) {
	r.t.Helper()
	b, n := r.d.Send(queueReq, respSize, encode(typ, base+uint64(first)*block, blocks))
	if n != respSize {
		r.t.Fatalf("response of %d bytes", n)
	}
	return binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[8:])
}

// want is a request with the answer that it must have.
func (r *rig) want(typ uint16, first int, blocks, answer uint16) {
	r.t.Helper()
	if got, _ := r.ask(typ, first, blocks); got != answer {
		r.t.Errorf("request %d of %d blocks from %d: answer %d, not %d", typ, blocks, first, got, answer)
	}
}

func (r *rig) config(off int) uint64 {
	var b [8]byte
	r.dev.ReadConfig(uint64(off), b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func TestPlugAndUnplug(t *testing.T) {
	for _, o := range []virtiotest.Options{{}, {Packed: true, EventIdx: true}, {Indirect: true}} {
		r := newRig(t, o, func(c *Config) { c.Requested = 10 * block })
		r.want(reqPlug, 0, 4, respACK)
		r.want(reqPlug, 6, 2, respACK)
		if got := []uint64{<-r.sizes, <-r.sizes}; !slices.Equal(got, []uint64{4 * block, 6 * block}) || r.dev.PluggedSize() != 6*block {
			t.Errorf("sizes %v", got)
		}
		r.want(reqPlug, 3, 2, respError)   // one is plugged
		r.want(reqPlug, 10, 5, respNACK)   // more than requested
		r.want(reqUnplug, 3, 4, respError) // some are unplugged
		r.want(reqUnplug, 1, 2, respACK)
		if got := maps.Collect(r.dev.Plugged()); !maps.Equal(got, map[uint64]uint64{0: block, 3 * block: block, 6 * block: 2 * block}) {
			t.Errorf("plugged %x", got)
		}
		populated, discarded := r.host.take()
		if populated != nil || !slices.Equal(discarded, [][2]uint64{{block, 2 * block}}) {
			t.Errorf("populated %x, discarded %x", populated, discarded)
		}
		for first, state := range map[int]uint16{0: statePlugged, 1: stateUnplugged, 6: statePlugged, 2: stateUnplugged} {
			if answer, got := r.ask(reqState, first, 1); answer != respACK || got != state {
				t.Errorf("block %d: answer %d, state %d", first, answer, got)
			}
		}
		if _, state := r.ask(reqState, 0, 8); state != stateMixed {
			t.Errorf("state of all is %d", state)
		}
		r.want(reqUnplugAll, 0, 0, respACK)
		if r.dev.PluggedSize() != 0 {
			t.Error("blocks are left")
		}
	}
}

// TestRanges refuses what is not usable.
func TestRanges(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Requested = block })
	for _, typ := range []uint16{reqPlug, reqUnplug, reqState} {
		for _, x := range []struct {
			addr   uint64
			blocks uint16
		}{
			{base, 0}, {base + 1, 1}, {base + mib, 1}, {base - block, 1}, {base - block, 2}, {base + region, 1}, {base, region/block + 1},
			{base, 65535}, {0, 1}, {^uint64(0) - block + 1, 1}, {^uint64(0) - block + 1, 2},
		} {
			b, _ := r.d.Send(queueReq, respSize, encode(typ, x.addr, x.blocks))
			if got := binary.LittleEndian.Uint16(b); got != respError {
				t.Errorf("request %d of %d blocks at %#x: answer %d", typ, x.blocks, x.addr, got)
			}
		}
	}
	if r.dev.PluggedSize() != 0 || len(r.sizes) > 0 {
		t.Error("something was plugged")
	}
}

func TestConfigSpace(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Region, c.Requested, c.Node = 1<<30, 4*block, 3 })
	if r.dev.Type() != virtio.IDMem || len(r.dev.QueueSizes()) != 1 {
		t.Error("identity")
	}
	r.want(reqPlug, 0, 2, respACK)
	for off, want := range map[int]uint64{
		configBlock: block, configNode: 3, configAddr: base, configRegion: 1 << 30, configUsable: 4*block + slack, configPlugged: 2 * block,
		configRequested: 4 * block, configSize: 0, configSize - 4: 0, 1 << 40: 0,
	} {
		if got := r.config(off); got != want {
			t.Errorf("configuration at %d is %#x, not %#x", off, got, want)
		}
	}
	r.dev.WriteConfig(configRequested, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if r.config(configRequested) != 4*block {
		t.Error("the driver wrote the configuration")
	}
}

// TestRequestedSize grows and shrinks; what is usable follows when all is unplugged.
func TestRequestedSize(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Region = 1 << 30 })
	if r.config(configUsable) != 0 {
		t.Error("something is usable though nothing is requested")
	}
	r.want(reqPlug, 0, 1, respError)
	for i, n := range []uint64{512 * mib, 1 << 30, 2 * block, 2 * block} {
		if err := r.dev.SetRequestedSize(n); err != nil {
			t.Fatal(err)
		}
		r.d.AwaitConfigChange(i + 1)
		if r.dev.RequestedSize() != n || r.config(configRequested) != n {
			t.Errorf("requested size is not %#x", n)
		}
	}
	if r.config(configUsable) != 1<<30 {
		t.Error("what is usable shrank while blocks could be plugged there")
	}
	r.want(reqPlug, 500, 2, respACK)
	r.want(reqPlug, 502, 1, respNACK)
	if r.dev.UnplugAll() != nil || r.config(configUsable) != 2*block+slack || r.config(configPlugged) != 0 {
		t.Error("all is unplugged, but more than requested is usable")
	}
	for n, want := range map[uint64]string{1: "multiples of 'block-size' (0x200000)", 2 << 30: "cannot exceed the memory backend size(0x40000000)"} {
		if err := r.dev.SetRequestedSize(n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%#x: %v", n, err)
		}
	}
}

// TestNoMemory tells the guest to try again when the host has none.
func TestNoMemory(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Requested, c.Prealloc = region, true })
	r.want(reqPlug, 0, 2, respACK)
	if populated, _ := r.host.take(); !slices.Equal(populated, [][2]uint64{{0, 2 * block}}) {
		t.Errorf("populated %x", populated)
	}
	r.host.fail(errors.New("no memory"))
	r.want(reqPlug, 2, 1, respBusy)
	if _, discarded := r.host.take(); !slices.Equal(discarded, [][2]uint64{{2 * block, block}}) {
		t.Errorf("discarded %x of what came", discarded)
	}
	r.want(reqUnplug, 0, 1, respBusy)
	r.want(reqUnplugAll, 0, 0, respBusy)
	if r.dev.PluggedSize() != 2*block || r.dev.UnplugAll() == nil {
		t.Error("something was unplugged")
	}
	r.host.fail(nil)
	r.want(reqUnplug, 0, 2, respACK)
}

// TestResets keeps what is plugged when the driver goes.
func TestResets(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Requested = region })
	r.want(reqPlug, 3, 5, respACK)
	r.d.Reset()
	if r.dev.PluggedSize() != 5*block {
		t.Error("blocks went with the driver")
	}
	r.d.Activate()
	if _, state := r.ask(reqState, 3, 5); state != statePlugged {
		t.Error("blocks are not what they were")
	}
	r.d.Reset()
	<-r.sizes
	if r.dev.UnplugAll() != nil || <-r.sizes != 0 {
		t.Error("blocks survive a reset of the machine")
	}
	if r.dev.UnplugAll() != nil || len(r.sizes) != 0 {
		t.Error("a change was told of that was none")
	}
}

func TestPause(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Requested = region })
	r.dev.Pause()
	at := r.d.Alloc(reqSize + respSize)
	copy(r.d.Bytes(at, reqSize), encode(reqPlug, base, 1))
	r.d.Add(queueReq, virtiotest.Buf{Addr: at, Len: reqSize}, virtiotest.Buf{Addr: at + reqSize, Len: respSize, Write: true})
	r.d.Nudge(queueReq)
	if r.dev.PluggedSize() != 0 {
		t.Error("a block was plugged while paused")
	}
	r.dev.Resume()
	r.d.Wait(queueReq)
	if r.dev.PluggedSize() != block {
		t.Error("the request was lost")
	}
}

func TestFeatures(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.HasNodes, c.Inaccessible = true, true })
	if r.dev.Features() != featurePXM|featureInaccessible || r.dev.Accepts(featurePXM) || !r.dev.Accepts(featureInaccessible) {
		t.Errorf("features %#x", r.dev.Features())
	}
	open := newRig(t, virtiotest.Options{}, func(*Config) {})
	if open.dev.Features() != 0 || !open.dev.Accepts(0) {
		t.Errorf("features %#x", open.dev.Features())
	}
}

func TestBadRequests(t *testing.T) {
	for name, x := range map[string]struct {
		out  []byte
		in   uint32
		want error
	}{
		"type":        {encode(4, base, 1), respSize, errType},
		"short":       {encode(reqPlug, base, 1)[:20], respSize, errShort},
		"no room":     {encode(reqPlug, base, 1), respSize - 1, errShort},
		"no response": {encode(reqPlug, base, 1), 0, errShort},
	} {
		r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Requested = region })
		r.d.Feed(queueReq, x.out, x.in, 7)
		if err := r.d.AwaitBroken(); !errors.Is(err, x.want) || r.dev.PluggedSize() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"at least 0x100000":                 func(c *Config) { c.Block = 4096 },
		"power of two":                      func(c *Config) { c.Block = 3 * mib },
		"'requested-size' property has":     func(c *Config) { c.Requested = mib },
		"'memaddr' property has":            func(c *Config) { c.Addr = mib },
		"'memdev' property has":             func(c *Config) { c.Region += mib },
		"cannot exceed":                     func(c *Config) { c.Requested = 2 * region },
		"Unexpected error discarding RAM: ": func(c *Config) { c.Memory.(*host).err = errors.New("no") },
	} {
		c := config(&host{}, nil)
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	for page, want := range map[uint64]uint64{4096: 2 * mib, 64 << 10: mib, 1 << 30: 1 << 30} {
		if got := DefaultBlock(page); got != want {
			t.Errorf("blocks of %#x for pages of %#x", got, page)
		}
	}
}

// FuzzRequests compares what requests do with a plain model.
func FuzzRequests(f *testing.F) {
	f.Add([]byte{0, 0, 4, 1, 1, 2, 3, 0, 8, 2, 0, 0}, uint8(0))
	f.Add([]byte{0, 30, 4, 3, 31, 1, 9, 9, 9}, uint8(13))
	f.Fuzz(func(t *testing.T, script []byte, cut uint8) {
		r := newRig(t, virtiotest.Options{Packed: cut%2 == 1}, func(c *Config) { c.Requested = 16 * block })
		var model [region / block]bool
		for ; len(script) >= 3 && r.d.NeedsReset() == nil; script = script[3:] {
			typ, first, n := uint16(script[0]%5), int(script[1]%40), int(script[2]%40)
			mark := r.d.Mark()
			r.d.Feed(queueReq, encode(typ, base+uint64(first)*block, uint16(n)), respSize, cut)
			r.d.Settle(queueReq)
			r.d.Release(mark)
			apply(&model, typ, first, n)
		}
		r.dev.mu.Lock()
		state := slices.Clone(r.dev.plugged)
		r.dev.mu.Unlock()
		var size uint64
		for i, plugged := range model {
			if plugged {
				size += block
			}
			if state[i] != plugged {
				t.Fatalf("block %d plugged: %v", i, !plugged)
			}
		}
		if r.dev.PluggedSize() != size {
			t.Fatalf("%d bytes plugged, not %d", r.dev.PluggedSize(), size)
		}
	})
}

// apply does to the model what a request does to a device that 16 blocks are requested of.
func apply(model *[region / block]bool, typ uint16, first, n int) {
	if typ == reqUnplugAll {
		clear(model[:])
		return
	}
	if typ > reqUnplug || n == 0 || first+n > len(model) {
		return
	}
	plug, there := typ == reqPlug, 0
	for _, p := range model {
		if p {
			there++
		}
	}
	if plug && there+n > 16 || slices.Contains(model[first:first+n], plug) {
		return
	}
	for i := range n {
		model[first+i] = plug
	}
}
