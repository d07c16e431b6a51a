package virtiorng

import (
	"errors"
	"testing"

	"hv/devices/virtio"
	"hv/devices/virtio/virtiotest"
)

// counter is a Source that counts up; it gives at most limit bytes, if that is set.
type counter struct {
	next  byte
	limit int
	err   error
}

func (c *counter) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.limit > 0 && len(p) > c.limit {
		p = p[:c.limit]
	}
	for i := range p {
		c.next++
		p[i] = c.next
	}
	return len(p), nil
}

func device(t testing.TB, c Config, s Source, o virtiotest.Options) (*Device, *virtiotest.Driver) {
	t.Helper()
	dev, err := New(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return dev, virtiotest.NewDriver(t, dev, o)
}

var plenty = Config{MaxBytes: 1 << 40, Period: 1000}

func TestEntropy(t *testing.T) {
	for _, o := range []virtiotest.Options{{}, {EventIdx: true}, {Packed: true}, {Packed: true, EventIdx: true}} {
		dev, d := device(t, plenty, &counter{}, o)
		if dev.Type() != virtio.IDRNG || dev.Features() != 0 {
			t.Error("identity")
		}
		next := byte(0)
		for n := 1; n < 100; n++ {
			b, written := d.Send(0, n)
			if int(written) != n {
				t.Fatalf("%d bytes of %d", written, n)
			}
			for _, v := range b {
				if next++; v != next {
					t.Fatalf("byte %d, not %d", v, next)
				}
			}
		}
	}
}

// TestRate gives out what the quota allows, and the rest in later periods.
func TestRate(t *testing.T) {
	dev, d := device(t, Config{MaxBytes: 10, Period: 1}, &counter{}, virtiotest.Options{})
	for range 5 {
		if _, n := d.Send(0, 25); n != 10 {
			t.Errorf("%d bytes in one period", n)
		}
	}
	dev.Pause()
	dev.Resume()
	if _, n := d.Send(0, 4); n == 0 || n > 4 {
		t.Errorf("%d bytes", n)
	}
}

func TestShortSource(t *testing.T) {
	s := &counter{limit: 3}
	_, d := device(t, plenty, s, virtiotest.Options{})
	if _, n := d.Send(0, 10); n != 3 {
		t.Errorf("%d bytes", n)
	}
	d.Reset()
	s.err = errors.New("dry")
	d.Activate()
	if _, n := d.Send(0, 10); n != 0 {
		t.Errorf("%d bytes of a dry source", n)
	}
	if b, n := d.Send(0, 0, []byte("for the device to read")); n != 0 || b != nil {
		t.Error("a readable chain was written to")
	}
}

func TestBroken(t *testing.T) {
	_, d := device(t, plenty, &counter{}, virtiotest.Options{})
	d.Add(0, virtiotest.Buf{Addr: 1 << 50, Len: 8, Write: true})
	d.Nudge(0)
	d.AwaitBroken()
	d.Reset()
	d.Activate()
	if _, n := d.Send(0, 8); n != 8 {
		t.Errorf("%d bytes after a reset", n)
	}
}

func TestBadConfigs(t *testing.T) {
	for _, c := range []Config{{MaxBytes: 1}, {Period: 1}} {
		if _, err := New(c, &counter{}); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}

// FuzzQueue gives the device chains of any shape.
func FuzzQueue(f *testing.F) {
	f.Add(uint16(10), uint16(0), uint64(4096), true)
	f.Add(uint16(0), uint16(7), uint64(1<<50), false)
	f.Fuzz(func(t *testing.T, a, b uint16, addr uint64, write bool) {
		_, d := device(t, Config{MaxBytes: 1 << 30, Period: 100000}, &counter{}, virtiotest.Options{RAM: 256 << 10})
		if addr < 32<<10 {
			addr += 32 << 10 // behind the rings, which the device would write over
		}
		d.Add(0, virtiotest.Buf{Addr: addr, Len: uint32(a), Write: write}, virtiotest.Buf{Addr: 200 << 10, Len: uint32(b), Write: true})
		d.Nudge(0)
		for d.NeedsReset() == nil {
			if _, _, ok := d.Poll(0); ok {
				return
			}
		}
	})
}
