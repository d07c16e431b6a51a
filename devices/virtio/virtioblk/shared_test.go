package virtioblk

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"hv/devices/ioloop"
	"hv/devices/virtio/spin"
	"hv/devices/virtio/virtiotest"
)

// onLoop returns a disk that a loop serves.
func onLoop(t testing.TB, l *ioloop.Loop, m *medium, o virtiotest.Options, change ...func(c *Config)) (*Device, *virtiotest.Driver) {
	t.Helper()
	c := goodConfig()
	for _, f := range change {
		f(&c)
	}
	dev, err := New(c, m, 1)
	if err != nil {
		t.Fatal(err)
	}
	dev.ServeOn(l)
	return dev, virtiotest.NewDriver(t, dev, o)
}

func newLoop(t testing.TB) *ioloop.Loop {
	t.Helper()
	l, err := ioloop.New(spin.Rule{Max: spin.Max})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestSharedThread has two disks on one thread, which are paused, reset and closed while the
// other goes on.
func TestSharedThread(t *testing.T) {
	l := newLoop(t)
	for _, o := range rings() {
		m, n := newMedium(1<<20), newMedium(1<<20)
		devA, a := onLoop(t, l, m, o, func(c *Config) { c.NumQueues = 2 })
		devB, b := onLoop(t, l, n, o)
		data := bytes.Repeat([]byte{7}, 512)
		check := func(d *virtiotest.Driver, sector uint64) {
			t.Helper()
			if _, status := do(t, d, 0, header(typeOut, sector), data); status != statusOK {
				t.Fatalf("status %d", status)
			}
			if got, status := do(t, d, 512, header(typeIn, sector)); status != statusOK || !bytes.Equal(got, data) {
				t.Fatalf("status %d", status)
			}
		}
		for i := range uint64(100) {
			check(a, i)
			check(b, i)
			switch i % 10 {
			case 3:
				devA.Pause()
				check(b, i)
				devA.Resume()
			case 5:
				a.RestartQueue(1)
			case 7:
				devB.Pause()
				devA.Pause()
				devA.Resume()
				devB.Resume()
			}
		}
		devA.Reset()
		check(b, 1)
		devB.Reset()
	}
}

// TestSharedThreadFailures has NewIO and the back end fail.
func TestSharedThreadFailures(t *testing.T) {
	l := newLoop(t)
	m := newMedium(1 << 20)
	dev, d := onLoop(t, l, m, virtiotest.Options{})
	dev.Reset()
	m.refuse = errors.New("no more descriptors")
	if err := d.TryActivate(); err == nil || !strings.Contains(err.Error(), "no more descriptors") {
		t.Fatal(err)
	}
	m.refuse = nil
	d.Activate()
	m.mu.Lock()
	m.broken = errors.New("gone")
	m.mu.Unlock()
	h, at := d.Alloc(headerSize), d.Alloc(1)
	copy(d.Bytes(h, headerSize), header(typeFlush, 0))
	d.Add(0, virtiotest.Buf{Addr: h, Len: headerSize}, virtiotest.Buf{Addr: at, Len: 1, Write: true})
	d.Kick(0)
	if err := d.AwaitBroken(); !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}
}

func BenchmarkShared(b *testing.B) {
	_, d := onLoop(b, newLoop(b), newMedium(1<<20), virtiotest.Options{EventIdx: true})
	h, at := d.Alloc(headerSize), d.Alloc(513)
	copy(d.Bytes(h, headerSize), header(typeIn, 0))
	bufs := []virtiotest.Buf{{Addr: h, Len: headerSize}, {Addr: at, Len: 513, Write: true}}
	b.ReportAllocs()
	for b.Loop() {
		d.Add(0, bufs...)
		d.Kick(0)
		d.Wait(0)
	}
}
