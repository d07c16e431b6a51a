package throttle

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// still is a clock that tests move.
type still struct {
	now    time.Duration
	timers []*due
}

type due struct {
	at  time.Duration
	run func()
}

func (c *still) Elapsed() time.Duration { return c.now }

func (c *still) AfterFunc(d time.Duration, f func()) func() bool {
	t := &due{c.now + d, f}
	c.timers = append(c.timers, t)
	return func() bool {
		n := len(c.timers)
		c.timers = slices.DeleteFunc(c.timers, func(x *due) bool { return x == t })
		return len(c.timers) < n
	}
}

// step moves the clock on, timer by timer.
func (c *still) step(d time.Duration) {
	end := c.now + d
	for {
		i := -1
		for j, t := range c.timers {
			if t.at <= end && (i < 0 || t.at < c.timers[i].at) {
				i = j
			}
		}
		if i < 0 {
			break
		}
		t := c.timers[i]
		c.timers = slices.Delete(c.timers, i, i+1)
		c.now = t.at
		t.run()
	}
	c.now = end
}

// user is a member that counts what it got.
type user struct {
	Member
	ops   [2]int
	bytes [2]int64
}

// ask makes requests of a size.
func (u *user) ask(n int, isWrite bool, size int64) {
	d := 0
	if isWrite {
		d = 1
	}
	for range n {
		got := func() { u.ops[d]++; u.bytes[d] += size }
		if u.Enter(&Request{Admitted: got}, isWrite, size) {
			got()
		}
	}
}

// limits returns limits with some values.
func limits(t testing.TB, values map[string]uint64) Limits {
	t.Helper()
	l := None()
	for name, v := range values {
		if err := l.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	return l
}

// group makes users that share limits.
func group(t testing.TB, clock Clock, n int, l Limits) ([]*user, *Groups) {
	t.Helper()
	s := &Groups{Clock: clock}
	users := make([]*user, n)
	for i := range users {
		users[i] = &user{}
		s.Join(&users[i].Member, "g")
	}
	s.Find("g").SetLimits(l)
	return users, s
}

// about reports whether a number is within a tenth of another.
func about(got, want int64) bool { return got*10 >= want*9 && got*10 <= want*11 }

// TestRates: each limit holds, and members share it fairly however many there are.
func TestRates(t *testing.T) {
	const seconds = 5
	for members := 1; members <= 4; members++ {
		for _, x := range []struct {
			name        string
			value       uint64
			read, write bool
			bytes       bool
		}{
			{"bps-total", 4096, true, true, true}, {"bps-read", 4096, true, false, true}, {"bps-write", 4096, false, true, true},
			{"iops-total", 10, true, true, false}, {"iops-read", 10, true, false, false}, {"iops-write", 10, false, true, false},
		} {
			clock := &still{}
			value := x.value * uint64(members)
			users, _ := group(t, clock, members, limits(t, map[string]uint64{x.name: value}))
			for range 3 * seconds * 10 {
				for _, u := range users {
					u.ask(1, false, 512)
					u.ask(1, true, 512)
				}
			}
			var before []user
			for _, u := range users {
				before = append(before, user{ops: u.ops, bytes: u.bytes})
			}
			clock.step(seconds * time.Second)
			for i, u := range users {
				ops, bytes := int64(0), int64(0)
				for d, counts := range []bool{x.read, x.write} {
					if counts {
						ops, bytes = ops+int64(u.ops[d]-before[i].ops[d]), bytes+u.bytes[d]-before[i].bytes[d]
					}
				}
				if got, want := map[bool]int64{true: bytes, false: ops}[x.bytes], int64(x.value)*seconds; !about(got, want) {
					t.Errorf("%s=%d, %d members: member %d had %d in %d s, want %d", x.name, value, members, i, got, seconds, want)
				}
			}
		}
	}
}

// TestBurst: a burst goes at its rate for as long as it may, and what follows at the other.
func TestBurst(t *testing.T) {
	clock := &still{}
	users, _ := group(t, clock, 1, limits(t, map[string]uint64{"iops-total": 10, "iops-total-max": 70, "iops-total-max-length": 4}))
	u := users[0]
	u.ask(1000, false, 512)
	for second := range 10 {
		before := u.ops[0]
		clock.step(time.Second)
		want := int64(10)
		if second < 4 {
			want = 70
		}
		if got := int64(u.ops[0] - before); second != 4 && !about(got, want) {
			t.Errorf("second %d: %d operations, want %d", second, got, want)
		}
	}
}

// TestOpSize: a large request is several operations.
func TestOpSize(t *testing.T) {
	clock := &still{}
	users, _ := group(t, clock, 1, limits(t, map[string]uint64{"iops-write": 100, "iops-size": 4096}))
	u := users[0]
	u.ask(300, true, 40960)
	before := u.ops[1]
	clock.step(10 * time.Second)
	if got := u.ops[1] - before; got < 99 || got > 101 {
		t.Errorf("%d requests of 10 operations in 10 s, want 100", got)
	}
}

// TestLift: what waits goes at once, and what comes meanwhile; others still wait, and go
// on when it is their turn although the timer was another's.
func TestLift(t *testing.T) {
	clock := &still{}
	users, groups := group(t, clock, 2, limits(t, map[string]uint64{"bps-read": 4096}))
	told := 0
	groups.OnWait = func() { told++ }
	a, b := users[0], users[1]
	a.ask(1, false, 4096)
	a.ask(2, false, 2048)
	b.ask(1, false, 4096)
	if told != 3 || groups.Waiting() != 3 {
		t.Errorf("%d requests wait, told of %d", groups.Waiting(), told)
	}
	if a.bytes[0] != 4096 || b.bytes[0] != 0 {
		t.Fatalf("at first: %d and %d bytes", a.bytes[0], b.bytes[0])
	}
	a.Lift()
	a.ask(1, false, 512)
	if a.bytes[0] != 8192+512 || b.bytes[0] != 0 {
		t.Errorf("lifted: %d and %d bytes", a.bytes[0], b.bytes[0])
	}
	a.Drop()
	a.ask(1, false, 512)
	groups.Leave(&a.Member)
	if a.bytes[0] != 9216 || a.Group() != nil {
		t.Errorf("after leaving: %d bytes", a.bytes[0])
	}
	a.ask(10, false, 1<<20)
	if a.ops[0] != 15 {
		t.Errorf("%d requests without a group, want 15", a.ops[0])
	}
	clock.step(5 * time.Second)
	if b.bytes[0] != 4096 {
		t.Errorf("the other has %d bytes after 5 s", b.bytes[0])
	}
	if groups.Waiting() != 0 {
		t.Errorf("%d requests still wait", groups.Waiting())
	}
}

// TestLiftFirst: limits that were lifted before there were any stay lifted.
func TestLiftFirst(t *testing.T) {
	s := Groups{Clock: &still{}}
	var u user
	u.Lift()
	s.Join(&u.Member, "g").SetLimits(limits(t, map[string]uint64{"iops-total": 1}))
	if u.ask(5, false, 1); u.ops[0] != 5 {
		t.Errorf("%d requests, want 5", u.ops[0])
	}
	u.Drop()
	if u.ask(5, false, 1); u.ops[0] != 5 {
		t.Errorf("%d requests once limits hold, want 5", u.ops[0])
	}
	u.Group().SetLimits(None())
	if u.ops[0] != 10 {
		t.Errorf("%d requests once there are no limits, want 10", u.ops[0])
	}
}

// TestGroups: a group is there as long as it has members, or is an object.
func TestGroups(t *testing.T) {
	var s Groups
	var a, b Member
	s.Join(&a, "g")
	if s.Join(&b, "g") != a.Group() || a.Group().Name() != "g" {
		t.Error("two groups of one name")
	}
	if _, err := s.Add("g", None()); err == nil {
		t.Error("a group was made that there is")
	}
	s.Leave(&a)
	s.Leave(&b)
	s.Leave(&b)
	if s.Find("g") != nil {
		t.Error("the group stays without members")
	}
	if _, err := s.Add("o", limits(t, nil)); err != nil {
		t.Fatal(err)
	}
	o := s.Find("o")
	s.Join(&a, "o")
	if s.Remove(o) {
		t.Error("a group with a member was removed")
	}
	s.Leave(&a)
	if s.Find("o") == nil || !s.Remove(o) || s.Remove(o) || s.Find("o") != nil {
		t.Error("an object without members was not removed once")
	}
	bad := None()
	bad.Rates[BytesTotal].Burst = 1
	if _, err := s.Add("bad", bad); err == nil {
		t.Error("bad limits were taken")
	}
}

func TestCheck(t *testing.T) {
	for _, x := range []struct {
		values map[string]uint64
		want   string
	}{
		{map[string]uint64{"iops-total": 10, "iops-read": 10}, "cannot be used at the same time"},
		{map[string]uint64{"bps-total": 10, "bps-read": 10, "bps-total-max": 20, "bps-write-max": 20}, "cannot be used at the same time"},
		{map[string]uint64{"iops-size": 4096}, "iops size requires"},
		{map[string]uint64{"bps-read": maxValue + 1}, "must be within [0, 1000000000000000]"},
		{map[string]uint64{"bps-read-max-length": 0}, "the burst length cannot be 0"},
		{map[string]uint64{"bps-read": 1, "bps-read-max-length": 2}, "burst length set without burst rate"},
		{map[string]uint64{"bps-read": 1, "bps-read-max": maxValue, "bps-read-max-length": 2}, "burst length too high"},
		{map[string]uint64{"bps-read-max": 2}, "require corresponding"},
		{map[string]uint64{"bps-read": 3, "bps-read-max": 2}, "cannot be lower"},
	} {
		l := None()
		for name, v := range x.values {
			if err := l.Set(name, v); err != nil || l.Get(name) != v {
				t.Errorf("%s=%d: %v", name, v, err)
			}
		}
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v: %v, want %s", x.values, err, x.want)
		}
	}
	l := None()
	if l.Set("bps-read-max-length", 1<<32) == nil || l.Set("nonsense", 1) == nil || l.Get("nonsense") != 0 {
		t.Error("bad values were taken")
	}
}

// TestHostClock: many wait on the host's clock at once, come and go, and all end.
func TestHostClock(t *testing.T) {
	users, groups := group(t, nil, 3, limits(t, map[string]uint64{"iops-total": 2000, "bps-total": 1 << 30}))
	var wg sync.WaitGroup
	start := time.Now()
	for _, u := range users {
		for i := range 4 {
			wg.Go(func() {
				for range 50 {
					u.Wait(i%2 == 0, 4096)
				}
			})
		}
	}
	wg.Wait()
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("600 requests at 2000 a second, 200 of them at once, took %v", took)
	}
	for _, u := range users {
		wg.Go(func() {
			for range 1000 {
				u.Wait(true, 1<<20)
			}
		})
	}
	for range 100 {
		users[0].Lift()
		users[0].Drop()
	}
	for _, u := range users {
		groups.Leave(&u.Member)
	}
	wg.Wait()
}

// BenchmarkUnlimited is what a disk without limits pays.
func BenchmarkUnlimited(b *testing.B) {
	b.ReportAllocs()
	var m Member
	r := &Request{}
	for b.Loop() {
		m.Enter(r, true, 4096)
	}
}

// BenchmarkLimited is what one with limits pays that are not reached.
func BenchmarkLimited(b *testing.B) {
	b.ReportAllocs()
	users, _ := group(b, nil, 1, limits(b, map[string]uint64{"iops-total": maxValue}))
	for b.Loop() {
		users[0].Wait(true, 4096)
	}
}

// BenchmarkHeld is what a request costs that waits, but for its time.
func BenchmarkHeld(b *testing.B) {
	b.ReportAllocs()
	users, _ := group(b, nil, 1, limits(b, map[string]uint64{"iops-total": 50_000}))
	m := &users[0].Member
	done := make(chan struct{}, 64)
	r := make([]Request, 64)
	for i := range r {
		r[i].Admitted = func() { done <- struct{}{} }
		if m.Enter(&r[i], true, 512) {
			done <- struct{}{}
		}
	}
	i := 0
	for b.Loop() {
		<-done
		if m.Enter(&r[i%len(r)], true, 512) {
			done <- struct{}{}
		}
		i++
	}
}
