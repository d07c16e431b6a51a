package qcow2

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// damage changes 8 bytes of an image.
type damage struct {
	name string
	do   func(t *testing.T, f Storage, h *Header)
}

func word(t *testing.T, f Storage, off int64) uint64 {
	t.Helper()
	b := make([]byte, 8)
	if err := f.Readv(off, [][]byte{b}); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint64(b)
}

func setWord(t *testing.T, f Storage, off int64, v uint64) {
	t.Helper()
	if err := f.Writev(off, [][]byte{binary.BigEndian.AppendUint64(nil, v)}); err != nil {
		t.Fatal(err)
	}
}

func l2At(t *testing.T, f Storage, h *Header, i int64) int64 {
	return int64(word(t, f, h.L1Offset)&offsetMask) + i*8
}

func blockAt(t *testing.T, f Storage, h *Header) int64 {
	return int64(word(t, f, h.RefTableOffset))
}

var damages = []damage{
	{"none", func(t *testing.T, f Storage, h *Header) {}},
	{"leak", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, l2At(t, f, h, 3), 0)
	}},
	{"refcount 0", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, blockAt(t, f, h)+8, 0)
	}},
	{"refcount 2", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, blockAt(t, f, h)+8, 0x0002000200020001)
	}},
	{"copied flag", func(t *testing.T, f Storage, h *Header) {
		at := l2At(t, f, h, 2)
		setWord(t, f, at, word(t, f, at)&^flagCopied)
	}},
	{"copied flag of L1", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, h.L1Offset, word(t, f, h.L1Offset)&^flagCopied)
	}},
	{"two references", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, l2At(t, f, h, 2), word(t, f, l2At(t, f, h, 1)))
	}},
	{"refcount block outside", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, h.RefTableOffset+8, 1<<40)
	}},
	{"no refcount block", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, h.RefTableOffset, 0)
	}},
	{"refcount table unaligned", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, h.RefTableOffset, word(t, f, h.RefTableOffset)+512)
	}},
	{"reserved bits", func(t *testing.T, f Storage, h *Header) {
		at := l2At(t, f, h, 2)
		setWord(t, f, at, word(t, f, at)|2)
	}},
	{"misaligned zero", func(t *testing.T, f Storage, h *Header) {
		at := l2At(t, f, h, 2)
		setWord(t, f, at, (word(t, f, at)|flagZero)+512)
	}},
	{"dirty", func(t *testing.T, f Storage, h *Header) {
		setWord(t, f, blockAt(t, f, h)+8, 0x0001000100010000)
		setWord(t, f, 72, 1)
	}},
}

// TestCheckDamaged compares what we and QEMU find, and that both find our repair good.
func TestCheckDamaged(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			path, f, _ := variant{o: CreateOptions{ClusterSize: 4096}}.create(t, 1<<20)
			im := mustOpen(t, f, Options{})
			if err := im.Writev(0, [][]byte{make([]byte, 100<<10)}, 0); err != nil {
				t.Fatal(err)
			}
			mustClose(t, im)
			h, err := ParseHeader(f)
			if err != nil {
				t.Fatal(err)
			}
			d.do(t, f, &h)
			theirs := qemuCheck(t, path)
			ours, err := mustOpen(t, f, Options{ReadOnly: true}).Check(0)
			if err != nil {
				t.Fatal(err)
			}
			// QEMU gives no statistics when there is no good image.
			if r := report(ours); r.Leaks != theirs.Leaks || r.Corruptions != theirs.Corruptions || r.Errors != theirs.Errors || theirs.End != 0 && r.End != theirs.End {
				t.Errorf("QEMU says\n%+v, we say\n%+v", theirs, ours)
			}
			repair(t, path, f)
		})
	}
}

func repair(t *testing.T, path string, f Storage) {
	t.Helper()
	im := mustOpen(t, f, Options{Check: true})
	fixed, err := im.Check(FixAll)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	if fixed.Corruptions+fixed.Errors > 0 {
		if theirs := qemuCheck(t, path); theirs.Corruptions == 0 {
			t.Errorf("we could not repair %+v, and QEMU finds it good", fixed)
		}
		return
	}
	im = mustOpen(t, f, Options{})
	if _, err := im.Check(FixAll); err != nil { // leaks that the first repair made
		t.Fatal(err)
	}
	mustClose(t, im)
	if theirs := qemuCheck(t, path); theirs.Leaks+theirs.Corruptions+theirs.Errors > 0 {
		t.Errorf("QEMU is not content with our repair: %+v", theirs)
	}
}

// TestCheckRandomDamage flips bits of metadata; Check must end, and not panic.
func TestCheckRandomDamage(t *testing.T) {
	path, f, _ := variant{o: CreateOptions{ClusterSize: 512}}.create(t, 256<<10)
	d := &disk{im: mustOpen(t, f, Options{}), want: make([]byte, 256<<10), rng: rand.New(rand.NewPCG(9, 9))}
	for range 100 {
		if err := d.step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.im.CreateSnapshot(Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d.im)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clean := 0
	for range 300 {
		m := newMem(good)
		for range 1 + d.rng.IntN(3) {
			at := d.rng.Int64N(int64(len(good)))
			setWord(t, m, at&^7, word(t, m, at&^7)^1<<d.rng.IntN(64))
		}
		if exercise(m) == nil {
			clean++
		}
	}
	t.Logf("%d of 300 could be opened and repaired", clean)
	if clean == 0 {
		t.Error("none could be opened")
	}
}

// exercise opens a hostile image, reads, writes and repairs it.
func exercise(m *memStorage) error {
	ro, err := Open(m, Options{ReadOnly: true})
	if err != nil {
		return err
	}
	if ro.geo.external {
		return nil
	}
	b := make([]byte, min(ro.Size(), 1<<20))
	_ = ro.Readv(0, [][]byte{b})
	_, _ = ro.LoadBitmaps()
	for off := int64(0); off < min(ro.Size(), 1<<20); {
		x, err := ro.BlockStatus(off, ro.Size()-off)
		if err != nil || x.N <= 0 {
			break
		}
		off += x.N
	}
	_, _ = ro.Check(0)
	if err := ro.Close(); err != nil {
		return err
	}
	im, err := Open(m, Options{Check: true})
	if err != nil {
		return err
	}
	if _, err := im.Check(FixAll); err != nil {
		return err
	}
	_ = im.Writev(0, [][]byte{b[:min(len(b), 70000)]}, 0)
	_, _ = im.CreateSnapshot(Snapshot{Name: "x"})
	_ = im.ApplySnapshot("1")
	_ = im.DeleteSnapshot("1")
	return im.Close()
}

// seeds are small images with everything in them.
func seeds(t testing.TB) [][]byte {
	t.Helper()
	var l [][]byte
	for _, o := range []CreateOptions{
		{ClusterSize: 512, Size: 64 << 10}, {ClusterSize: 512, Size: 64 << 10, Compat: "0.10"},
		{ClusterSize: 16384, Size: 256 << 10, ExtendedL2: true}, {ClusterSize: 4096, Size: 64 << 10, Compression: Zstd},
	} {
		m := newMem(nil)
		if err := Create(m, nil, o); err != nil {
			t.Fatal(err)
		}
		im := mustOpen(t, m, Options{})
		cs := im.geo.clusterSize
		_ = im.Writev(0, [][]byte{make([]byte, cs)}, Compressed)
		_ = im.Writev(cs, [][]byte{make([]byte, 3000)}, 0)
		_, _ = im.CreateSnapshot(Snapshot{Name: "s"})
		_ = im.Writev(cs, [][]byte{make([]byte, 300)}, 0)
		if o.Compat == "" {
			_ = im.StoreBitmaps([]Bitmap{{Name: "b", Granularity: 512, Bits: make([]byte, im.bitmapBytes(9))}})
		}
		mustClose(t, im)
		b := make([]byte, m.size)
		_ = m.Readv(0, [][]byte{b})
		l = append(l, b)
	}
	return l
}

// patch changes words of an image: each 12 bytes are an offset and a value.
func patch(m *memStorage, p []byte) {
	for ; len(p) >= 12; p = p[12:] {
		off := int64(binary.BigEndian.Uint32(p)) % (m.size + 4096)
		_ = m.Writev(off, [][]byte{p[4:12]})
	}
}

// FuzzImage has damaged images opened and used.
func FuzzImage(f *testing.F) {
	images := seeds(f)
	for i := range images {
		for _, off := range []uint32{24, 36, 40, 48, 56, 60, 64, 72, 96, 100, 512, 1024, 4096, 16384} {
			f.Add(uint8(i), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, off), 1<<40|uint64(off)))
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, p []byte) {
		m := newMem(images[int(i)%len(images)])
		patch(m, p)
		_ = exercise(m)
	})
}

// FuzzHeader decodes headers; what was accepted can be written and read again.
func FuzzHeader(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b[:min(len(b), 1024)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(newMem(b))
		if err != nil {
			return
		}
		e, err := h.encode()
		if err != nil {
			return
		}
		again, err := ParseHeader(newMem(e))
		if err != nil || again.Size != h.Size || again.BackingFile != h.BackingFile || again.L1Offset != h.L1Offset || len(again.unknown) != len(h.unknown) {
			t.Fatalf("%+v became %+v: %v", h, again, err)
		}
	})
}

// TestSlow has images damaged at the places that say how much there is to do.
func TestSlow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	images := seeds(t)
	for i := range 800 {
		b := images[i%len(images)]
		m := newMem(b)
		var p []byte
		for range 1 + rng.IntN(4) {
			off, v := uint32(rng.IntN(28)*4), rng.Uint64()>>rng.IntN(64)
			if rng.IntN(2) == 0 {
				off = uint32(rng.IntN(len(b))) &^ 7
			}
			if rng.IntN(2) == 0 { // a cluster of the file
				v = uint64(rng.IntN(len(b)))&^511 | uint64(rng.IntN(2))<<63
			}
			p = binary.BigEndian.AppendUint32(p, off)
			p = binary.BigEndian.AppendUint64(p, v)
		}
		patch(m, p)
		start := time.Now()
		_ = exercise(m)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("image %d with %x took %v", i%len(images), p, d)
		}
	}
}

// TestNoFirstBlock has the refcounts of the header be lost: a write is refused as QEMU refuses
// it, by what lies behind the header.
func TestNoFirstBlock(t *testing.T) {
	for _, c := range []struct {
		checks Overlap
		offset int64
		want   string
	}{
		{0, 65536, "Preventing invalid write on metadata (overlaps with refcount table)"},
		{OverlapNone, -1, "Preventing invalid allocation of refcount block at offset 0"},
	} {
		_, f, _ := variant{}.create(t, 1<<20)
		im := mustOpen(t, f, Options{})
		h := im.Header()
		mustClose(t, im)
		setWord(t, f, h.RefTableOffset, 0)
		var seen []Corruption
		im = mustOpen(t, f, Options{Overlap: c.checks, OnCorruption: func(c Corruption) { seen = append(seen, c) }})
		if err := im.Writev(0, [][]byte{make([]byte, 512)}, 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", c.want, err)
		}
		if len(seen) != 1 || !seen[0].Fatal || seen[0].Offset != c.offset || seen[0].Message != c.want {
			t.Errorf("%+v, want %q at %d", seen, c.want, c.offset)
		}
		mustClose(t, im)
	}
}

// TestCorruptAtRunTime has metadata overlap with data; the write is refused and the image marked.
func TestCorruptAtRunTime(t *testing.T) {
	path, f, _ := variant{}.create(t, 1<<20)
	im := mustOpen(t, f, Options{})
	if err := im.Writev(0, [][]byte{make([]byte, 4096)}, 0); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	h := im.Header()
	setWord(t, f, l2At(t, f, &h, 0), uint64(h.L1Offset)|flagCopied)
	var seen []Corruption
	im = mustOpen(t, f, Options{OnCorruption: func(c Corruption) { seen = append(seen, c) }})
	for range 2 {
		if err := im.Writev(0, [][]byte{make([]byte, 4096)}, 0); err == nil {
			t.Error("the L1 table was overwritten")
		}
	}
	if len(seen) != 1 || !seen[0].Fatal || seen[0].Offset != h.L1Offset {
		t.Errorf("%+v", seen)
	}
	if err := im.Readv(0, [][]byte{make([]byte, 1)}); err == nil {
		t.Error("a corrupt image can be read on")
	}
	mustClose(t, im)
	if _, err := Open(f, Options{}); err == nil {
		t.Error("a corrupt image was opened for writing")
	}
	mustClose(t, mustOpen(t, f, Options{ReadOnly: true}))
	if theirs := qemuCheck(t, path); theirs.Corruptions == 0 {
		t.Error("QEMU finds nothing")
	}
	repair(t, path, f)
}
