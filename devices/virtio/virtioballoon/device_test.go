package virtioballoon

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"hv/devices/virtio"
	"hv/devices/virtio/virtiotest"
)

// host remembers what it was given back.
type host struct {
	mu       sync.Mutex
	runs     [][2]uint64
	released int
	err      error
}

func (h *host) Discard(gpa, n uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs = append(h.runs, [2]uint64{gpa, n})
	return errors.New("no RAM, which is the guest's problem")
}

func (h *host) Release(view []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released += len(view)
	return h.err
}

const ram = 1 << 30

func balloon(t testing.TB, c Config, o virtiotest.Options) (*Device, *virtiotest.Driver, *host, chan uint64) {
	t.Helper()
	h, changes := &host{}, make(chan uint64, 10)
	dev := New(c, ram, h, func(actual uint64) { changes <- actual })
	return dev, virtiotest.NewDriver(t, dev, o), h, changes
}

func numbers(list ...uint32) []byte {
	var b []byte
	for _, n := range list {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// TestInflate gives pages back in runs.
func TestInflate(t *testing.T) {
	for _, o := range []virtiotest.Options{{}, {Packed: true, EventIdx: true}} {
		dev, d, h, _ := balloon(t, Config{}, o)
		if dev.Type() != virtio.IDBalloon || len(dev.QueueSizes()) != 3 || dev.Features() != featureStats {
			t.Error("identity")
		}
		d.Send(queueInflate, 0, numbers(5, 6, 7, 9), numbers(10, 1))
		d.Send(queueDeflate, 0, numbers(5, 6))
		d.Send(queueInflate, 0, numbers(1<<31))
		want := [][2]uint64{{5 << 12, 3 << 12}, {9 << 12, 2 << 12}, {1 << 12, 1 << 12}, {1 << 43, 1 << 12}}
		h.mu.Lock()
		if !slices.Equal(h.runs, want) {
			t.Errorf("given back: %x", h.runs)
		}
		h.mu.Unlock()
	}
}

func TestTargetAndActual(t *testing.T) {
	dev, d, _, changes := balloon(t, Config{}, virtiotest.Options{})
	if dev.Actual() != ram {
		t.Error("not empty at the start")
	}
	dev.SetTarget(ram - 10*pageSize)
	d.AwaitConfigChange(1)
	var b [10]byte
	dev.ReadConfig(0, b[:])
	if n := binary.LittleEndian.Uint32(b[:]); n != 10 {
		t.Errorf("%d pages wanted", n)
	}
	dev.WriteConfig(4, numbers(7))
	if got := <-changes; got != ram-7*pageSize || dev.Actual() != got {
		t.Errorf("actual %d", got)
	}
	dev.WriteConfig(4, numbers(7))       // nothing new
	dev.WriteConfig(0, numbers(99))      // not the driver's
	dev.WriteConfig(4, []byte{1})        // too short
	dev.WriteConfig(4, numbers(1<<32-1)) // more than there is
	if got := <-changes; got != 0 {
		t.Errorf("actual %d", got)
	}
	dev.SetTarget(2 * ram)
	if dev.ReadConfig(0, b[:]); binary.LittleEndian.Uint32(b[:]) != 0 {
		t.Error("a target above all RAM")
	}
	d.Reset()
	if dev.Actual() != ram {
		t.Error("not empty after a reset")
	}
}

func TestReporting(t *testing.T) {
	dev, d, h, _ := balloon(t, Config{FreePageReporting: true, DeflateOnOOM: true}, virtiotest.Options{Indirect: true})
	if dev.Features() != featureStats|featureOOM|featureReporting {
		t.Errorf("features %#x", dev.Features())
	}
	at := d.Alloc(3 * pageSize)
	d.Add(queueReporting, virtiotest.Buf{Addr: at, Len: pageSize, Write: true}, virtiotest.Buf{Addr: at + pageSize, Len: 2 * pageSize, Write: true})
	d.Kick(queueReporting)
	d.Wait(queueReporting)
	h.mu.Lock()
	if h.released != 3*pageSize {
		t.Errorf("%d bytes released", h.released)
	}
	h.err = errors.New("busy")
	h.mu.Unlock()
	d.Add(queueReporting, virtiotest.Buf{Addr: at, Len: pageSize, Write: true})
	d.Nudge(queueReporting)
	if err := d.AwaitBroken(); !errors.Is(err, h.err) {
		t.Error(err)
	}
}

// TestStats asks for statistics at each interval; the buffer goes back and forth.
func TestStats(t *testing.T) {
	dev, d, _, _ := balloon(t, Config{Interval: 1}, virtiotest.Options{})
	stat := func(tag uint16, v uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(nil, tag), v)
	}
	at := d.Alloc(64)
	for round := range uint64(2) {
		b := append(stat(4, 1000+round), stat(5, 77)...)
		copy(d.Bytes(at, 64), b)
		before := time.Now()
		d.Add(queueStats, virtiotest.Buf{Addr: at, Len: uint32(len(b))})
		d.Kick(queueStats)
		d.Wait(queueStats) // at the next question
		s := dev.Stats()
		if s.Values[4] != 1000+round || s.Values[5] != 77 || s.Update.Before(before) {
			t.Errorf("statistics %+v", s)
		}
	}
	d.Reset()
	if len(dev.Stats().Values) != 0 {
		t.Error("statistics survive a reset")
	}
}

func TestPause(t *testing.T) {
	dev, d, h, _ := balloon(t, Config{}, virtiotest.Options{})
	dev.Pause()
	at := d.Alloc(4)
	d.Add(queueInflate, virtiotest.Buf{Addr: at, Len: 4})
	d.Nudge(queueInflate)
	h.mu.Lock()
	if len(h.runs) != 0 {
		t.Error("pages were given back while paused")
	}
	h.mu.Unlock()
	dev.Resume()
	d.Wait(queueInflate)
}

func TestOddList(t *testing.T) {
	_, d, _, _ := balloon(t, Config{}, virtiotest.Options{})
	d.Add(queueInflate, virtiotest.Buf{Addr: 4096, Len: 5})
	d.Nudge(queueInflate)
	if err := d.AwaitBroken(); !errors.Is(err, errPages) {
		t.Error(err)
	}
}

// FuzzQueues gives every queue lists of any content.
func FuzzQueues(f *testing.F) {
	f.Add(uint8(queueInflate), numbers(1, 2, 3), false)
	f.Add(uint8(queueStats), make([]byte, 25), false)
	f.Add(uint8(queueReporting), make([]byte, 4096), true)
	f.Fuzz(func(t *testing.T, q uint8, b []byte, write bool) {
		_, d, _, _ := balloon(t, Config{FreePageReporting: true}, virtiotest.Options{})
		i := int(q) % 4
		in := uint32(0)
		if write {
			in, b = uint32(len(b)), nil
		}
		if d.Feed(i, b, in, 0) && i != queueStats {
			d.Settle(i)
		}
	})
}
