package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// ErrNoSnapshot is returned for a snapshot that is not there.
var ErrNoSnapshot = errors.New("snapshot not found")

// Snapshots lists the internal snapshots.
func (im *Image) Snapshots() []Snapshot {
	im.mu.Lock()
	defer im.mu.Unlock()
	return slices.Clone(im.snaps)
}

// findSnapshot looks for an ID, then for a name.
func (im *Image) findSnapshot(key string) int {
	if i := slices.IndexFunc(im.snaps, func(s Snapshot) bool { return s.ID == key }); i >= 0 {
		return i
	}
	return slices.IndexFunc(im.snaps, func(s Snapshot) bool { return s.Name == key })
}

// snapshotOp runs f alone with an image whose tables are on storage and which is marked
// dirty while they contradict each other.
func (im *Image) snapshotOp(what string, f func() error) error {
	err := im.whole(func() error {
		if im.geo.external {
			return fmt.Errorf("%w: snapshots with an external data file", ErrNotSupported)
		}
		if err := im.settle(); err != nil {
			return err
		}
		if err := im.setDirty(); err != nil {
			return err
		}
		if err := f(); err != nil {
			// What was counted by then stays so; the dirty mark has it repaired.
			return errors.Join(err, im.settle())
		}
		if err := im.settle(); err != nil {
			return err
		}
		return im.setClean()
	})
	if err != nil {
		return fmt.Errorf("qcow2: %s: %w", what, err)
	}
	return nil
}

// CreateSnapshot takes a snapshot; ID is chosen, and the disk's size filled in.
func (im *Image) CreateSnapshot(s Snapshot) (Snapshot, error) {
	if len(s.Name) > math.MaxUint16 {
		return s, errors.New("qcow2: snapshot name is too long")
	}
	if im.geo.refMax < 2 {
		return s, fmt.Errorf("qcow2: %w: snapshots with refcounts of one bit", ErrNotSupported)
	}
	err := im.snapshotOp("create snapshot", func() error {
		if len(im.snaps) >= maxSnapshots {
			return errors.New("too many snapshots")
		}
		s.ID, s.DiskSize, s.extra = im.nextID(), im.Size(), nil
		if s.Date.IsZero() {
			s.Date = time.Now()
		}
		if err := im.refUp(im.l1); err != nil {
			return err
		}
		if err := im.refreshCopied(); err != nil {
			return err
		}
		n := int64(len(im.l1))
		off, _, err := im.alloc(max(im.geo.clusters(n*8), 1), true)
		if err != nil {
			return err
		}
		if err := im.writeMeta(off, encodeTable(im.l1), 0); err != nil {
			return err
		}
		s.l1Offset, s.l1Size = off, uint32(n)
		if err := im.writeSnapshots(append(slices.Clone(im.snaps), s)); err != nil {
			return err
		}
		im.own(off, im.geo.clusters(n*8), OverlapInactiveL1)
		return nil
	})
	return s, err
}

func (im *Image) nextID() string {
	id := uint64(0)
	for _, s := range im.snaps {
		if n, err := strconv.ParseUint(s.ID, 10, 63); err == nil {
			id = max(id, n)
		}
	}
	return strconv.FormatUint(id+1, 10)
}

// DeleteSnapshot deletes the snapshot of an ID or name.
func (im *Image) DeleteSnapshot(key string) error {
	return im.snapshotOp("delete snapshot", func() error {
		i := im.findSnapshot(key)
		if i < 0 {
			return fmt.Errorf("%w: %q", ErrNoSnapshot, key)
		}
		s := im.snaps[i]
		l1, err := im.readTable(s.l1Offset, int64(s.l1Size))
		if err != nil {
			return err
		}
		if err := im.writeSnapshots(slices.Delete(slices.Clone(im.snaps), i, i+1)); err != nil {
			return err
		}
		if err := im.walk(l1, im.refDown); err != nil {
			return err
		}
		n := max(im.geo.clusters(int64(s.l1Size)*8), 1)
		im.disown(s.l1Offset, n, OverlapInactiveL1)
		im.freeAs(s.l1Offset, n, freedSnapshot)
		if err := im.settle(); err != nil {
			return err
		}
		return im.refreshCopied()
	})
}

// ApplySnapshot makes the disk what it was when the snapshot was taken.
func (im *Image) ApplySnapshot(key string) error {
	return im.snapshotOp("apply snapshot", func() error {
		i := im.findSnapshot(key)
		if i < 0 {
			return fmt.Errorf("%w: %q", ErrNoSnapshot, key)
		}
		s := im.snaps[i]
		if im.hdr.bitmaps.count > 0 && s.DiskSize != im.Size() {
			return errors.New("the snapshot has another size, and there are stored bitmaps")
		}
		l1, err := im.readTable(s.l1Offset, int64(s.l1Size))
		if err != nil {
			return err
		}
		if n := im.geo.l1Entries(s.DiskSize); n > int64(len(l1)) {
			return fmt.Errorf("%w: L1 table of the snapshot is too small", ErrCorrupt)
		}
		return im.switchTo(l1, s.DiskSize)
	})
}

// switchTo makes a copy of a snapshot's L1 table the active one.
func (im *Image) switchTo(l1 []uint64, size int64) error {
	if err := im.refUp(l1); err != nil {
		return err
	}
	old := im.l1
	if err := im.moveL1(l1, size); err != nil {
		return err
	}
	im.setSizes(size)
	im.l2.reset()
	if err := im.findOwned(); err != nil {
		return err
	}
	if err := im.walk(old, im.refDown); err != nil {
		return err
	}
	if err := im.settle(); err != nil {
		return err
	}
	return im.refreshCopied()
}

// OpenSnapshot opens the state of a snapshot, to be read.
func OpenSnapshot(file Storage, opt Options, key string) (*Image, error) {
	opt.ReadOnly = true
	im, err := Open(file, opt)
	if err != nil {
		return nil, err
	}
	i := im.findSnapshot(key)
	if i < 0 {
		return nil, errors.Join(fmt.Errorf("qcow2: %w: %q", ErrNoSnapshot, key), im.Close())
	}
	s := im.snaps[i]
	l1, err := im.readTable(s.l1Offset, int64(s.l1Size))
	if err == nil && im.geo.l1Entries(s.DiskSize) > int64(s.l1Size) {
		err = fmt.Errorf("%w: L1 table of the snapshot is too small", ErrCorrupt)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("qcow2: snapshot %q: %w", key, err), im.Close())
	}
	im.l1 = l1
	im.size.Store(s.DiskSize)
	return im, nil
}

// reference is a run of clusters that a table refers to.
type reference func(off, n int64) error

// refUp counts up what an L1 table refers to, or nothing if that fails.
func (im *Image) refUp(l1 []uint64) error {
	done := int64(0)
	err := im.walk(l1, func(off, n int64) error {
		for c := off >> im.geo.clusterBits; n > 0; c, n = c+1, n-1 {
			if err := im.addRef(c); err != nil {
				return err
			}
			done++
		}
		return nil
	})
	if err == nil || done == 0 {
		return err
	}
	undone := im.walk(l1, func(off, n int64) error {
		n = min(n, done)
		im.freeAs(off, n, freedOther)
		if done -= n; done == 0 {
			return errUndone
		}
		return nil
	})
	if errors.Is(undone, errUndone) {
		undone = nil
	}
	return errors.Join(err, undone)
}

// errUndone ends a walk before the end.
var errUndone = errors.New("undone")

func (im *Image) refDown(off, n int64) error {
	im.freeAs(off, n, freedSnapshot)
	return nil
}

// walk calls f for the L2 tables and clusters that an L1 table refers to. It reads storage,
// where everything is.
func (im *Image) walk(l1 []uint64, f reference) error {
	g := &im.geo
	b := make([]byte, g.clusterSize)
	for i, e := range l1 {
		l2 := int64(e & offsetMask)
		if l2 == 0 {
			continue
		}
		if l2&(g.clusterSize-1) != 0 {
			return fmt.Errorf("%w: L2 table offset %#x unaligned (L1 index: %#x)", ErrCorrupt, l2, i)
		}
		if err := im.file.Readv(l2, [][]byte{b}); err != nil {
			return err
		}
		s := slice{t: &table{b: b}, entry: g.entrySize}
		for k := range g.clusterSize / g.entrySize {
			if err := im.walkEntry(s.get(k), f); err != nil {
				return err
			}
		}
		if err := f(l2, 1); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) walkEntry(e entry, f reference) error {
	g := &im.geo
	switch {
	case e.desc&flagCompressed != 0:
		off, n := g.compressedAt(e)
		return f(g.down(off), g.clusters(off+n-g.down(off)))
	case e.host() == 0:
		return nil
	case e.host()&(g.clusterSize-1) != 0:
		return fmt.Errorf("%w: cluster allocation offset %#x unaligned", ErrCorrupt, e.host())
	}
	return f(e.host(), 1)
}

// refreshCopied has the copied flags of the active tables agree with the refcounts. The
// cache of L2 tables is emptied.
func (im *Image) refreshCopied() error {
	g := &im.geo
	im.l2.reset()
	b := make([]byte, g.clusterSize)
	for i, e := range im.l1 {
		l2 := int64(e & offsetMask)
		if l2 == 0 {
			continue
		}
		one, err := im.single(l2)
		if err != nil {
			return err
		}
		if one != (e&flagCopied != 0) {
			im.l1[i] ^= flagCopied
			im.l1Dirty.mark(i)
		}
		if err := im.refreshTable(l2, b); err != nil {
			return err
		}
	}
	if im.l1Dirty.lo == im.l1Dirty.hi {
		return nil
	}
	return im.storeL1()
}

func (im *Image) refreshTable(l2 int64, b []byte) error {
	if err := im.file.Readv(l2, [][]byte{b}); err != nil {
		return err
	}
	s := slice{t: &table{b: b}, entry: im.geo.entrySize}
	dirty := false
	for k := range im.geo.clusterSize / im.geo.entrySize {
		e := s.get(k)
		if e.desc&flagCompressed != 0 || e.host() == 0 {
			continue
		}
		one, err := im.single(e.host())
		if err != nil {
			return err
		}
		if one != (e.desc&flagCopied != 0) {
			binary.BigEndian.PutUint64(b[k*s.entry:], e.desc^flagCopied)
			dirty = true
		}
	}
	if !dirty {
		return nil
	}
	return im.writeMeta(l2, b, OverlapActiveL2|OverlapInactiveL2)
}

func (im *Image) single(off int64) (bool, error) {
	n, err := im.refcount(off >> im.geo.clusterBits)
	return n == 1, err
}
