package watchdog

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// manual is a clock that a test moves.
type manual struct {
	now    time.Time
	timers []*timer
}

type timer struct {
	at      time.Time
	f       func()
	stopped bool
}

func (c *manual) Now() time.Time { return c.now }

func (c *manual) AfterFunc(d time.Duration, f func()) func() bool {
	t := &timer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool { was := !t.stopped; t.stopped = true; return was }
}

// advance lets time pass and timers fire.
func (c *manual) advance(d time.Duration) {
	end := c.now.Add(d)
	for {
		var next *timer
		for _, t := range c.timers {
			if !t.stopped && !t.at.After(end) && (next == nil || t.at.Before(next.at)) {
				next = t
			}
		}
		if next == nil {
			break
		}
		c.now, next.stopped = next.at, true
		next.f()
	}
	c.now = end
	c.timers = slices.DeleteFunc(c.timers, func(t *timer) bool { return t.stopped })
}

// rig is a watchdog and its driver.
type rig struct {
	*Device
	clock   manual
	expired int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{}
	d, err := New(Config{Clock: &r.clock, Expired: func() { r.expired++ }})
	if err != nil {
		t.Fatal(err)
	}
	r.Device = d
	d.Resume()
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if r.clock.advance(time.Hour); len(r.clock.timers) != 0 {
			t.Error("a timer is left")
		}
	})
	return r
}

func (r *rig) write(off uint64, size int, v uint32) {
	(*memory)(r.Device).Write(off, binary.LittleEndian.AppendUint32(nil, v)[:size])
}

// unlocked writes a register as Linux's driver does.
func (r *rig) unlocked(off uint64, size int, v uint32) {
	r.write(regReload, 2, unlock1)
	r.write(regReload, 2, unlock2)
	r.write(off, size, v)
}

func (r *rig) reload(size int) uint32 {
	var b [4]byte
	(*memory)(r.Device).Read(regReload, b[:size])
	return binary.LittleEndian.Uint32(b[:])
}

func (r *rig) conf(off, size int) uint32 {
	var b [4]byte
	r.Function().ReadConfig(off, b[:size])
	return binary.LittleEndian.Uint32(b[:])
}

func (r *rig) setConf(off, size int, v uint32) {
	r.Function().WriteConfig(off, binary.LittleEndian.AppendUint32(nil, v)[:size])
}

// seconds sets both stages as Linux's driver does, which counts 2^15 cycles of 30 ns as a
// millisecond.
func (r *rig) seconds(n uint32) {
	r.unlocked(regPreload1, 4, n<<9)
	r.unlocked(regPreload2, 4, n<<9)
}

const stage = time.Duration(5<<9) << slowShift * tick // of seconds(5)

func TestExpiry(t *testing.T) {
	r := newRig(t)
	r.seconds(5)
	r.setConf(regLock, 1, lockEnable)
	r.clock.advance(2*stage - 1)
	if r.expired != 0 {
		t.Fatal("early")
	}
	r.clock.advance(1)
	if r.expired != 1 || r.reload(2) != reloadTimout|reloadLinux {
		t.Errorf("expired %d times, reload register %#x", r.expired, r.reload(2))
	}
	if r.conf(regLock, 1) != 0 {
		t.Error("a watchdog that expired is still on")
	}
	r.Function().Reset()
	if r.reload(2) == 0 {
		t.Error("a reset forgot the timeout")
	}
	r.unlocked(regReload, 2, reloadLinux)
	if r.reload(2) != 0 {
		t.Error("the timeout cannot be cleared")
	}
	r.clock.advance(time.Hour)
	if r.expired != 1 {
		t.Error("it expired again")
	}
}

func TestReload(t *testing.T) {
	r := newRig(t)
	r.seconds(5)
	r.setConf(regLock, 1, lockEnable)
	for range 10 {
		r.clock.advance(2*stage - 1)
		r.unlocked(regReload, 2, reloadNow)
	}
	if r.expired != 0 {
		t.Fatal("it expired in spite of its driver")
	}
	// A reload that was not unlocked is none.
	r.write(regReload, 2, reloadNow)
	r.write(regReload, 2, unlock2)
	r.write(regReload, 2, reloadNow)
	r.clock.advance(2 * stage)
	if r.expired != 1 {
		t.Errorf("expired %d times", r.expired)
	}
}

func TestStandsStillWithTheVM(t *testing.T) {
	r := newRig(t)
	r.seconds(5)
	r.setConf(regLock, 1, lockEnable)
	r.clock.advance(stage + stage/2)
	r.Pause()
	r.Pause()
	r.clock.advance(time.Hour)
	r.Resume()
	r.Resume()
	r.clock.advance(stage/2 - 1)
	if r.expired != 0 {
		t.Fatal("time passed while the VM stood still")
	}
	r.clock.advance(1)
	if r.expired != 1 {
		t.Errorf("expired %d times", r.expired)
	}
	// Enabled while paused, it counts from Resume on.
	r.Pause()
	r.seconds(5)
	r.setConf(regLock, 1, lockEnable)
	r.clock.advance(time.Hour)
	r.Resume()
	r.clock.advance(2*stage - 1)
	if r.expired != 1 {
		t.Error("it counted while the VM stood still")
	}
}

func TestLock(t *testing.T) {
	r := newRig(t)
	r.setConf(regLock, 1, lockEnable|lockLock)
	r.setConf(regLock, 1, 0)
	if got := r.conf(regLock, 1); got != lockEnable|lockLock {
		t.Errorf("lock register %#x", got)
	}
	r.Function().Reset()
	r.setConf(regLock, 1, lockEnable)
	r.setConf(regLock, 1, 0)
	r.clock.advance(time.Hour)
	if r.expired != 0 {
		t.Error("it cannot be turned off")
	}
}

func TestFastClockAndFreeRun(t *testing.T) {
	r := newRig(t)
	r.setConf(regConfig, 2, configFast|configReboot|configIntType)
	if got := r.conf(regConfig, 2); got != configFast|configReboot|configIntType {
		t.Errorf("configuration %#x", got)
	}
	r.unlocked(regPreload1, 4, 1000)
	r.unlocked(regPreload2, 4, 1<<20|1000) // 20 bits
	r.setConf(regLock, 1, lockEnable|lockFreeRun)
	r.clock.advance(time.Second)
	if r.expired != 0 {
		t.Error("it does something although that is off")
	}
	r.setConf(regConfig, 2, configFast)
	r.clock.advance(2 * (1000 << fastShift * tick))
	if r.expired != 1 {
		t.Error("it does not run freely")
	}
}

func TestRegistersReadAsZero(t *testing.T) {
	r := newRig(t)
	r.seconds(5)
	r.setConf(regLock, 1, lockEnable)
	r.clock.advance(time.Hour)
	if r.reload(1) != 0 || r.reload(4) != 0 {
		t.Error("the reload register has 16 bits")
	}
	if r.conf(0, 4) != 0x25ab8086 || r.conf(8, 4) != 0x08800000 {
		t.Errorf("identity %#x, class %#x", r.conf(0, 4), r.conf(8, 4))
	}
}

// FuzzGuest writes anything anywhere.
func FuzzGuest(f *testing.F) {
	f.Add([]byte{0, 0xc, 0x80, 1, 0xc, 0x86, 2, 0, 1, 3, 0x68, 2})
	f.Fuzz(func(t *testing.T, in []byte) {
		c := &manual{}
		d, err := New(Config{Clock: c, Expired: func() {}})
		if err != nil {
			t.Fatal(err)
		}
		d.Resume()
		r := &rig{Device: d}
		for ; len(in) >= 3; in = in[3:] {
			size := 1 << (in[0] & 3 % 3)
			if in[0]&0x80 != 0 {
				r.setConf(int(in[1]), size, uint32(in[2]))
			} else {
				r.write(uint64(in[1]&0xf), size, uint32(in[2]))
			}
			if in[0]&0x40 != 0 {
				c.advance(time.Millisecond)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
