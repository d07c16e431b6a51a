package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"hv/test/hvrun"
)

// powerKind is a kind of image whose medium loses power.
type powerKind struct {
	name  string
	o     CreateOptions
	whole bool   // snapshots, bitmaps and resizes as well
	first uint64 // what the backing image holds, 0 for none
}

var powerKinds = []powerKind{
	{"512", CreateOptions{ClusterSize: 512, Size: 256 << 10, RefcountBits: 64}, false, 0},
	{"v2", CreateOptions{ClusterSize: 4096, Size: 1 << 20, Compat: "0.10"}, false, 0},
	{"4k", CreateOptions{ClusterSize: 4096, Size: 1 << 20, RefcountBits: 8}, false, 0},
	{"64k zstd", CreateOptions{Size: 2 << 20, Compression: Zstd}, false, 0},
	{"lazy", CreateOptions{ClusterSize: 1024, Size: 512 << 10, LazyRefcounts: true}, false, 0},
	{"extended", CreateOptions{ClusterSize: 16384, Size: 2 << 20, ExtendedL2: true}, false, 0},
	{"data file", CreateOptions{ClusterSize: 4096, Size: 1 << 20, DataFile: "data"}, false, 0},
	{"raw data file", CreateOptions{ClusterSize: 16384, Size: 1 << 20, DataFile: "data", DataFileRaw: true, ExtendedL2: true}, false, 0},
	{"backed", CreateOptions{ClusterSize: 4096, Size: 512 << 10}, false, 77},
	{"backed extended", CreateOptions{ClusterSize: 16384, Size: 1 << 20, ExtendedL2: true}, false, 77},
	{"whole 512", CreateOptions{ClusterSize: 512, RefcountBits: 64, Size: 128 << 10}, true, 0},
	{"whole 1k", CreateOptions{ClusterSize: 1024, Size: 256 << 10}, true, 0},
	{"whole v2", CreateOptions{ClusterSize: 1024, Size: 256 << 10, Compat: "0.10"}, true, 0},
	{"whole lazy", CreateOptions{ClusterSize: 1024, Size: 256 << 10, LazyRefcounts: true, RefcountBits: 4}, true, 77},
	{"whole extended", CreateOptions{ClusterSize: 16384, Size: 1 << 20, ExtendedL2: true, LazyRefcounts: true}, true, 0},
	{"whole data file", CreateOptions{ClusterSize: 4096, Size: 512 << 10, DataFile: "data"}, true, 0},
	{"whole raw data file", CreateOptions{ClusterSize: 4096, Size: 512 << 10, DataFile: "data", DataFileRaw: true}, true, 0},
}

// power is an image on a device that is to lose power.
type power struct {
	powerKind
	dev     device
	opt     Options
	im      *Image
	m       *model
	rng     *rand.Rand
	created int
	fill    int
	dir     string // for QEMU
}

func (k powerKind) start(t *testing.T, seed uint64) *power {
	t.Helper()
	p := &power{powerKind: k, rng: rand.New(rand.NewPCG(seed, 2)), m: newModel(k.o.Size, k.first), dir: t.TempDir()}
	file := &logStorage{memStorage: newMem(nil), dev: &p.dev}
	var data Storage
	if k.o.DataFile != "" {
		p.o.DataFile = filepath.Join(p.dir, "data")
		data = &logStorage{memStorage: newMem(nil), dev: &p.dev, file: 1}
	}
	if err := Create(file, data, p.o); err != nil {
		t.Fatal(err)
	}
	_ = file.Flush()
	if data != nil {
		_ = data.Flush()
	}
	p.created = p.dev.pos()
	p.opt = Options{DataFile: data, L2CacheSize: 1024, DiscardRequest: true, DiscardOther: true, DiscardSnapshot: true}
	if k.first != 0 {
		p.opt.Backing = rawBacking{sectorData(k.o.Size, k.first)}
	}
	p.im = mustOpen(t, file, p.opt)
	return p
}

// step does something, and notes what it comes to.
func (p *power) step(value uint64) error {
	e := event{start: p.dev.pos()}
	err := p.request(&e, value)
	if err != nil && strings.Contains(err.Error(), "reference count overflow") {
		// With many compressed clusters in one there are few references left. Nothing is changed.
		e, err = event{start: e.start}, nil
	}
	if e.end = p.dev.pos(); e.durable < 0 {
		e.durable = e.end
	}
	p.m.happened(e)
	return err
}

func (p *power) request(e *event, value uint64) error {
	im, rng, cs := p.im, p.rng, p.im.geo.clusterSize
	d := disk{im: im, rng: rng, want: make([]byte, im.Size())}
	off, n := d.pick()
	e.off, e.n, e.value = off&^511, max(n&^511, 512), value
	e.n = min(e.n, im.Size()-e.off)
	op := rng.IntN(20)
	if p.whole {
		op = rng.IntN(30)
	}
	switch {
	case op < 7:
		return im.Writev(e.off, [][]byte{sectorData(e.n, value)}, 0)
	case op == 8:
		e.durable = -1
		return im.Writev(e.off, [][]byte{sectorData(e.n, value)}, FUA)
	case op == 9 || op == 7:
		return p.found(e)
	case op < 12 && !im.geo.external:
		e.off, e.n = off/cs*cs, min(cs, im.Size()-off/cs*cs)
		return im.Writev(e.off, [][]byte{sectorData(e.n, value)}, Compressed)
	case op < 14:
		e.value = 0
		return im.WriteZeroes(e.off, e.n, Flags(rng.IntN(2))*MayUnmap)
	case op < 16:
		e.off, e.n, e.value = off/cs*cs, min((e.n+cs-1)/cs*cs, im.Size()-off/cs*cs), 0
		if im.hdr.Version < 3 && im.backing != nil {
			e.n = 0
			return nil
		}
		return im.Discard(e.off, e.n)
	case op < 20:
		e.n, e.durable = 0, e.start
		return im.Flush()
	}
	e.n, e.value, e.durable = 0, 0, -1
	return p.wholeOp(e, op-20, fmt.Sprint(value))
}

// found writes as those do who look up where data lies.
func (p *power) found(e *event) error {
	spot := p.im.Find(true, e.off, e.n)
	if spot.Place == Elsewhere {
		e.n = 0
		return nil
	}
	return writeSpot(p.im, spot, sectorData(e.n, e.value), p.rng)
}

// wholeOp does one of the operations on the image as a whole, which are durable when they
// return; some are nothing for some images.
func (p *power) wholeOp(e *event, op int, name string) error {
	im := p.im
	snaps := im.snaps
	switch {
	case op < 2 && len(snaps) < 3 && !im.geo.external:
		s := &snapState{values: slices.Clone(p.m.now), size: p.m.disk}
		p.m.snaps[name] = s
		_, err := im.CreateSnapshot(Snapshot{Name: name})
		if s.created = p.dev.pos(); err != nil {
			delete(p.m.snaps, name)
		}
		return err
	case op < 4 && len(snaps) > 0:
		i := p.rng.IntN(len(snaps))
		s := p.m.snaps[snaps[i].Name]
		s.drop = p.dev.pos()
		err := im.DeleteSnapshot(snaps[i].ID)
		s.dropped = p.dev.pos()
		return err
	case op == 4 && len(snaps) > 0:
		i := p.rng.IntN(len(snaps))
		s := p.m.snaps[snaps[i].Name]
		if im.hdr.bitmaps.count > 0 && s.size != im.Size() {
			break
		}
		e.all, e.size = s.values, s.size
		return im.ApplySnapshot(snaps[i].ID)
	case op < 7 && im.hdr.Version >= 3:
		return p.bitmaps(e)
	case op < 9 && im.bitmapsInUse() == nil && (im.hdr.Version >= 3 || len(snaps) == 0):
		e.size = (p.rng.Int64N(2*p.o.Size>>10) + 1) << 10
		mode := PreallocOff
		if e.size > im.Size() && p.rng.IntN(2) == 0 && p.first == 0 {
			mode = PreallocMetadata
		}
		return im.Truncate(e.size, mode)
	}
	e.durable = e.start
	return im.Flush()
}

func (p *power) bitmaps(e *event) error {
	if p.im.hdr.bitmaps.count > 0 && p.rng.IntN(2) == 0 {
		e.bitmaps, e.durable, e.sure = &bitmapState{p.fill, true}, 0, true
		_, err := p.im.LoadBitmaps()
		return err
	}
	if p.rng.IntN(3) == 0 {
		e.bitmaps = &bitmapState{fill: -1}
		return p.im.StoreBitmaps(nil)
	}
	p.fill = p.rng.IntN(256)
	e.bitmaps = &bitmapState{fill: p.fill}
	var l []Bitmap
	for i := range 2 {
		g := int64(512) << i
		l = append(l, Bitmap{Name: fmt.Sprintf("%d-%d", p.fill, i), Granularity: g, Bits: bytes.Repeat([]byte{byte(p.fill)}, int(p.im.bitmapBytes(uint8(9+i))))})
	}
	return p.im.StoreBitmaps(l)
}

// lost is an image whose device lost power at k of the log.
type lost struct {
	*power
	files [2]*memStorage
	k     int
}

func (l *lost) options() Options {
	o := Options{Backing: l.opt.Backing}
	if l.o.DataFile != "" {
		o.DataFile = l.files[1]
	}
	return o
}

// after checks what a power failure left.
func (l *lost) after() error {
	im, err := Open(l.files[0], l.options())
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer im.Close()
	if err := l.good(im); err != nil {
		return err
	}
	a := l.m.allowed(l.k)
	if err := l.compare(im, a); err != nil {
		return err
	}
	if err := l.compareBitmaps(im, a.bitmaps); err != nil {
		return err
	}
	if err := l.compareSnapshots(im); err != nil {
		return err
	}
	if res, err := im.Check(FixAll); err != nil || res.Corruptions+res.Errors+res.Leaks > 0 {
		return fmt.Errorf("repair: %+v, %v", res, err)
	}
	return nil
}

// good has the check find leaks at most. Version 2 has no mark for an image whose copied
// flags are being changed; those may be wrong if there are snapshots.
func (l *lost) good(im *Image) error {
	res, err := im.Check(0)
	if im.hdr.Version < 3 && l.whole {
		c := &checker{im: im, length: im.file.Size()}
		err = errors.Join(c.count(), c.compare())
		res = c.res
	}
	if err != nil || res.Corruptions+res.Errors > 0 {
		return fmt.Errorf("check: %+v, %v", res, err)
	}
	return nil
}

func (l *lost) compare(im *Image, a maybe) error {
	if !slices.Contains(a.sizes, im.Size()) {
		return fmt.Errorf("size is %d, allowed are %d", im.Size(), a.sizes)
	}
	b := make([]byte, 512)
	for i, values := range a.sectors[:im.Size()/512] {
		if err := im.Readv(int64(i)*512, [][]byte{b}); err != nil {
			return err
		}
		got := binary.BigEndian.Uint64(b)
		if !slices.Contains(values, got) || !bytes.Equal(b, sectorData(512, got)) {
			return fmt.Errorf("sector %d holds %x..., allowed are %v", i, b[:16], values)
		}
	}
	return nil
}

func (l *lost) compareBitmaps(im *Image, allowed []bitmapState) error {
	list, err := im.LoadBitmaps()
	if err != nil {
		return err
	}
	if len(list) == 0 && !slices.Contains(allowed, bitmapState{fill: -1}) {
		return fmt.Errorf("there are no bitmaps, allowed are %v", allowed)
	}
	for _, b := range list {
		fill := 0
		_, err := fmt.Sscanf(b.Name, "%d-", &fill)
		if err != nil || !slices.Contains(allowed, bitmapState{fill, b.Inconsistent}) || len(list) != 2 {
			return fmt.Errorf("%d bitmaps, %q (in use: %v), allowed are %v, %v", len(list), b.Name, b.Inconsistent, allowed, err)
		}
		if slices.ContainsFunc(b.Bits, func(x byte) bool { return x != byte(fill) }) {
			return fmt.Errorf("bitmap %q holds something else", b.Name)
		}
	}
	return nil
}

// compareSnapshots has those there that must be, and each hold what it should.
func (l *lost) compareSnapshots(im *Image) error {
	names := map[string]bool{}
	for _, s := range im.snaps {
		names[s.Name] = true
		want := l.m.snaps[s.Name]
		if want == nil || want.dropped != 0 && want.dropped <= l.k {
			return fmt.Errorf("there is snapshot %q", s.Name)
		}
		if want.nothingIsKnown {
			continue
		}
		old, err := OpenSnapshot(l.files[0], l.options(), s.ID)
		if err != nil {
			return err
		}
		var a maybe
		a.sizes = []int64{want.size}
		for _, v := range want.values {
			a.sectors = append(a.sectors, []uint64{v})
		}
		if err := errors.Join(l.compare(old, a), old.Close()); err != nil {
			return fmt.Errorf("snapshot %q: %w", s.Name, err)
		}
	}
	for name, s := range l.m.snaps {
		if s.created != 0 && s.created <= l.k && (s.drop == 0 || s.drop >= l.k) && !names[name] {
			return fmt.Errorf("snapshot %q is gone", name)
		}
	}
	return nil
}

// ask has qemu-img find no damage either, and the same as we do.
func (l *lost) ask(t *testing.T) error {
	path := filepath.Join(l.dir, "image")
	for i, path := range []string{path, filepath.Join(l.dir, "data")} {
		b := make([]byte, l.files[i].Size())
		if err := errors.Join(l.files[i].Readv(0, [][]byte{b}), os.WriteFile(path, b, 0o600)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := ParseHeader(fileStorage{f})
	if err != nil {
		return err
	}
	if h.Incompatible&IncompatDirty != 0 {
		qemuImg(t, "check", "-r", "all", path)
	}
	theirs := qemuCheck(t, path)
	o := l.options()
	o.ReadOnly = true
	im, err := Open(fileStorage{f}, o)
	if err != nil {
		return err
	}
	ours, err := im.Check(0)
	if err != nil || report(ours) != theirs {
		return fmt.Errorf("QEMU says\n%+v, we say\n%+v, %v", theirs, report(ours), err)
	}
	return l.good(im)
}

// TestPower has the medium lose power at any moment of random operations: the image is not
// damaged then, and what was flushed is there.
func TestPower(t *testing.T) {
	for _, k := range powerKinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			cuts, asked := 0, 0
			for seed := range uint64(hvrun.Count(3, 100)) {
				p := k.start(t, seed)
				for i := range 150 {
					if err := p.step(uint64(i + 1)); err != nil {
						t.Fatalf("seed %d, step %d: %v", seed, i, err)
					}
				}
				e := event{start: p.dev.pos()}
				mustClose(t, p.im)
				e.end = p.dev.pos()
				e.durable = e.end
				p.m.happened(e)
				c, a, err := p.replay(t, 60)
				if err != nil {
					t.Fatalf("seed %d, %v", seed, err)
				}
				cuts, asked = cuts+c, asked+a
			}
			t.Logf("%d power failures, %d of them shown to qemu-img", cuts, asked)
		})
	}
}

// replay cuts the log of what was done, and has QEMU look at some of what there is then.
func (p *power) replay(t *testing.T, n int) (cuts, asked int, err error) {
	err = p.dev.replay(p.created, n, p.rng, func(files [2]*memStorage, k int) error {
		l := &lost{p, files, k}
		cuts++
		if cuts%hvrun.Count(30, 10) == 0 {
			asked++
			if err := l.ask(t); err != nil {
				return fmt.Errorf("power failure after %d of %d writes: %w", k, len(p.dev.log), err)
			}
		}
		if err := l.after(); err != nil {
			return fmt.Errorf("power failure after %d of %d writes: %w", k, len(p.dev.log), err)
		}
		return nil
	})
	return cuts, asked, err
}

// TestPowerConcurrent is the same with many at once, each of whom has sectors of their own.
func TestPowerConcurrent(t *testing.T) {
	for _, k := range powerKinds {
		t.Run(k.name, func(t *testing.T) {
			for seed := range uint64(hvrun.Count(1, 50)) {
				p := k.start(t, seed)
				var all sync.WaitGroup
				errs := make([]error, 4)
				for w := range errs {
					all.Go(func() { errs[w] = p.writer(w, len(errs), seed) })
				}
				all.Wait()
				if err := errors.Join(errs...); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if _, _, err := p.replay(t, 60); err != nil {
					t.Fatalf("seed %d, %v", seed, err)
				}
				mustClose(t, p.im)
			}
		})
	}
}

// writer owns the sectors whose number is w modulo all; the first one takes snapshots, too.
func (p *power) writer(w, all int, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, uint64(w)))
	for i := range 100 {
		e := event{start: p.dev.pos(), off: (rng.Int64N(p.o.Size/512/int64(all))*int64(all) + int64(w)) * 512, n: 512, value: uint64(i*all + w + 1)}
		var err error
		switch op := rng.IntN(12); {
		case op < 7:
			err = p.im.Writev(e.off, [][]byte{sectorData(512, e.value)}, 0)
		case op < 9:
			e.value = 0
			err = p.im.WriteZeroes(e.off, 512, MayUnmap)
		case op < 11 || w > 0 || !p.whole || p.o.DataFile != "":
			e.n, e.durable = 0, e.start
			err = p.im.Flush()
		default:
			e.n, e.durable = 0, e.start
			err = p.snapshot(rng, fmt.Sprint(i))
		}
		e.end = p.dev.pos()
		p.m.happened(e)
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshot takes or deletes a snapshot while others write.
func (p *power) snapshot(rng *rand.Rand, name string) error {
	l := p.im.Snapshots()
	if len(l) < 3 {
		s := &snapState{nothingIsKnown: true}
		p.m.snaps[name] = s
		_, err := p.im.CreateSnapshot(Snapshot{Name: name})
		s.created = p.dev.pos()
		return err
	}
	i := rng.IntN(len(l))
	s := p.m.snaps[l[i].Name]
	s.drop = p.dev.pos()
	err := p.im.DeleteSnapshot(l[i].ID)
	s.dropped = p.dev.pos()
	return err
}
