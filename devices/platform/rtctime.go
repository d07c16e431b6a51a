package platform

import "time"

// encode puts a time into the registers in the guest's format.
func (r *RTC) encode(t time.Time) {
	r.cmos[rtcSeconds] = r.toReg(t.Second())
	r.cmos[rtcMinutes] = r.toReg(t.Minute())
	r.cmos[rtcHours] = r.hourToReg(t.Hour())
	r.cmos[rtcWeekday] = r.toReg(int(t.Weekday()) + 1)
	r.cmos[rtcDay] = r.toReg(t.Day())
	r.cmos[rtcMonth] = r.toReg(int(t.Month()))
	r.cmos[rtcYear] = r.toReg(t.Year() % 100)
	r.cmos[rtcCentury] = r.toReg(t.Year() / 100)
}

// decode reads the time in the registers; nonsense is normalised.
func (r *RTC) decode() time.Time {
	year := r.fromReg(r.cmos[rtcYear]) + 100*r.fromReg(r.cmos[rtcCentury])
	return time.Date(year, time.Month(r.fromReg(r.cmos[rtcMonth])), r.fromReg(r.cmos[rtcDay]),
		r.hourFromReg(r.cmos[rtcHours]), r.fromReg(r.cmos[rtcMinutes]), r.fromReg(r.cmos[rtcSeconds]), 0, time.UTC)
}

func (r *RTC) toReg(v int) byte {
	if r.cmos[rtcRegB]&regBBinary != 0 {
		return byte(v)
	}
	return byte(v/10<<4 | v%10)
}

func (r *RTC) fromReg(v byte) int {
	if r.cmos[rtcRegB]&regBBinary != 0 {
		return int(v)
	}
	return int(v>>4)*10 + int(v&0xf)
}

func (r *RTC) hourToReg(h int) byte {
	if r.cmos[rtcRegB]&regB24h != 0 {
		return r.toReg(h)
	}
	v := r.toReg((h+11)%12 + 1)
	if h >= 12 {
		v |= hourPM
	}
	return v
}

func (r *RTC) hourFromReg(v byte) int {
	if r.cmos[rtcRegB]&regB24h != 0 {
		return r.fromReg(v)
	}
	h := r.fromReg(v&^hourPM) % 12
	if v&hourPM != 0 {
		h += 12
	}
	return h
}

// nextAlarm returns the first second after t at which the alarm registers
// match, within a day; false if they never do.
func (r *RTC) nextAlarm(t time.Time) (time.Time, bool) {
	match := func(reg byte, v, from int) bool { return reg&alarmAny == alarmAny || from == v }
	hour, minute, second := r.cmos[rtcHoursAlarm], r.cmos[rtcMinutesAlarm], r.cmos[rtcSecondsAlarm]
	t = t.Truncate(time.Second).Add(time.Second)
	for end := t.Add(24 * time.Hour); t.Before(end); {
		switch {
		case !match(hour, t.Hour(), r.hourFromReg(hour)):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !match(minute, t.Minute(), r.fromReg(minute)):
			t = t.Truncate(time.Minute).Add(time.Minute)
		case !match(second, t.Second(), r.fromReg(second)):
			t = t.Add(time.Second)
		default:
			return t, true
		}
	}
	return t, false
}

// ticks returns how many periods of the periodic interrupt have gone by since it began;
// 0 when it is off.
func (r *RTC) ticks() int64 {
	d := r.periodTicks()
	if d == 0 {
		return 0
	}
	t := r.unset()
	return (t.Unix()*crystal + int64(t.Nanosecond())*crystal/int64(time.Second) - r.origin) / d
}

// periodTicks returns the period in ticks of the crystal (MC146818 table 5).
func (r *RTC) periodTicks() int64 {
	rate := int(r.cmos[rtcRegA] & regARate)
	if rate == 0 {
		return 0
	}
	if rate <= 2 {
		rate += 7
	}
	return 1 << (rate - 1)
}

// note sets the flags of everything that happened since it was last called.
func (r *RTC) note() {
	if !r.running() {
		return
	}
	t := r.now()
	if n := r.ticks(); n != r.period {
		r.period = n
		r.cmos[rtcRegC] |= regCPF
	}
	if t.Unix() == r.seen {
		return
	}
	last := time.Unix(r.seen, 0).UTC()
	r.seen = t.Unix()
	r.cmos[rtcRegC] |= regCUF
	if at, ok := r.nextAlarm(last); ok && !at.After(t) {
		r.cmos[rtcRegC] |= regCAF
	}
}

// update brings the interrupt line in step with the flags, and the timer with
// what the guest waits for.
func (r *RTC) update() {
	const flags = regCPF | regCAF | regCUF // same places as their enables
	c, b := r.cmos[rtcRegC], r.cmos[rtcRegB]
	r.cmos[rtcRegC] = c &^ regCIRQ
	if c&b&flags != 0 {
		r.cmos[rtcRegC] |= regCIRQ
	}
	r.cfg.IRQ.Set(r.cmos[rtcRegC]&regCIRQ != 0)
	r.disarm()
	if d, ok := r.nextEvent(); ok && !r.closed {
		gen := r.gen
		r.stop = r.cfg.Clock.AfterFunc(d, func() { r.expire(gen) })
	}
}

// nextEvent returns how long it is until an enabled interrupt is due. None is
// while one waits for the guest to read register C.
func (r *RTC) nextEvent() (time.Duration, bool) {
	b := r.cmos[rtcRegB]
	if !r.running() || b&(regBPIE|regBAIE|regBUIE) == 0 || r.cmos[rtcRegC]&regCIRQ != 0 {
		return 0, false
	}
	t, best, found := r.now(), time.Duration(0), false
	take := func(d time.Duration) {
		if !found || d < best {
			best, found = d, true
		}
	}
	if p := r.periodTicks(); b&regBPIE != 0 && p != 0 {
		next := r.origin + (r.ticks()+1)*p // in ticks since 1970
		take(time.Unix(next/crystal, (next%crystal*int64(time.Second)+crystal-1)/crystal).Sub(r.unset()))
	}
	if b&regBUIE != 0 {
		take(t.Truncate(time.Second).Add(time.Second).Sub(t))
	}
	if at, ok := r.nextAlarm(t); ok && b&regBAIE != 0 {
		take(at.Sub(t))
	}
	return best, found
}

// disarm cancels the timer; one that has begun finds its generation over.
func (r *RTC) disarm() {
	r.gen++
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// expire is the timer.
func (r *RTC) expire(gen int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if gen != r.gen {
		return
	}
	r.note()
	r.update()
}
