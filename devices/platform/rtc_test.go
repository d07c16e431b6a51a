package platform

import (
	"sync"
	"testing"
	"time"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
)

const rtcIRQ = 8

// manualClock is a Clock that moves when told.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer
}

type manualTimer struct {
	at   time.Time
	f    func()
	done bool
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := !t.done
		t.done = true
		return was
	}
}

// due takes the first timer that ends by t, and moves the clock to it.
func (c *manualClock) due(t time.Time) *manualTimer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first *manualTimer
	live := c.timers[:0]
	for _, x := range c.timers {
		if x.done {
			continue
		}
		live = append(live, x)
		if !x.at.After(t) && (first == nil || x.at.Before(first.at)) {
			first = x
		}
	}
	c.timers = live
	if first == nil {
		c.now = t
		return nil
	}
	first.done = true
	if first.at.After(c.now) {
		c.now = first.at
	}
	return first
}

// advance moves the clock on by d and runs what is due on the way.
func (c *manualClock) advance(d time.Duration) {
	end := c.Now().Add(d)
	for t := c.due(end); t != nil; t = c.due(end) {
		t.f()
	}
}

// waiting returns the number of timers that run.
func (c *manualClock) waiting() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.timers {
		if !t.done {
			n++
		}
	}
	return n
}

// rtcRig is a clock and its driver.
type rtcRig struct {
	*RTC
	clock   manualClock
	irq     irqtest.Controller
	changes []int64
}

var rtcStart = time.Date(2024, 2, 28, 23, 59, 57, 250e6, time.UTC) // a Wednesday

func newRTCRig(cfg RTCConfig) *rtcRig {
	r := &rtcRig{clock: manualClock{now: rtcStart}}
	cfg.IRQ, cfg.Clock = r.irq.Line(rtcIRQ), &r.clock
	cfg.Change = func(s int64) { r.changes = append(r.changes, s) }
	r.RTC = NewRTC(cfg)
	return r
}

func (r *rtcRig) get(reg byte) byte {
	r.Write(0, []byte{reg | 0x80}) // with the NMI bit
	data := []byte{0}
	r.Read(1, data)
	return data[0]
}

func (r *rtcRig) put(reg, v byte) { r.Write(0, []byte{reg, v}) }

// raised reports whether the line is up, and clears the flags. The periodic
// flag is left out: it is set whether anyone wants it or not.
func (r *rtcRig) raised() (up bool, flags byte) {
	return r.irq.Level(rtcIRQ), r.get(rtcRegC) &^ regCPF
}

func TestRTCTellsTheTime(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.clock.advance(3 * time.Second)
	for reg, want := range map[byte]byte{
		rtcSeconds: 0x00, rtcMinutes: 0x00, rtcHours: 0x00, rtcDay: 0x29, rtcMonth: 0x02,
		rtcYear: 0x24, rtcCentury: 0x20, rtcWeekday: 5, rtcRegD: regDValid, rtcRegA: 0x26,
	} {
		if got := r.get(reg); got != want {
			t.Errorf("register %#x is %#x, want %#x", reg, got, want)
		}
	}
	if got := r.Time(); !got.Equal(rtcStart.Add(3 * time.Second)) {
		t.Error(got)
	}
	data := []byte{0}
	if r.Read(0, data); data[0] != 0xff {
		t.Errorf("the index reads as %#x", data[0])
	}
}

func TestRTCFormats(t *testing.T) {
	r := newRTCRig(RTCConfig{Offset: -9 * time.Hour})
	for _, c := range []struct{ mode, hour, minute byte }{
		{regB24h, 0x14, 0x59}, {0, 0x82, 0x59}, {regBBinary, 0x82, 59}, {regBBinary | regB24h, 14, 59},
	} {
		r.put(rtcRegB, c.mode)
		if h, m := r.get(rtcHours), r.get(rtcMinutes); h != c.hour || m != c.minute {
			t.Errorf("mode %#x: %x:%x, want %x:%x", c.mode, h, m, c.hour, c.minute)
		}
	}
	if len(r.changes) != 0 {
		t.Errorf("a format change set the clock: %v", r.changes)
	}
	for _, mode := range []byte{0, regB24h, regBBinary, regBBinary | regB24h} {
		r.cmos[rtcRegB] = mode
		for h := range 24 {
			if got := r.hourFromReg(r.hourToReg(h)); got != h {
				t.Errorf("mode %#x: hour %d becomes %d", mode, h, got)
			}
		}
	}
}

// TestRTCIsSetAsLinuxDoes follows mc146818_set_time.
func TestRTCIsSetAsLinuxDoes(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	control, freq := r.get(rtcRegB), r.get(rtcRegA)
	r.put(rtcRegB, control|regBSet)
	r.put(rtcRegA, freq|0x70)
	for reg, v := range map[byte]byte{
		rtcYear: 0x31, rtcMonth: 0x12, rtcDay: 0x31, rtcHours: 0x23, rtcMinutes: 0x59, rtcSeconds: 0x58, rtcCentury: 0x20,
	} {
		r.put(reg, v)
	}
	r.clock.advance(10 * time.Second)
	if got := r.get(rtcSeconds); got != 0x58 || r.get(rtcRegA)&regAUIP != 0 || r.Time().Second() != 58 {
		t.Errorf("a stopped clock moves: %#x", got)
	}
	r.put(rtcRegB, control)
	r.put(rtcRegA, freq)
	want := time.Date(2031, 12, 31, 23, 59, 58, 0, time.UTC)
	if got := r.Time().Truncate(time.Second); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	r.clock.advance(2 * time.Second)
	if r.get(rtcYear) != 0x32 || r.get(rtcSeconds) != 0 {
		t.Error("time does not go on from what was set")
	}
	if wantAhead := want.Unix() - rtcStart.Add(10*time.Second).Unix(); len(r.changes) != 1 || r.changes[0] != wantAhead {
		t.Errorf("changes %v, want %d", r.changes, wantAhead)
	}
}

func TestRTCIsSetWhileRunning(t *testing.T) {
	r := newRTCRig(RTCConfig{Offset: time.Hour})
	r.put(rtcMinutes, 0x30)
	if got := r.Time(); got.Minute() != 30 || got.Hour() != 0 || len(r.changes) != 1 || r.changes[0] != -29*60 {
		t.Errorf("%v, changes %v", got, r.changes)
	}
}

func TestRTCUpdateInProgress(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	if r.get(rtcRegA)&regAUIP != 0 {
		t.Error("UIP in the middle of a second")
	}
	r.clock.advance(750*time.Millisecond - 100*time.Microsecond)
	if r.get(rtcRegA)&regAUIP == 0 {
		t.Error("no UIP just before the update")
	}
	r.clock.advance(100 * time.Microsecond)
	if r.get(rtcRegA)&regAUIP != 0 {
		t.Error("UIP after the update")
	}
}

func TestRTCUpdateInterrupt(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.put(rtcRegB, regB24h|regBUIE)
	r.clock.advance(740 * time.Millisecond)
	if r.irq.Level(rtcIRQ) {
		t.Fatal("too early")
	}
	r.clock.advance(10 * time.Millisecond)
	if up, flags := r.raised(); !up || flags != regCIRQ|regCUF {
		t.Fatalf("line %v, flags %#x", up, flags)
	}
	r.clock.advance(3 * time.Second) // the second one waits for register C
	if up, _ := r.raised(); !up || r.irq.Rises(rtcIRQ) != 2 || r.irq.Level(rtcIRQ) {
		t.Errorf("%d interrupts", r.irq.Rises(rtcIRQ))
	}
}

func TestRTCAlarm(t *testing.T) {
	for name, c := range map[string]struct {
		h, m, s byte
		after   time.Duration
	}{
		"exact":       {0x00, 0x00, 0x10, 13 * time.Second},
		"each minute": {0xff, 0xff, 0x30, 33 * time.Second},
		"each second": {0xff, 0xc0, 0xff, time.Second},
		"tomorrow":    {0x23, 0x59, 0x56, 24*time.Hour - time.Second},
	} {
		r := newRTCRig(RTCConfig{})
		r.put(rtcHoursAlarm, c.h)
		r.put(rtcMinutesAlarm, c.m)
		r.put(rtcSecondsAlarm, c.s)
		r.put(rtcRegB, regB24h|regBAIE)
		r.clock.advance(c.after - 251*time.Millisecond)
		if r.irq.Level(rtcIRQ) {
			t.Errorf("%s: too early", name)
		}
		r.clock.advance(time.Millisecond)
		if up, flags := r.raised(); !up || flags != regCIRQ|regCAF|regCUF {
			t.Errorf("%s: line %v, flags %#x", name, up, flags)
		}
	}
}

func TestRTCAlarmThatNeverComes(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.put(rtcHoursAlarm, 0x99)
	r.put(rtcRegB, regB24h|regBAIE)
	if n := r.clock.waiting(); n != 0 {
		t.Errorf("%d timers run", n)
	}
}

func TestRTCPeriodicInterrupt(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.put(rtcRegA, regARunning|13) // 8 Hz
	r.put(rtcRegB, regB24h|regBPIE)
	r.get(rtcRegC)
	for i := range 16 {
		r.clock.advance(125 * time.Millisecond)
		if up, flags := r.irq.Level(rtcIRQ), r.get(rtcRegC); !up || flags&(regCIRQ|regCPF) != regCIRQ|regCPF {
			t.Fatalf("period %d: line %v, flags %#x", i, up, flags)
		}
	}
	r.put(rtcRegA, regARunning)
	if n := r.clock.waiting(); n != 0 || r.periodTicks() != 0 {
		t.Errorf("%d timers run at rate 0", n)
	}
	r.put(rtcRegA, regARunning|2)
	if got := r.periodTicks(); got != 256 {
		t.Errorf("rate 2 has a period of %d", got)
	}
}

func TestRTCPolledFlags(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.clock.advance(48 * time.Hour)
	if flags := r.get(rtcRegC); flags != regCUF|regCAF|regCPF {
		t.Errorf("flags %#x", flags)
	}
	if flags := r.get(rtcRegC); flags != 0 || r.irq.Rises(rtcIRQ) != 0 {
		t.Errorf("flags stay: %#x", flags)
	}
}

func TestRTCReset(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.put(0x40, 0x77)
	r.put(rtcRegB, regB24h|regBUIE|regBPIE|regBAIE|regBSQWE)
	r.clock.advance(time.Second)
	r.Reset()
	if r.irq.Level(rtcIRQ) || r.get(rtcRegB) != regB24h|regBUIE || r.get(0x40) != 0x77 {
		t.Errorf("register B %#x", r.get(rtcRegB))
	}
	r.Close()
	if n := r.clock.waiting(); n != 0 {
		t.Errorf("%d timers run after Close", n)
	}
	r.put(rtcRegB, regB24h|regBUIE)
	if n := r.clock.waiting(); n != 0 {
		t.Error("a closed clock starts a timer")
	}
}

func TestRTCMemorySizes(t *testing.T) {
	r := newRTCRig(RTCConfig{Below4G: 2 << 30, Above4G: 4 << 30, NVRAM: map[uint8]byte{0x3d: 0x21, 0x0a: 1, 0x80: 1}})
	for reg, want := range map[byte]byte{
		0x15: 0x80, 0x16: 0x02, 0x17: 0xff, 0x18: 0xff, 0x30: 0xff, 0x31: 0xff,
		0x34: 0x00, 0x35: 0x7f, 0x5b: 0x00, 0x5c: 0x00, 0x5d: 0x01, 0x3d: 0x21, 0x0a: 0x26,
	} {
		if got := r.get(reg); got != want {
			t.Errorf("byte %#x is %#x, want %#x", reg, got, want)
		}
	}
	small := newRTCRig(RTCConfig{Below4G: 8 << 20})
	if lo, hi := small.get(0x17), small.get(0x18); lo != 0 || hi != 0x1c || small.get(0x34) != 0 {
		t.Errorf("8 MiB: %x%x", hi, lo)
	}
}

func TestRTCOnTheSystemClock(t *testing.T) {
	var irq irqtest.Controller
	r := NewRTC(RTCConfig{IRQ: irq.Line(rtcIRQ), Offset: LocalOffset(time.Now())})
	defer r.Close()
	var ports bus.Space
	if err := r.Map(&ports); err != nil {
		t.Fatal(err)
	}
	ports.Write(0x70, []byte{rtcRegA})
	ports.Write(0x71, []byte{regARunning | 3})
	ports.Write(0x70, []byte{rtcRegB})
	ports.Write(0x71, []byte{regB24h | regBPIE})
	irq.WaitRises(rtcIRQ, 1)
	if d := r.Time().Sub(time.Now().Add(LocalOffset(time.Now()))); d.Abs() > time.Minute {
		t.Errorf("off by %v", d)
	}
}

func FuzzRTC(f *testing.F) {
	f.Add([]byte{0, rtcRegB, 0x72, 2, 0, 9, 0, rtcRegC, 1, 0})
	f.Add([]byte{0, rtcRegB, 0x82, 0, rtcCentury, 0x99, 0, rtcYear, 0xff, 0, rtcMonth, 0, 0, rtcRegB, 0x70, 2, 0, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		r := newRTCRig(RTCConfig{})
		for ; len(ops) >= 3; ops = ops[3:] {
			switch ops[0] & 3 {
			case 0:
				r.put(ops[1], ops[2])
			case 1:
				r.get(ops[1])
			case 2:
				r.clock.advance(time.Duration(ops[2]) * time.Duration(ops[1]) * 10 * time.Microsecond)
			case 3:
				r.Reset()
			}
			if n := r.clock.waiting(); n > 1 {
				t.Fatalf("%d timers run", n)
			}
			if up := r.irq.Level(rtcIRQ); up != (r.cmos[rtcRegC]&regCIRQ != 0) {
				t.Fatalf("line %v, register C %#x", up, r.cmos[rtcRegC])
			}
		}
		r.Time()
	})
}

// TestRTCDividerReset: the first update comes half a second after the divider is let go.
func TestRTCDividerReset(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.put(rtcRegA, 0x76)
	r.put(rtcSeconds, 0x30)
	r.clock.advance(time.Second)
	if got := r.get(rtcSeconds); got != 0x30 {
		t.Errorf("the time goes on in reset: %#x seconds", got)
	}
	r.clock.advance(300 * time.Millisecond)
	r.put(rtcRegA, 0x26)
	r.clock.advance(firstUpdate - updateWindow - 1)
	if got, a := r.get(rtcSeconds), r.get(rtcRegA); got != 0x30 || a&regAUIP != 0 {
		t.Errorf("early: %#x seconds, A is %#x", got, a)
	}
	r.clock.advance(1)
	if a := r.get(rtcRegA); a&regAUIP == 0 {
		t.Errorf("no update announced: A is %#x", a)
	}
	r.clock.advance(updateWindow)
	if got, a := r.get(rtcSeconds), r.get(rtcRegA); got != 0x31 || a&regAUIP != 0 {
		t.Errorf("after half a second: %#x seconds, A is %#x", got, a)
	}
}

// TestRTCNewRate: a period that begins anew counts from the last tick of the one before.
func TestRTCNewRate(t *testing.T) {
	r := newRTCRig(RTCConfig{})
	r.put(rtcRegA, regARunning|13) // 8 Hz
	r.put(rtcRegB, regB24h|regBPIE)
	r.clock.advance(time.Second / 8)
	start := r.clock.Now()
	for range 10 {
		for rate, period := range map[byte]time.Duration{13: time.Second / 8, 15: time.Second / 2} {
			r.get(rtcRegC)
			r.put(rtcRegA, regARunning|rate)
			r.clock.advance(period - time.Millisecond)
			if r.irq.Level(rtcIRQ) {
				t.Fatalf("rate %d: early", rate)
			}
			r.clock.advance(time.Millisecond)
			if !r.irq.Level(rtcIRQ) {
				t.Fatalf("rate %d: nothing after %s, %s since the start", rate, period, r.clock.Now().Sub(start))
			}
		}
	}
}
