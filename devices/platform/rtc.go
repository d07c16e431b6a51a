package platform

import (
	"sync"
	"time"

	"hv/devices/bus"
	"hv/devices/clock"
	"hv/devices/irq"
)

// Registers of the MC146818 and the CMOS memory behind it.
const (
	rtcSeconds      = 0x00
	rtcSecondsAlarm = 0x01
	rtcMinutes      = 0x02
	rtcMinutesAlarm = 0x03
	rtcHours        = 0x04
	rtcHoursAlarm   = 0x05
	rtcWeekday      = 0x06
	rtcDay          = 0x07
	rtcMonth        = 0x08
	rtcYear         = 0x09
	rtcRegA         = 0x0a
	rtcRegB         = 0x0b
	rtcRegC         = 0x0c
	rtcRegD         = 0x0d
	rtcCentury      = 0x32
	cmosSize        = 128
	rtcPort         = 0x70
)

const (
	regAUIP     = 0x80 // update in progress
	regADivider = 0x70
	regARunning = 0x20 // divider of the 32768 Hz crystal
	regARate    = 0x0f

	regBSet    = 0x80
	regBPIE    = 0x40
	regBAIE    = 0x20
	regBUIE    = 0x10
	regBSQWE   = 0x08
	regBBinary = 0x04
	regB24h    = 0x02

	regCIRQ = 0x80
	regCPF  = 0x40
	regCAF  = 0x20
	regCUF  = 0x10

	regDValid = 0x80

	crystal      = 32768
	updateWindow = 8 * time.Second / crystal
	firstUpdate  = time.Second / 2 // after the divider was held in reset
	alarmAny     = 0xc0            // an alarm byte with both bits set matches everything
	hourPM       = 0x80
)

// RTCConfig describes the clock and the CMOS memory.
type RTCConfig struct {
	// IRQ is the clock's interrupt, IRQ 8.
	IRQ irq.Line
	// Offset is what the guest's clock is ahead of UTC at the start: 0 for
	// -rtc base=utc, the zone's offset for localtime (see LocalOffset), the
	// distance from now for a date.
	Offset time.Duration
	// Clock is the time source; nil is the host's clock.
	Clock clock.Clock
	// Change is told when the guest set the clock, with how many seconds the
	// clock is now ahead of where it would be had it never been set. It is
	// called under the device's lock. It may be nil.
	Change func(seconds int64)
	// Below4G and Above4G are the bytes of RAM on either side of 4 GiB, which
	// firmware looks up in CMOS memory.
	Below4G, Above4G uint64
	// NVRAM presets further CMOS bytes, from 0x0e to 0x7f.
	NVRAM map[uint8]byte
}

// RTC is an MC146818 with 128 bytes of CMOS memory at ports 0x70 and 0x71. The
// guest's time is the host's plus an offset; it only ticks for interrupts that
// the guest enabled.
type RTC struct {
	cfg RTCConfig

	mu     sync.Mutex
	index  byte
	cmos   [cmosSize]byte
	ahead  int64         // seconds by which the guest set the clock forward
	phase  time.Duration // what the divider's reset added to that, less than a second
	seen   int64         // guest second up to which updates were noted
	origin int64         // when the periodic interrupt began, in ticks of the crystal
	period int64         // its periods since then that were noted
	stop   func() bool   // cancels the timer
	gen    int           // of the timer; older ones do nothing
	closed bool
}

// LocalOffset returns the Offset that makes the guest's clock show local time.
func LocalOffset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// NewRTC returns a running clock. Close ends it.
func NewRTC(cfg RTCConfig) *RTC {
	if cfg.Clock == nil {
		cfg.Clock = clock.Host{}
	}
	r := &RTC{cfg: cfg}
	r.cmos[rtcRegA] = regARunning | 6
	r.cmos[rtcRegB] = regB24h
	r.cmos[rtcRegD] = regDValid
	r.setMemory(cfg.Below4G, cfg.Above4G)
	for i, v := range cfg.NVRAM {
		if i > rtcRegD && i < cmosSize {
			r.cmos[i] = v
		}
	}
	r.seen, r.period = r.now().Unix(), r.ticks()
	return r
}

// setMemory fills in the memory sizes where PC firmware keeps them: base
// memory and up to 64 MiB in KiB, then in units of 64 KiB from 16 MiB and from
// 4 GiB.
func (r *RTC) setMemory(below, above uint64) {
	put := func(v uint64, at ...int) {
		for i, reg := range at {
			r.cmos[reg] = byte(v >> (8 * i))
		}
	}
	over := func(base uint64) uint64 { return max(below, base) - base }
	put(min(below>>10, 640), 0x15, 0x16)
	put(min(over(1<<20)>>10, 0xffff), 0x17, 0x18)
	put(min(over(1<<20)>>10, 0xffff), 0x30, 0x31)
	put(min(over(16<<20)>>16, 0xffff), 0x34, 0x35)
	put(above>>16, 0x5b, 0x5c, 0x5d)
}

// Map maps the index and data ports.
func (r *RTC) Map(ports *bus.Space) error { return ports.Map(rtcPort, 2, "rtc", r) }

// Reset is a system reset: interrupts go, time and memory stay.
func (r *RTC) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index = 0
	r.cmos[rtcRegB] &^= regBPIE | regBAIE | regBSQWE
	r.cmos[rtcRegC] = 0
	r.update()
}

// Close stops the clock's timer. The device raises no interrupt afterwards.
func (r *RTC) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.disarm()
}

// Time returns the guest's time, as the guest reads it, in UTC.
func (r *RTC) Time() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running() {
		return r.decode()
	}
	return r.now()
}

// Read reads the data port; the index port reads as ones.
func (r *RTC) Read(off uint64, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	readBytes(r, off, data)
}

// Write writes the index or the data port.
func (r *RTC) Write(off uint64, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	writeBytes(r, off, data)
}

func (r *RTC) readByte(off uint64) byte {
	if off == 0 {
		return 0xff
	}
	reg := r.index
	switch {
	case reg == rtcRegA && r.running() && r.updating():
		return r.cmos[reg] | regAUIP
	case reg == rtcRegC:
		r.note()
		v := r.cmos[reg]
		r.cmos[reg] = 0
		r.update()
		return v
	case isTime(reg) && r.running():
		r.encode(r.now())
	}
	return r.cmos[reg]
}

func (r *RTC) writeByte(off uint64, v byte) {
	if off == 0 {
		r.index = v & (cmosSize - 1)
		return
	}
	switch reg := r.index; {
	case reg == rtcRegA:
		r.control(rtcRegA, v&^regAUIP)
	case reg == rtcRegB:
		if v&regBSet != 0 {
			v &^= regBUIE
		}
		r.control(rtcRegB, v)
	case reg == rtcRegC || reg == rtcRegD:
	case isTime(reg):
		r.setTime(reg, v)
	default:
		r.cmos[reg] = v
		r.update() // the alarm may be another one
	}
}

// setTime writes one byte of the time. A running clock goes on from there.
func (r *RTC) setTime(reg, v byte) {
	running := r.running()
	if running {
		r.encode(r.now())
	}
	r.cmos[reg] = v
	if running {
		r.set()
	}
}

// control writes register A or B, which may stop the clock or start it.
func (r *RTC) control(reg, v byte) {
	r.note()
	was := r.running()
	if was {
		r.encode(r.now())
	}
	mode := r.cmos[rtcRegB]
	if reg == rtcRegA {
		r.divide(v)
	}
	r.cmos[reg] = v
	r.period = r.ticks()
	if was && (mode^r.cmos[rtcRegB])&(regBBinary|regB24h) != 0 {
		r.encode(r.now()) // in the new format
	}
	if !was && r.running() {
		r.set()
	}
	r.update()
}

// divide is a write of v to register A: a new rate counts from the last tick of the old
// one, and a divider that leaves its reset updates the time half a second later.
func (r *RTC) divide(v byte) {
	if (r.cmos[rtcRegA]^v)&regARate != 0 {
		r.origin += r.ticks() * r.periodTicks()
	}
	if r.cmos[rtcRegA]&regADivider > regARunning && v&regADivider <= regARunning {
		second := time.Duration(r.unset().Nanosecond())
		r.phase = (time.Second + firstUpdate - second) % time.Second
	}
}

// set makes the time in the registers the guest's time and reports that.
func (r *RTC) set() {
	r.ahead = r.decode().Unix() - r.unset().Add(r.phase).Unix()
	r.seen, r.period = r.now().Unix(), r.ticks()
	if r.cfg.Change != nil {
		r.cfg.Change(r.ahead)
	}
	r.update()
}

// running reports whether time goes on: not while the guest sets it, nor with
// the divider held in reset.
func (r *RTC) running() bool {
	return r.cmos[rtcRegB]&regBSet == 0 && r.cmos[rtcRegA]&regADivider <= regARunning
}

// unset is the time that the clock would show had the guest never set it.
func (r *RTC) unset() time.Time { return r.cfg.Clock.Now().Add(r.cfg.Offset) }

// now is the guest's time while the clock runs.
func (r *RTC) now() time.Time {
	t := r.unset().Add(r.phase)
	return time.Unix(t.Unix()+r.ahead, int64(t.Nanosecond())).UTC()
}

// updating reports whether the next second is about to begin.
func (r *RTC) updating() bool {
	return time.Duration(r.now().Nanosecond()) >= time.Second-updateWindow
}

func isTime(reg byte) bool {
	switch reg {
	case rtcSeconds, rtcMinutes, rtcHours, rtcWeekday, rtcDay, rtcMonth, rtcYear, rtcCentury:
		return true
	}
	return false
}
