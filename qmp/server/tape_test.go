package server

import (
	"fmt"
	"strings"
	"testing"

	"hv/qmp/events"
)

// reader is an outbox of its own, and how often it was given up.
func reader(t *tape, limit int) (o *outbox, lost *int) {
	o, lost = newOutbox(nullWriter{}, limit), new(int)
	o.lost = func() { *lost++ }
	o.listen(t)
	return o, lost
}

func deliver(t *tape, s string) {
	t.Deliver(events.Message{Compact: []byte(s), Pretty: []byte(strings.ToUpper(s))})
}

// write leaves an event to the crier.
func write(t *tape, s string) {
	t.record(events.Message{Compact: []byte(s), Pretty: []byte(strings.ToUpper(s))})
	t.tell()
}

// TestTapeOrder has two readers that read at different times, and a reply in between.
func TestTapeOrder(t *testing.T) {
	tp := newTape(false, 100)
	write(tp, "before")
	a, lostA := reader(tp, 100)
	write(tp, "a")
	b, lostB := reader(tp, 100)
	write(tp, "b")
	a.owe()
	a.reply([]byte("!"))
	write(tp, "c")
	a.pull(false)
	b.deafen()
	write(tp, "d")
	b.pull(false)
	if string(a.pending) != "ab!c" || string(b.pending) != "bc" || *lostA+*lostB != 0 {
		t.Errorf("%q and %q, %d and %d lost", a.pending, b.pending, *lostA, *lostB)
	}
	p := newTape(true, 100)
	o, _ := reader(p, 100)
	write(p, "x")
	if o.pull(false); string(o.pending) != "X" {
		t.Errorf("pretty %q", o.pending)
	}
}

// TestTapeBound has a reader that never reads, one that reads but whose client does
// not, and one that keeps up.
func TestTapeBound(t *testing.T) {
	const limit = 1000
	tp := newTape(false, limit)
	_, lost := reader(tp, limit)
	stuck, lostStuck := reader(tp, limit)
	good, lostGood := reader(tp, 1<<20)
	var want strings.Builder
	for i := range 1000 {
		s := fmt.Sprintf("event %d;", i)
		want.WriteString(s)
		write(tp, s)
		stuck.pull(true)
		good.pull(true)
		if cap(tp.buf) > 4*limit || cap(stuck.pending) > 4*limit {
			t.Fatalf("%d and %d bytes are kept", cap(tp.buf), cap(stuck.pending))
		}
	}
	if *lost != 1 || *lostStuck != 1 || *lostGood != 0 || string(good.pending) != want.String() {
		t.Errorf("given up %d, %d and %d times; %d bytes, want %d", *lost, *lostStuck, *lostGood, len(good.pending), want.Len())
	}
	good.leave()
	stuck.leave()
	if len(tp.members) != 0 || tp.buf != nil {
		t.Errorf("%d members and %d bytes are left", len(tp.members), len(tp.buf))
	}
	write(tp, "nobody hears")
	if len(tp.buf) != 0 {
		t.Error("events are kept for nobody")
	}
}

// TestTapePieces has events taken in pieces, with a reply that must not come within one.
func TestTapePieces(t *testing.T) {
	tp := newTape(false, 10*atOnce)
	o, lost := reader(tp, 10*atOnce)
	long := strings.Repeat("x", atOnce-1) + "."
	for range 3 {
		write(tp, long)
	}
	write(tp, "end.")
	o.pull(false)
	o.pull(false)
	if len(o.pending) != atOnce {
		t.Errorf("%d bytes were taken", len(o.pending))
	}
	o.owe()
	o.reply([]byte("reply"))
	if string(o.pending) != long+long+long+"end.reply" || *lost != 0 {
		t.Errorf("%d bytes, %d lost", len(o.pending), *lost)
	}
	write(tp, "last.")
	o.deafen()
	write(tp, "too late.")
	o.drained(t)
}

// drained writes all there is and sees that the end is right.
func (o *outbox) drained(t *testing.T) {
	t.Helper()
	var got strings.Builder
	o.w = &got
	for range 10 {
		o.flush()
	}
	if !strings.HasSuffix(got.String(), "replylast.") {
		t.Errorf("it ends with %q", got.String()[got.Len()-30:])
	}
}
