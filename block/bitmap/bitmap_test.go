package bitmap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func make1(t testing.TB, size, granularity int64) *Bitmap {
	t.Helper()
	b, err := New(Config{Name: "b", Size: size, Granularity: granularity, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNewChecks(t *testing.T) {
	for _, g := range []int64{0, -512, 256, 511, 513, 3 << 16, 1 << 32} {
		if _, err := New(Config{Size: 1 << 20, Granularity: g}); !errors.Is(err, ErrGranularity) {
			t.Errorf("granularity %d: %v", g, err)
		}
	}
	for _, g := range []int64{512, 1 << 16, 1 << 31} {
		if b := make1(t, 1<<20, g); b.Granularity() != g {
			t.Errorf("granularity is %d, not %d", b.Granularity(), g)
		}
	}
	if _, err := New(Config{Size: 1 << 62, Granularity: 512}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a disk of 4 EiB: %v", err)
	}
}

// model is a bitmap as a list of truths.
type model struct {
	size, gran int64
	dirty      []bool
}

func newModel(size, gran int64) *model {
	return &model{size, gran, make([]bool, (size+gran-1)/gran)}
}

func (m *model) mark(off, n int64) {
	for i := range m.dirty {
		at := int64(i) * m.gran
		if n > 0 && at < off+n && off < at+m.gran {
			m.dirty[i] = true
		}
	}
}

func (m *model) resize(size int64) {
	n := int((size + m.gran - 1) / m.gran)
	for len(m.dirty) < n {
		m.dirty = append(m.dirty, false)
	}
	m.dirty, m.size = m.dirty[:n], size
}

func (m *model) merge(o *model) {
	for i, d := range o.dirty {
		if d {
			m.mark(int64(i)*o.gran, min(o.gran, o.size-int64(i)*o.gran))
		}
	}
}

// bytes returns the bits as qcow2 has them.
func (m *model) bytes() []byte {
	b := make([]byte, (len(m.dirty)+7)/8)
	for i, d := range m.dirty {
		if d {
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// compare checks all that can be seen of a bitmap.
func (m *model) compare(t *testing.T, b *Bitmap) {
	t.Helper()
	count := int64(0)
	for _, d := range m.dirty {
		if d {
			count += m.gran
		}
	}
	if b.Count() != count || b.Size() != m.size {
		t.Fatalf("%d bytes dirty of %d, not %d of %d", b.Count(), b.Size(), count, m.size)
	}
	want := m.bytes()
	if got := b.Store().Bits; !bytes.Equal(got, want) {
		t.Fatalf("bits %x, not %x", got, want)
	}
	words := append(want, make([]byte, max((len(m.dirty)+63)/64, 1)*8-len(want))...)
	if sum := sha256.Sum256(words); b.SHA256() != hex.EncodeToString(sum[:]) {
		t.Fatal("another hash")
	}
	seen := newModel(m.size, m.gran)
	for off := int64(0); ; {
		start, n, ok := b.Next(off, m.size)
		if !ok {
			break
		}
		if start < off || n <= 0 || start+n > m.size {
			t.Fatalf("from %d: an area of %d bytes at %d", off, n, start)
		}
		seen.mark(start, n)
		off = start + n
	}
	if !bytes.Equal(seen.bytes(), want) {
		t.Fatalf("areas of %x, not %x", seen.bytes(), want)
	}
}

// TestRandom compares bitmaps with models of them under random changes.
func TestRandom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		size := 1 + r.Int64N(1<<(10+r.IntN(16)))
		type pair struct {
			b *Bitmap
			m *model
		}
		var all []pair
		for range 3 {
			gran := int64(512) << r.IntN(10)
			all = append(all, pair{make1(t, size, gran), newModel(size, gran)})
		}
		for range 30 {
			x := all[r.IntN(len(all))]
			switch r.IntN(8) {
			case 0:
				x.b.Clear()
				x.m.dirty = newModel(size, x.m.gran).dirty
			case 1:
				y := all[r.IntN(len(all))]
				if err := x.b.Mergeable(y.b); err != nil {
					t.Fatal(err)
				}
				x.b.Merge(y.b)
				x.m.merge(y.m)
			case 2:
				size = 1 + r.Int64N(1<<(10+r.IntN(16)))
				for _, y := range all {
					if err := y.b.Resize(size); err != nil {
						t.Fatal(err)
					}
					y.m.resize(size)
				}
			case 3:
				back, err := Load(ptr(x.b.Store()), size)
				if err != nil {
					t.Fatal(err)
				}
				x.m.compare(t, back)
			default:
				off := r.Int64N(size)
				n := r.Int64N(1 << r.IntN(25))
				x.b.Mark(off, n)
				x.m.mark(off, min(n, size-off))
			}
		}
		for _, x := range all {
			x.m.compare(t, x.b)
		}
	}
}

func ptr[T any](x T) *T { return &x }

func TestNextStopsAtEnd(t *testing.T) {
	b := make1(t, 1<<20, 1<<16)
	b.Mark(0x12345, 1)
	b.Mark(0x20000, 0x10000)
	for _, x := range []struct {
		off, end, start, n int64
		ok                 bool
	}{
		{0, 1 << 20, 0x10000, 0x20000, true}, {0x10001, 1 << 20, 0x10001, 0x1ffff, true}, {0, 0x10000, 0, 0, false},
		{0, 0x18000, 0x10000, 0x8000, true}, {0x30000, 1 << 20, 0, 0, false}, {-1, 5, 0, 0, false}, {2 << 20, 3 << 20, 0, 0, false},
	} {
		if start, n, ok := b.Next(x.off, x.end); start != x.start || n != x.n || ok != x.ok {
			t.Errorf("from %#x to %#x: %#x %#x %v", x.off, x.end, start, n, ok)
		}
	}
}

func TestDisabledFollowsNothing(t *testing.T) {
	b := make1(t, 1<<20, 512)
	b.SetEnabled(false)
	b.Mark(0, 512)
	if b.Enabled() || b.Count() != 0 {
		t.Error("a disabled bitmap has marks")
	}
	b.SetEnabled(true)
	b.Mark(0, 512)
	b.Mark(1<<20, 512) // outside
	b.Mark(-1, 512)
	if b.Count() != 512 {
		t.Errorf("%d bytes are dirty", b.Count())
	}
}

func TestChecks(t *testing.T) {
	broken, err := Load(&Stored{Name: "b", Granularity: 512, Inconsistent: true}, 1<<20)
	if err != nil || !broken.Inconsistent() || !broken.Persistent() {
		t.Fatal(broken, err)
	}
	broken.Mark(0, 512)
	if s := broken.Store(); !s.Inconsistent || s.Bits != nil || broken.Count() != 0 {
		t.Error("an inconsistent bitmap has marks")
	}
	busy, still, other := make1(t, 1<<20, 512), make1(t, 1<<20, 512), make1(t, 1<<21, 512)
	busy.SetBusy(true)
	still.SetReadOnly(true)
	if !busy.Busy() || !still.ReadOnly() {
		t.Error("states are lost")
	}
	for _, x := range []struct {
		name string
		err  error
		want string
	}{
		{"busy", busy.Check(Used), "in use by another operation"}, {"busy", busy.Check(Removed), "in use by another operation"},
		{"read-only", still.Check(Used), ""}, {"read-only", still.Check(Changed), "readonly"}, {"read-only", still.Check(Removed), "readonly"},
		{"inconsistent", broken.Check(Used), "inconsistent"}, {"inconsistent", broken.Check(Changed), "inconsistent"}, {"inconsistent", broken.Check(Removed), ""},
		{"merge from busy", make1(t, 1<<20, 512).Mergeable(busy), "in use"}, {"merge into read-only", still.Mergeable(other), "readonly"},
		{"merge of sizes", make1(t, 1<<20, 512).Mergeable(other), "destination size is 1048576, source size is 2097152"},
	} {
		if x.want == "" && x.err != nil || x.want != "" && (x.err == nil || !strings.Contains(x.err.Error(), x.want)) {
			t.Errorf("%s: %v", x.name, x.err)
		}
	}
}

// TestConcurrent has many goroutines mark while others look; run with -race.
func TestConcurrent(t *testing.T) {
	b := make1(t, 64<<20, 4096)
	var all sync.WaitGroup
	for g := range int64(4) {
		all.Go(func() {
			for i := range int64(2000) {
				b.Mark((i*4+g)*8192, 1)
				_ = b.Count()
			}
		})
	}
	all.Wait()
	if b.Count() != 8000*4096 {
		t.Errorf("%d bytes are dirty", b.Count())
	}
}

func BenchmarkMark(b *testing.B) {
	m := make1(b, 1<<40, 1<<16)
	m.Mark(0, 1<<40)
	b.ReportAllocs()
	for i := range b.N {
		m.Mark(int64(i)*4096%(1<<40), 4096)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte{1, 0, 255}, int64(100000), uint8(9))
	f.Add([]byte{}, int64(0), uint8(31))
	f.Fuzz(func(t *testing.T, data []byte, size int64, shift uint8) {
		if size < 0 || size > 1<<40 || len(data) > 1<<16 {
			return
		}
		b, err := Load(&Stored{Name: "b", Granularity: 1 << (shift % 40), Bits: data}, size)
		if err != nil {
			return
		}
		if n := b.Count(); n < 0 || n > size+b.Granularity() {
			t.Errorf("%d bytes of %d are dirty", n, size)
		}
		_ = b.SHA256()
	})
}

// TestUnmark compares with bits one by one.
func TestUnmark(t *testing.T) {
	const size, granularity = 1000_000, 4096
	b, err := New(Config{Name: "b", Size: size, Granularity: granularity, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]bool, size/granularity+1)
	for i := range 1000 {
		off := rand.Int64N(size)
		n := 1 + rand.Int64N(size-off)
		if i%2 == 0 {
			n = min(n, 20000)
			b.Mark(off, n)
		} else {
			b.Unmark(off, n)
		}
		for part := range want {
			from, to := int64(part)*granularity, min(int64(part+1)*granularity, size)
			switch touched, whole := off < to && off+n > from, off <= from && off+n >= to; {
			case i%2 == 0 && touched:
				want[part] = true
			case i%2 == 1 && whole:
				want[part] = false
			}
			if _, _, is := b.Next(from, to); is != want[part] {
				t.Fatalf("step %d, %d bytes at %d: part %d is %v", i, n, off, part, is)
			}
		}
	}
}
