package qcow2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// TestRefcountWidths: what is put into a block is got from it, and nothing else changes.
func TestRefcountWidths(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for order := uint(0); order <= 6; order++ {
		b := make([]byte, 512)
		n := int64(512 * 8 >> order)
		limit := ^uint64(0) >> (64 - 1<<order)
		want := make([]uint64, n)
		for range 5000 {
			i, v := rng.Int64N(n), rng.Uint64()&limit
			putRef(b, order, i, v)
			want[i] = v
		}
		for i, v := range want {
			if got := getRef(b, order, int64(i)); got != v {
				t.Fatalf("order %d, entry %d: %d, want %d", order, i, got, v)
			}
		}
	}
	b := make([]byte, 8)
	putRef(b, 0, 1, 1) // bit 0 is the least significant
	putRef(b, 2, 3, 0xa)
	if b[0] != 2 || b[1] != 0xa0 {
		t.Errorf("%x", b)
	}
}

// TestCompressedEntry: place and length of compressed data go through an L2 entry.
func TestCompressedEntry(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for bits := uint32(minClusterBits); bits <= maxClusterBits; bits++ {
		g := makeGeometry(&Header{ClusterBits: bits, RefcountOrder: 4})
		for range 200 {
			n := rng.Int64N(g.clusterSize-1) + 1
			off := rng.Int64N(1<<40)&^(g.clusterSize-1) + rng.Int64N(g.clusterSize-n+1)
			at, most := g.compressedAt(g.compressedEntry(off, n))
			if at != off || most < n || most >= n+512 {
				t.Fatalf("2^%d: %d bytes at %#x became %d at %#x", bits, n, off, most, at)
			}
		}
	}
}

func TestKinds(t *testing.T) {
	std := makeGeometry(&Header{ClusterBits: 16, RefcountOrder: 4})
	ext := makeGeometry(&Header{ClusterBits: 16, RefcountOrder: 4, Incompatible: IncompatExtendedL2})
	data := makeGeometry(&Header{ClusterBits: 16, RefcountOrder: 4, Incompatible: IncompatDataFile})
	const host = 0x50000
	for _, c := range []struct {
		g    *geometry
		e    entry
		sub  int
		want kind
	}{
		{&std, entry{}, 0, unallocated},
		{&std, entry{desc: flagZero}, 0, zeroPlain},
		{&std, entry{desc: host | flagZero}, 0, zeroHosted},
		{&std, entry{desc: host}, 0, normal},
		{&std, entry{desc: flagCopied}, 0, unallocated},
		{&std, entry{desc: flagCompressed | 1}, 0, compressed},
		{&data, entry{desc: flagCopied}, 0, normal},
		{&data, entry{desc: flagCopied | flagZero}, 0, zeroPlain},
		{&ext, entry{desc: host, subs: 1 << 3}, 3, normal},
		{&ext, entry{desc: host, subs: 1 << 3}, 4, unallocHosted},
		{&ext, entry{desc: host, subs: 1 << 36}, 4, zeroHosted},
		{&ext, entry{subs: 1 << 36}, 4, zeroPlain},
		{&ext, entry{subs: 1 << 36}, 5, unallocated},
		{&ext, entry{subs: 1 << 4}, 4, invalid},
		{&ext, entry{desc: host, subs: 1<<4 | 1<<36}, 4, invalid},
		{&ext, entry{desc: flagCompressed, subs: 1 << 4}, 4, compressed},
	} {
		if got := c.g.kind(c.e, c.sub); got != c.want {
			t.Errorf("%+v, subcluster %d: %d, want %d", c.e, c.sub, got, c.want)
		}
	}
}

// TestCache beside a map: what is evicted was written, and is read back.
func TestCache(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	store := map[int64]byte{}
	var c cache
	c.init(16, 5*16, func(off int64, b []byte) error {
		for i := range b {
			b[i] = store[off]
		}
		return nil
	}, func(t *table) error { store[t.off] = t.b[0]; return nil })
	want := map[int64]byte{}
	for i := range 5000 {
		off := rng.Int64N(12) * 16
		switch rng.IntN(20) {
		case 0:
			if err := c.flush(); err != nil || c.dirty != 0 {
				t.Fatal(err, c.dirty)
			}
		case 1:
			c.clean()
		case 2:
			if x, err := c.fresh(off); err != nil || x.b[3] != 0 {
				t.Fatal(err)
			}
			want[off] = 0
		case 3:
			c.drop(off)
			want[off] = store[off]
		default:
			x, err := c.get(off)
			if err != nil || x.b[0] != want[off] {
				t.Fatalf("step %d: %d at %d, want %d, %v", i, x.b[0], off, want[off], err)
			}
			if rng.IntN(2) == 0 {
				x.b[0] = byte(i)
				c.mark(x)
				want[off] = byte(i)
			}
		}
		if len(c.m) > 5 {
			t.Fatalf("%d entries", len(c.m))
		}
	}
	c.reset()
	if len(c.m) != 0 || c.ring.next != &c.ring {
		t.Error("reset left something")
	}
}

// TestCacheErrors: a table that can't be read or written is not lost.
func TestCacheErrors(t *testing.T) {
	fail := errors.New("no")
	var c cache
	bad := true
	c.init(16, 0, func(off int64, b []byte) error {
		if off == 99 {
			return fail
		}
		return nil
	}, func(*table) error {
		if bad {
			return fail
		}
		return nil
	})
	if _, err := c.get(99); !errors.Is(err, fail) {
		t.Error(err)
	}
	for i := range int64(4) {
		x, err := c.get(i * 16)
		if err != nil {
			t.Fatal(err)
		}
		c.mark(x)
	}
	if _, err := c.get(64); !errors.Is(err, fail) || c.dirty != 4 {
		t.Error(err, c.dirty)
	}
	if err := c.flush(); !errors.Is(err, fail) {
		t.Error(err)
	}
	bad = false
	if _, err := c.get(64); err != nil || c.dirty != 3 {
		t.Error(err, c.dirty)
	}
}

func TestVector(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 500 {
		var v [][]byte
		var all []byte
		for range rng.IntN(5) + 1 {
			b := make([]byte, rng.IntN(6))
			for i := range b {
				b[i] = byte(rng.Int())
			}
			v, all = append(v, b), append(all, b...)
		}
		r := &req{}
		rest := vector{v: v}
		for n := int64(len(all)); n > 0; {
			k := rng.Int64N(n) + 1
			got := bytes.Join(rest.take(r, k, n), nil)
			if !bytes.Equal(got, all[int64(len(all))-n:][:k]) {
				t.Fatalf("%v: took %v", v, got)
			}
			n -= k
		}
		flat := make([]byte, len(all))
		gather(flat, v)
		if !bytes.Equal(flat, all) {
			t.Fatal("gather")
		}
		zero(v)
		scatter(v, flat)
		if !bytes.Equal(bytes.Join(v, nil), all) {
			t.Fatal("scatter")
		}
	}
}

// TestCodec: what is packed expands to itself, from a buffer that has more behind it.
func TestCodec(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for _, kind := range []Compression{Zlib, Zstd} {
		var c codec
		c.init(kind, 65536)
		for range 30 {
			p, err := c.writer()
			if err != nil {
				t.Fatal(err)
			}
			for i := range p.in {
				p.in[i] = byte(rng.IntN(1 + i>>12))
			}
			if small, err := p.pack(); err != nil || !small {
				t.Fatal(small, err)
			}
			x, err := c.reader()
			if err != nil {
				t.Fatal(err)
			}
			x.in = append(bytes.Clone(p.out.Bytes()), 1, 2, 3, 4, 5, 6, 7)
			if err := x.expand(); err != nil || !bytes.Equal(x.out, p.in) {
				t.Fatalf("%s: %v", kind, err)
			}
			x.in = x.in[:len(x.in)/2]
			if err := x.expand(); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: half of it: %v", kind, err)
			}
			c.writers.Put(p)
			c.readers.Put(x)
		}
	}
}

// TestOverlap: no kind of metadata is written over.
func TestOverlap(t *testing.T) {
	m := newMem(nil)
	if err := Create(m, nil, CreateOptions{Size: 1 << 20, ClusterSize: 4096}); err != nil {
		t.Fatal(err)
	}
	im := mustOpen(t, m, Options{Overlap: OverlapAll})
	if err := im.Writev(0, [][]byte{{1}}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := im.Writev(0, [][]byte{{2}}, 0); err != nil {
		t.Fatal(err)
	}
	if err := im.StoreBitmaps([]Bitmap{{Name: "b", Granularity: 4096, Bits: make([]byte, 32)}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	h := im.Header()
	s := im.Snapshots()[0]
	for what, off := range map[Overlap]int64{
		OverlapHeader: 0, OverlapActiveL1: h.L1Offset, OverlapActiveL2: l2At(t, m, &h, 0), OverlapRefTable: h.RefTableOffset,
		OverlapRefBlock: blockAt(t, m, &h), OverlapSnapshots: h.SnapshotsOffset, OverlapInactiveL1: s.l1Offset,
		OverlapInactiveL2: int64(word(t, m, s.l1Offset) & offsetMask), OverlapBitmaps: h.bitmaps.off,
	} {
		for _, set := range []Overlap{OverlapAll, what, OverlapAll &^ what, OverlapNone} {
			im := mustOpen(t, m.clone(), Options{Overlap: set})
			err := im.checkOverlap(off+100, 10, 0)
			if hit := set&what != 0 && set != OverlapNone; hit != errors.Is(err, ErrCorrupt) {
				t.Errorf("%s with %s: %v", what, set, err)
			}
			if err := mustOpen(t, m.clone(), Options{Overlap: set}).checkOverlap(off-off%4096, 4096, what); err != nil {
				t.Errorf("%s is allowed: %v", what, err)
			}
		}
	}
}
