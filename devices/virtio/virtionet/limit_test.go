package virtionet

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/virtiotest"
)

// TestBucket: the burst passes at once, and then what the rate allows.
func TestBucket(t *testing.T) {
	if b := newBucket(rate{burst: time.Second}); b != nil || b.wait() != 0 {
		t.Error("a rate of nothing limits")
	}
	for what, r := range map[string]rate{
		"bits":    {bits: 800, burst: time.Second},
		"packets": {packets: 1, burst: time.Second},
		"both":    {bits: 800, packets: 1000, burst: time.Second},
	} {
		b := newBucket(r)
		b.began = time.Now()
		n := 0
		for b.wait() == 0 {
			b.charge(100) // a second's
			n++
		}
		if wait := b.wait(); n != 2 || wait > time.Second {
			t.Errorf("%s: %d packets at once, then a wait of %v", what, n, wait)
		}
		b.began = b.began.Add(-time.Hour) // later, no more than the burst
		for n = 0; b.wait() == 0; n++ {
			b.charge(100)
		}
		if n != 2 {
			t.Errorf("%s: %d packets after an hour", what, n)
		}
	}
}

// TestLimits: what one direction has to wait for does not hold up the other.
func TestLimits(t *testing.T) {
	dev, d, c := nicWith(t, 1, virtiotest.Options{EventIdx: true}, nil, func(c *Config) { c.TxBits, c.RxPackets, c.RxBurst = 1, 100, 1000 })
	d.Send(1, 0, packet(MAC{2}, 1))
	at := d.Alloc(100)
	d.Add(1, virtiotest.Buf{Addr: at, Len: 100})
	d.Kick(1)
	offer(d, 0, 80, 1024)
	for range 50 {
		c.give(t, 0, packet(own, 1))
		d.Wait(0)
	}
	if got := dev.Counters(); got.Rx[0].Packets != 50 || got.Tx[0].Packets != 1 {
		t.Errorf("counted %+v", got)
	}
	if _, _, ok := d.Poll(1); ok {
		t.Error("the second packet was sent")
	}
}

// TestRxLimit has packets wait at the link, and loses none.
func TestRxLimit(t *testing.T) {
	_, d, c := nicWith(t, 1, virtiotest.Options{EventIdx: true}, nil, func(c *Config) { c.RxPackets = 500 })
	offer(d, 0, 80, 1024)
	for range 50 {
		c.give(t, 0, packet(own, 1))
	}
	began := time.Now()
	for range 50 {
		d.Wait(0)
	}
	if took := time.Since(began); took < 70*time.Millisecond {
		t.Errorf("50 packets at 500 a second took %v", took)
	}
}

// TestTxTimer: packets wait for more, and then are sent.
func TestTxTimer(t *testing.T) {
	_, d, c := nicWith(t, 1, virtiotest.Options{EventIdx: true}, nil, func(c *Config) { c.TX, c.TXTimer, c.TXBurst = "timer", 20_000_000, 2 })
	for range 2 {
		began := time.Now()
		for range 5 {
			at := d.Alloc(100)
			d.Add(1, virtiotest.Buf{Addr: at, Len: 100})
			d.Nudge(1)
		}
		for range 5 {
			d.Wait(1)
			c.take(t, 0)
		}
		if took := time.Since(began); took < 20*time.Millisecond {
			t.Errorf("sent after %v", took)
		}
	}
	if _, err := unix.Read(c.peer[0], make([]byte, 10)); err != unix.EAGAIN {
		t.Error("more than was sent")
	}
}
