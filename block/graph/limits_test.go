package graph

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// strict is a driver in memory that takes no request which does not keep to its limits.
type strict struct {
	Limits
	zeroes bool // it makes zeroes itself

	mu     sync.Mutex
	data   []byte // up to a whole number of blocks
	size   int64
	bad    []string
	events []Event
	fails  func(what string, off int64) error // nil for never
	reads  int
}

func newStrict(l Limits, size int64) *strict {
	return &strict{Limits: l, data: make([]byte, (size+l.Align-1)/l.Align*l.Align), size: size, zeroes: true}
}

// request notes what is wrong with a request, and returns the error that it is to have.
func (s *strict) request(what string, off, n, align, most int64, end int64) error {
	if off%max(align, 1) != 0 || off < 0 || off+n > end || most > 0 && n > most || n%max(align, 1) != 0 && off+n != s.size {
		s.bad = append(s.bad, fmt.Sprintf("%s of %d at %d", what, n, off))
		return errors.New("it does not keep to the limits")
	}
	if s.fails != nil {
		return s.fails(what, off)
	}
	return nil
}

func (s *strict) Size() int64  { return s.size }
func (s *strict) Flush() error { return nil }
func (s *strict) Close() error { return nil }

func (s *strict) Event(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *strict) Readv(off int64, v [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if err := s.request("read", off, length(v), s.Align, s.MaxTransfer, int64(len(s.data))); err != nil {
		return err
	}
	for _, b := range v {
		off += int64(copy(b, s.data[off:]))
	}
	return nil
}

func (s *strict) Writev(off int64, v [][]byte, _ Flags) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.request("write", off, length(v), s.Align, s.MaxTransfer, s.size); err != nil {
		return err
	}
	for _, b := range v {
		off += int64(copy(s.data[off:], b))
	}
	return nil
}

func (s *strict) WriteZeroes(off, n int64, _ Flags) error {
	if !s.zeroes {
		return ErrNotSupported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.request("zeroes", off, n, max(s.ZeroAlign, s.Align), s.MaxZero, s.size); err != nil {
		return err
	}
	clear(s.data[off : off+n])
	return nil
}

// Discard leaves other bytes there, as it may.
func (s *strict) Discard(off, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.request("discard", off, n, s.Align, s.MaxDiscard, s.size); err != nil {
		return err
	}
	for i := range s.data[off : off+n] {
		s.data[off+int64(i)] = 0xdd
	}
	return nil
}

// bounded is a strict driver that says so.
type bounded struct{ *strict }

func (b bounded) Limits() Limits { return b.strict.Limits }

func strictNode(t *testing.T, s *strict) *Child {
	t.Helper()
	g := &Graph{}
	n, err := g.Open(Spec{Driver: "strict", Options: Options{Discard: true}, Open: func([]*Child) (Driver, error) { return bounded{s}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	c, err := use(n, "d", ConsistentRead|Write, AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var someLimits = map[string]Limits{
	"sectors":           {Align: 512},
	"pages":             {Align: 4096, MaxTransfer: 8192},
	"odd transfers":     {Align: 512, MaxTransfer: 3 * 512},
	"one block":         {Align: 512, MaxTransfer: 512, MaxZero: 512, MaxDiscard: 512},
	"large zeroes":      {Align: 512, ZeroAlign: 3072, MaxZero: 3 * 3072},
	"odd zeroes":        {Align: 1024, ZeroAlign: 4096, MaxZero: 5120, DiscardAlign: 3072, MaxDiscard: 10240},
	"bytes, but zeroes": {Align: 1, ZeroAlign: 100, MaxZero: 1000, MaxTransfer: 333},
}

// TestLimits makes random requests of any alignment, and compares with an array of bytes.
func TestLimits(t *testing.T) {
	for name, lim := range someLimits {
		for _, size := range []int64{32 << 10, 32<<10 - 300} {
			for _, zeroes := range []bool{true, false} {
				t.Run(fmt.Sprint(name, size, zeroes), func(t *testing.T) {
					s := newStrict(lim, size)
					s.zeroes = zeroes
					m := model{t: t, c: strictNode(t, s), s: s, rng: rand.New(rand.NewPCG(1, uint64(size))), is: make([]byte, size)}
					for range 500 {
						m.step()
					}
					m.compare(0, size)
					if len(s.bad) > 0 {
						t.Errorf("%d requests, as %s", len(s.bad), s.bad[0])
					}
				})
			}
		}
	}
}

// model is what a node is to read.
type model struct {
	t   *testing.T
	c   *Child
	s   *strict
	rng *rand.Rand
	is  []byte
}

func (m *model) compare(off, n int64) {
	m.t.Helper()
	got := make([]byte, n)
	half := m.rng.Int64N(n)
	wants(m.t, m.c.Readv(off, [][]byte{got[:half], nil, got[half:]}), "")
	if !bytes.Equal(got, m.is[off:off+n]) {
		m.t.Fatalf("%d at %d differ", n, off)
	}
}

func (m *model) step() {
	m.t.Helper()
	off := m.rng.Int64N(int64(len(m.is)))
	n := 1 + m.rng.Int64N(min(int64(len(m.is))-off, 9000))
	switch m.rng.IntN(4) {
	case 0:
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(m.rng.Uint32())
		}
		half := m.rng.Int64N(n)
		wants(m.t, m.c.Writev(off, [][]byte{b[:half], b[half:]}, 0), "")
		copy(m.is[off:], b)
	case 1:
		wants(m.t, m.c.WriteZeroes(off, n, MayUnmap), "")
		clear(m.is[off : off+n])
	case 2:
		wants(m.t, m.c.Discard(off, n), "")
		// What is there may have changed, but only in whole blocks of the range.
		first, end := (off+m.s.Align-1)/m.s.Align*m.s.Align, (off+n)/m.s.Align*m.s.Align
		for i := first; i < end; i++ {
			if m.s.data[i] != 0xdd {
				m.t.Fatalf("byte %d of a discard of %d at %d is still there", i, n, off)
			}
			m.is[i] = 0xdd
		}
	default:
		m.compare(off, n)
	}
}

// TestSharedBlocks has neighbours write to parts of the same blocks at once. None may take
// back what another wrote.
func TestSharedBlocks(t *testing.T) {
	const writers, own, rows = 7, 100, 20
	s := newStrict(Limits{Align: 512, MaxTransfer: 1024}, writers*own*rows)
	c := strictNode(t, s)
	var all sync.WaitGroup
	for w := range int64(writers) {
		all.Go(func() {
			b := bytes.Repeat([]byte{byte(w + 1)}, own)
			for round := range int64(3 * rows) {
				off := (round%rows*writers + w) * own
				err := c.WriteZeroes(off, own, 0)
				if err = errors.Join(err, c.Writev(off, [][]byte{b}, 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i, b := range s.data[:s.size] {
		if want := byte(i/own%writers + 1); b != want {
			t.Fatalf("byte %d is %d, not %d", i, b, want)
		}
	}
	if l := c.node.limits; len(l.active) != 0 {
		t.Errorf("%v are still under way", l.active)
	}
}

// TestPartialWriteEvents has those told who may hold a request up while it reads what lies
// beside it.
func TestPartialWriteEvents(t *testing.T) {
	s := newStrict(Limits{Align: 512}, 8192)
	c := strictNode(t, s)
	const head, tail = "pwritev_rmw_head, pwritev_rmw_after_head, ", "pwritev_rmw_tail, pwritev_rmw_after_tail, "
	const write = "pwritev, pwritev_done"
	for _, x := range []struct {
		off, n int64
		want   string
	}{
		{0, 512, write},
		{512, 1024, write},
		{1, 511, head + write},
		{0, 511, tail + write},
		{100, 100, head + tail + write},
		{100, 1000, head + tail + write},
		{8191, 1, head + write},
	} {
		s.events = nil
		wants(t, c.Writev(x.off, [][]byte{bytes.Repeat([]byte{7}, int(x.n))}, 0), "")
		var got []string
		for _, e := range s.events {
			got = append(got, e.String())
		}
		if text := strings.Join(got, ", "); text != x.want {
			t.Errorf("%d at %d: %s, want %s", x.n, x.off, text, x.want)
		}
	}
}

// TestLimitsErrors has a part of a request fail: no later part comes, and no other request is
// kept waiting.
func TestLimitsErrors(t *testing.T) {
	bad := errors.New("bad block")
	s := newStrict(Limits{Align: 512, MaxTransfer: 1024, ZeroAlign: 512, MaxZero: 1024, MaxDiscard: 1024}, 16<<10)
	c := strictNode(t, s)
	fail := func(what string, at int64) *[]int64 {
		seen := new([]int64)
		s.fails = func(w string, off int64) error {
			if w == what {
				*seen = append(*seen, off)
			}
			if w == what && off == at {
				return bad
			}
			return nil
		}
		return seen
	}
	full := [][]byte{bytes.Repeat([]byte{9}, 4096)}
	for _, x := range []struct {
		what string
		do   func() error
	}{
		{"write", func() error { return c.Writev(0, full, 0) }},
		{"read", func() error { return c.Readv(0, full) }},
		{"zeroes", func() error { return c.WriteZeroes(0, 4096, 0) }},
		{"discard", func() error { return c.Discard(0, 4096) }},
	} {
		seen := fail(x.what, 2048)
		if err := x.do(); !errors.Is(err, bad) || fmt.Sprint(*seen) != "[0 1024 2048]" {
			t.Errorf("%s: %v after parts at %v", x.what, err, *seen)
		}
	}
	for off, at := range map[int64]int64{100: 0, 4096 - 512: 4096} { // what lies before, what lies after
		fail("read", at)
		if err := c.Writev(off, [][]byte{make([]byte, 700)}, 0); !errors.Is(err, bad) {
			t.Errorf("a write that cannot be completed to blocks: %v", err)
		}
	}
	s.fails = nil
	wants(t, c.Writev(0, full, 0), "")
	s.zeroes = false
	if err := c.WriteZeroes(0, 512, NoFallback); !errors.Is(err, ErrNotSupported) {
		t.Errorf("zeroes without data: %v", err)
	}
	s.fails = func(what string, _ int64) error {
		if what == "discard" {
			return ErrNotSupported
		}
		return nil
	}
	wants(t, c.Discard(0, 512), "") // a hint
	if s.data[0] != 9 {
		t.Error("a request that fails changes something")
	}
	if len(c.node.limits.active) != 0 {
		t.Error("a request that failed is still under way")
	}
}
