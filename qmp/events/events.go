// Package events carries events from where they are made to every client.
//
// A Broker gives each event its time, limits the rate of those that a guest can
// trigger at will, and hands it to all sinks in the order in which events were
// emitted. Emit may be called from any goroutine and never waits for a client: a
// sink only takes a copy. A sink must not call its broker.
//
// Of events that a client is told of once (qapi.Event.OnceKey), the sinks that have
// clients decide who hears of which: see Chooser.
//
// Implements section 2.5 of the QMP specification with the rates of QEMU 7.2.
// It depends on qmp/qapi and qmp/wire.
package events

import (
	"maps"
	"slices"
	"sync"
	"time"

	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// Message is an event as it goes over the wire, in both forms.
type Message struct {
	Name            string
	Once            Key    // zero for events that all clients get
	Compact, Pretty []byte // valid only while it is delivered
}

// Sink takes events. Deliver is called for one event after the other, and must
// neither block nor keep the message.
type Sink interface{ Deliver(Message) }

// Chooser is a sink that hands events with a Once key to clients one by one. Other
// sinks are not given those.
type Chooser interface {
	Sink
	// Wants tells whether any client is to hear of a key.
	Wants(Key) bool
	// Forget says that what the key stands for is gone.
	Forget(Key)
}

// Clock tells and waits for time: the host's, or a virtual one under qtest.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f on a goroutine of its own after d, unless the returned
	// function stops that before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// hostClock is the host's time.
type hostClock struct{}

func (hostClock) Now() time.Time { return time.Now() }

func (hostClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// Broker fans events out. Its zero value is not usable.
type Broker struct {
	clock Clock

	mu              sync.Mutex
	sinks           []Sink // replaced, not changed, when one comes or goes
	limits          map[Key]*limit
	compact, pretty *qapi.Encoder
	closed          bool
}

// Key tells apart the sources of an event.
type Key struct{ Event, Source string }

// limit exists while an event of its kind was sent less than the interval ago.
type limit struct {
	held Message // the latest that came since, without name if none did
	stop func() bool
}

// NewBroker returns a broker on the host's clock.
func NewBroker() *Broker { return NewBrokerWithClock(hostClock{}) }

// NewBrokerWithClock returns a broker on a clock.
func NewBrokerWithClock(c Clock) *Broker {
	return &Broker{
		clock: c, limits: map[Key]*limit{},
		compact: qapi.NewEncoder(false), pretty: qapi.NewEncoder(true),
	}
}

// Subscribe adds a sink for all events from now on; cancel removes it, after
// which it gets no more.
func (b *Broker) Subscribe(s Sink) (cancel func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sinks = append(slices.Clip(b.sinks), s)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sinks = slices.DeleteFunc(slices.Clone(b.sinks), func(o Sink) bool { return o == s })
	}
}

// Close drops what rate limits hold back. Events emitted later are lost.
func (b *Broker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for l := range maps.Values(b.limits) {
		l.stop()
	}
	clear(b.limits)
}

// Emit sends an event to all sinks, or holds it back as its rate limit wants.
func Emit[D any, PD qapi.Codec[D]](b *Broker, ev qapi.Event[D], data D) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || !ev.RateLimited && len(b.sinks) == 0 {
		return
	}
	m := Message{Name: ev.Name}
	if ev.OnceKey != nil {
		m.Once = Key{ev.Name, ev.OnceKey(data)}
		if !b.wanted(m.Once) {
			return
		}
	}
	encoded := PD(&data)
	if _, none := any(data).(qapi.Empty); none {
		encoded = nil
	}
	now := b.clock.Now()
	m.Compact = encode[D, PD](b.compact, ev.Name, now, encoded)
	m.Pretty = encode[D, PD](b.pretty, ev.Name, now, encoded)
	if !ev.RateLimited {
		b.deliver(m)
		return
	}
	key := Key{Event: ev.Name}
	if ev.RateKey != nil {
		key.Source = ev.RateKey(data)
	}
	b.limited(key, m)
}

// encode writes an event; data is nil if it has none.
func encode[D any, PD qapi.Codec[D]](e *qapi.Encoder, name string, at time.Time, data PD) []byte {
	e.Reset()
	wire.BeginEvent(e, name, at)
	if data != nil {
		e.Key("data")
		data.EncodeQAPI(e)
	}
	wire.EndEvent(e)
	return e.Bytes()
}

func (b *Broker) deliver(m Message) {
	for _, s := range b.sinks {
		if _, chooses := s.(Chooser); chooses == (m.Once != Key{}) {
			s.Deliver(m)
		}
	}
}

func (b *Broker) wanted(k Key) bool {
	return slices.ContainsFunc(b.sinks, func(s Sink) bool {
		c, ok := s.(Chooser)
		return ok && c.Wants(k)
	})
}

// Forget says that the source of an event is gone: a new one of its name is another.
func (b *Broker) Forget(k Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sinks {
		if c, ok := s.(Chooser); ok {
			c.Forget(k)
		}
	}
}

// limited sends an event if none of its kind was sent lately, else keeps it in
// place of one kept before.
func (b *Broker) limited(key Key, m Message) {
	if l := b.limits[key]; l != nil {
		l.held.Name = m.Name
		l.held.Compact = append(l.held.Compact[:0], m.Compact...)
		l.held.Pretty = append(l.held.Pretty[:0], m.Pretty...)
		return
	}
	b.deliver(m)
	l := &limit{}
	b.limits[key] = l
	b.arm(key, l)
}

func (b *Broker) arm(key Key, l *limit) {
	l.stop = b.clock.AfterFunc(qapi.EventInterval*time.Second, func() { b.expire(key, l) })
}

// expire sends what was held back, or ends the limit if nothing was.
func (b *Broker) expire(key Key, l *limit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limits[key] != l {
		return // closed while the timer ran
	}
	if l.held.Name == "" {
		delete(b.limits, key)
		return
	}
	b.deliver(l.held)
	l.held.Name = ""
	b.arm(key, l)
}
