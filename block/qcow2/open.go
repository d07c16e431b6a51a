package qcow2

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

// Open opens the image in file.
func Open(file Storage, opt Options) (*Image, error) {
	im, err := open(file, opt)
	if err != nil {
		return nil, err
	}
	if opt.CacheCleanInterval > 0 {
		im.ticker.Add(1)
		go im.cleaner(opt.CacheCleanInterval)
	}
	return im, nil
}

func open(file Storage, opt Options) (*Image, error) {
	h, err := ParseHeader(file)
	if err != nil {
		return nil, err
	}
	im := &Image{file: file, data: file, opt: opt, hdr: h, backing: opt.Backing, closed: make(chan struct{})}
	im.cond = sync.NewCond(&im.mu)
	if opt.Overlap == 0 {
		im.opt.Overlap = OverlapCached
	}
	im.geo = makeGeometry(&im.hdr)
	im.reqs.New = func() any { return &req{} }
	im.codec.init(h.Compression, im.geo.clusterSize)
	im.size.Store(h.Size)
	if err := im.admit(); err != nil {
		return nil, err
	}
	if err := im.initCaches(); err != nil {
		return nil, err
	}
	if err := im.load(); err != nil {
		return nil, err
	}
	return im, im.prepareWriting()
}

// admit checks what the header asks for against the options.
func (im *Image) admit() error {
	h, o := &im.hdr, &im.opt
	if im.geo.external {
		if o.DataFile == nil {
			return errors.New("'data-file' is required for this image")
		}
		if h.NumSnapshots > 0 {
			return errors.New("snapshots can't be used with an external data file")
		}
		im.data = o.DataFile
	} else if o.DataFile != nil {
		return errors.New("'data-file' can only be set for images with an external data file")
	}
	if h.Incompatible&IncompatCorrupt != 0 && !o.ReadOnly && !o.Check {
		return errors.New("qcow2: Image is corrupt; cannot be opened read/write")
	}
	if h.Incompatible&IncompatDirty != 0 && o.NoRepair && !o.ReadOnly && !o.Check {
		return errors.New("image is dirty; cannot be opened read/write without a repair")
	}
	im.lazy = h.Compatible&CompatLazyRefcounts != 0
	if o.LazyRefcounts != nil {
		im.lazy = *o.LazyRefcounts
		if im.lazy && h.Version < 3 {
			return errors.New("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
		}
	}
	im.lazy = im.lazy && h.Version >= 3
	return nil
}

// The sizes of caches that nothing was said about.
const (
	defaultL2Cache = 32 << 20
	minRefBlocks   = 4
)

func (im *Image) initCaches() error {
	g, o := &im.geo, &im.opt
	if n := o.L2CacheEntrySize; n != 0 {
		if n < 512 || n > g.clusterSize || bits.OnesCount64(uint64(n)) != 1 {
			return fmt.Errorf("L2 cache entry size must be a power of two between 512 and the cluster size (%d)", g.clusterSize)
		}
		g.sliceBytes = n
	}
	l2, refs, err := im.cacheSizes()
	if err != nil {
		return err
	}
	read := func(e Event) func(off int64, b []byte) error {
		return func(off int64, b []byte) error {
			im.event(e)
			return im.file.Readv(off, [][]byte{b})
		}
	}
	im.l2.init(g.sliceBytes, l2, read(EventL2Load), im.storeL2)
	im.refs.cache.init(g.clusterSize, refs, read(EventRefblockLoad), im.storeBlock)
	return nil
}

// cacheSizes shares the memory for caches as QEMU does.
func (im *Image) cacheSizes() (l2, refs int64, err error) {
	g, o := &im.geo, &im.opt
	whole := (im.Size() + g.clusterSize - 1) / g.clusterSize * g.entrySize // for all of the disk
	least := minRefBlocks * g.clusterSize
	l2, refs = o.L2CacheSize, o.RefcountCacheSize
	switch total := o.CacheSize; {
	case total == 0:
	case l2 != 0 && refs != 0:
		return 0, 0, errors.New("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")
	case l2 > total:
		return 0, 0, errors.New("l2-cache-size may not exceed cache-size")
	case refs > total:
		return 0, 0, errors.New("refcount-cache-size may not exceed cache-size")
	case l2 != 0:
		refs = total - l2
	case refs != 0:
		l2 = total - refs
	case total >= whole+least:
		l2, refs = whole, total-whole
	default:
		refs = min(total, least)
		l2 = total - refs
	}
	if l2 == 0 {
		l2 = min(whole, defaultL2Cache)
	}
	if refs == 0 {
		refs = least
	}
	return max(l2, 2*g.sliceBytes), max(refs, least), nil
}

// load reads the tables.
func (im *Image) load() (err error) {
	h, g := &im.hdr, &im.geo
	im.l1, im.refs.table = nil, nil
	im.l1Dirty, im.refs.dirty = l1Dirty{}, l1Dirty{}
	im.refs.hint = 0
	if im.l1, err = im.readTable(h.L1Offset, int64(h.L1Size)); err != nil {
		return fmt.Errorf("Could not read L1 table: %w", err)
	}
	im.event(EventReftableLoad)
	if im.refs.table, err = im.readTable(h.RefTableOffset, int64(h.RefTableClusters)*g.clusterSize/8); err != nil {
		return fmt.Errorf("Could not initialize refcount handling: %w", err)
	}
	if err = im.loadSnapshots(); err != nil {
		if !im.opt.Check {
			return err
		}
		im.snaps = nil
	}
	return im.findOwned()
}

// prepareWriting does what must be done before an image is written to.
func (im *Image) prepareWriting() error {
	h := &im.hdr
	if im.opt.ReadOnly || im.opt.Check {
		return nil
	}
	if h.Incompatible&IncompatDirty != 0 {
		if err := im.repairDirty(); err != nil {
			return fmt.Errorf("Could not repair dirty image: %w", err)
		}
	}
	if h.Version < 3 || h.Autoclear&^autoclearKnown == 0 {
		return nil
	}
	h.Autoclear &= autoclearKnown
	if err := im.writeFeatures(); err != nil {
		return fmt.Errorf("Could not update qcow2 header: %w", err)
	}
	return im.file.Flush()
}

// repairDirty counts references anew.
func (im *Image) repairDirty() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	res, err := im.check(FixAll)
	if err != nil {
		return err
	}
	if res.Errors > 0 || res.Corruptions > 0 {
		return fmt.Errorf("%w: %d errors, %d corruptions", ErrCorrupt, res.Errors, res.Corruptions)
	}
	return im.setClean()
}
