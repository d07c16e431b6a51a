// Package qcow2 reads, writes, creates, checks and repairs images of the qcow2 format,
// versions 2 and 3.
//
// The format is that of docs/interop/qcow2.txt of QEMU 7.2, with all of its parts but
// encryption: every cluster size and refcount width, zero and compressed clusters (zlib and
// zstd), extended L2 entries, external data files, lazy refcounts, internal snapshots and
// persistent bitmaps.
//
// # Concurrency
//
// Requests (Readv, Writev, WriteZeroes, Discard, BlockStatus, Find, Flush) may come at any
// time from any number of goroutines. One lock guards the metadata; no data is moved under
// it. Requests that allocate are listed while their data is under way, and others on the
// same clusters wait for them. Operations on the image as a whole (Truncate, Check,
// snapshots, bitmaps) keep new requests out and wait for those under way. Close comes last.
// The package starts one goroutine when caches are to be cleaned at intervals; Close ends it.
//
// # Order of writes
//
// A crash leaves leaked clusters at worst. What is cached goes to storage in steps with a
// flush between them: data and refcount blocks, the refcount table, L2 tables, the L1 table.
// What becomes free is counted down, and used again, only after the step that took away the
// last reference to it, and after the requests have ended that might still look there.
//
// It depends on no package of ours: storage and backing images are the interfaces here.
package qcow2

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Storage is where an image or its data lies. Reads past its end give zeroes, and writes
// there make it grow. The methods may be called concurrently.
type Storage interface {
	Readv(off int64, v [][]byte) error
	Writev(off int64, v [][]byte) error
	WriteZeroes(off, n int64, unmap bool) error
	Discard(off, n int64) error
	Flush() error
	Truncate(size int64) error
	Size() int64
}

// Allocater is storage that may know how many bytes it takes on the host.
type Allocater interface{ Allocated() (int64, bool) }

// Backing is the image below: what is not allocated here is read there.
type Backing interface {
	Readv(off int64, v [][]byte) error
	Size() int64
}

// ZeroTeller is a backing image that may know what reads as zeroes without reading.
type ZeroTeller interface {
	// ReadsZero tells whether a range, which is within Size, is known to.
	ReadsZero(off, n int64) bool
}

// Flags change what a request does.
type Flags uint32

// The flags of requests.
const (
	FUA        Flags = 1 << iota // durable when it returns
	MayUnmap                     // zeroes may be made by deallocation
	NoFallback                   // no zeroes by writing data
	Compressed                   // write compressed clusters
)

// Errors that callers tell apart.
var (
	ErrReadOnly     = errors.New("image is read-only")
	ErrNotSupported = errors.New("operation is not supported")
	ErrCorrupt      = errors.New("image is corrupt")
	ErrRange        = errors.New("request is outside the image")
)

// Corruption is what was found wrong while the image was in use.
type Corruption struct {
	Message      string
	Offset, Size int64 // where in the file; Offset is -1 if that says nothing
	Fatal        bool  // the image can't be used any more
}

// Options are how an image is opened.
type Options struct {
	ReadOnly bool
	Backing  Backing // nil reads zeroes
	DataFile Storage // needed if the header says so
	// NoRepair leaves a dirty image as it is; it can then only be read.
	NoRepair bool
	// Unwritten, unless it is nil, hears what could not be written when the image was closed,
	// which is no error of Close then.
	Unwritten func(what string, err error)
	// Event, unless it is nil, hears what requests come to. It may hold a request up.
	Event func(Event)
	// Check opens corrupt and damaged images so that Check can repair them.
	Check bool

	LazyRefcounts      *bool // instead of what the header says
	CacheSize          int64 // L2 and refcount blocks together
	L2CacheSize        int64
	L2CacheEntrySize   int64
	RefcountCacheSize  int64
	CacheCleanInterval time.Duration

	// Which deallocations are passed on to the storage.
	DiscardRequest, DiscardSnapshot, DiscardOther bool

	Overlap Overlap // 0 is OverlapCached; OverlapNone is none
	// OnCorruption hears of the first damage found in use, and of the first that is fatal. It must not call the image.
	OnCorruption func(Corruption)
}

// Image is an open image.
type Image struct {
	file   Storage
	data   Storage // file, or the external data file
	opt    Options
	geo    geometry
	size   atomic.Int64
	closed chan struct{}
	ticker sync.WaitGroup

	mu    sync.Mutex // guards what follows
	cond  *sync.Cond // of mu: an allocation, request or exclusive operation has ended
	hdr   Header
	doubt bool // storage may have another header
	l1    []uint64
	l1Dirty
	refs      refcounts
	l2        cache
	flight    []*allocation
	freed     [2][]run // since the current epoch began, and before
	nfreed    int
	flushing  int
	bytesOff  int64 // where the next compressed cluster may go, 0 for a new cluster
	unflushed bool  // written since the storage was flushed last
	lazy      bool
	sparse    *bool // what preallocated found
	snaps     []Snapshot
	owned     map[int64]Overlap // clusters that hold metadata
	backing   Backing
	broken    error
	told      bool // of damage

	none atomic.Pointer[bareMap] // where there are no clusters

	epoch     atomic.Uint32
	inflight  [2]atomic.Int64
	exclusive atomic.Bool // somebody waits for, or has, the image as a whole

	reqs  sync.Pool
	codec codec
}

// l1Dirty is the range of L1 entries that storage has not seen.
type l1Dirty struct{ lo, hi int }

func (d *l1Dirty) mark(i int) {
	if d.lo == d.hi {
		d.lo, d.hi = i, i+1
		return
	}
	d.lo, d.hi = min(d.lo, i), max(d.hi, i+1)
}

// Size returns the length of the virtual disk in bytes.
func (im *Image) Size() int64 { return im.size.Load() }

// Header returns what the header says; it is a copy.
func (im *Image) Header() Header {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.hdr.clone()
}

// SetBacking replaces the backing image, which holds the same bytes or those of a changed
// chain. It waits for requests under way.
func (im *Image) SetBacking(b Backing) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.lockAll()
	defer im.unlockAll()
	im.backing = b
}

// Limits are what requests should look like.
type Limits struct {
	RequestAlignment int64
	WriteZeroesAlign int64
	DiscardAlignment int64
}

// Limits returns the image's wishes.
func (im *Image) Limits() Limits {
	return Limits{RequestAlignment: 1, WriteZeroesAlign: im.geo.subSize, DiscardAlignment: im.geo.clusterSize}
}

// lease says in which epoch a request began.
type lease uint32

// begin counts a request in, once nobody has the image as a whole. The lock is held.
func (im *Image) begin() (lease, error) {
	for im.exclusive.Load() {
		im.cond.Wait()
	}
	if im.broken != nil {
		return 0, im.broken
	}
	l := lease(im.epoch.Load() & 1)
	im.inflight[l].Add(1)
	return l, nil
}

// end counts a request out.
func (im *Image) end(l lease) {
	if im.inflight[l].Add(-1) == 0 && im.exclusive.Load() {
		im.mu.Lock()
		im.cond.Broadcast()
		im.mu.Unlock()
	}
}

// lockAll has the caller alone with the image; the lock is held, and given up to wait.
func (im *Image) lockAll() {
	for im.exclusive.Load() {
		im.cond.Wait()
	}
	im.exclusive.Store(true)
	for im.inflight[0].Load()+im.inflight[1].Load() > 0 || im.flushing > 0 {
		im.cond.Wait()
	}
}

func (im *Image) unlockAll() {
	im.none.Store(nil)
	im.exclusive.Store(false)
	im.cond.Broadcast()
}

// whole runs f alone with the image, which must be writable.
func (im *Image) whole(f func() error) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.lockAll()
	defer im.unlockAll()
	if im.broken != nil {
		return im.broken
	}
	if im.opt.ReadOnly {
		return ErrReadOnly
	}
	return f()
}

// corrupt reports damage and, unless the image is only read, marks the image. The lock is held.
func (im *Image) corrupt(off, n int64, fatal bool, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	err := fmt.Errorf("%w: %s", ErrCorrupt, msg)
	first := im.broken == nil
	if fatal && !im.opt.ReadOnly {
		im.broken = err
		im.none.Store(nil)
		if im.hdr.Version >= 3 && first {
			im.hdr.Incompatible |= IncompatCorrupt
			_ = im.writeFeatures() // the image fails anyway
			_ = im.file.Flush()
		}
	}
	told := im.told && (!fatal || im.opt.ReadOnly)
	im.told = true
	if f := im.opt.OnCorruption; f != nil && first && !told {
		f(Corruption{Message: msg, Offset: off, Size: n, Fatal: fatal && !im.opt.ReadOnly})
	}
	return err
}

// Close writes back what is cached and ends the image's use. The storage stays open.
func (im *Image) Close() error {
	close(im.closed)
	im.ticker.Wait()
	im.mu.Lock()
	defer im.mu.Unlock()
	im.lockAll()
	defer im.unlockAll()
	if im.opt.ReadOnly || im.broken != nil {
		return nil
	}
	err := im.settle()
	if err == nil {
		err = im.setClean()
	}
	if err == nil {
		err = im.flushStorage()
	}
	if err != nil && im.opt.Unwritten != nil {
		im.tellUnwritten(err)
		err = nil
	}
	im.broken = errors.New("image is closed")
	return err
}

// tellUnwritten tries once more to write what is cached, and tells what cannot be.
func (im *Image) tellUnwritten(why error) {
	durable := im.flushStorage()
	l2, refs := errors.Join(im.l2.flush(), durable), errors.Join(im.refs.cache.flush(), durable)
	if l2 != nil {
		im.opt.Unwritten("Failed to flush the L2 table cache", l2)
	}
	if refs != nil {
		im.opt.Unwritten("Failed to flush the refcount block cache", refs)
	}
	if l2 == nil && refs == nil {
		im.opt.Unwritten("Failed to close the image", why)
	}
}

// cleaner drops cache entries that two intervals have not touched.
func (im *Image) cleaner(every time.Duration) {
	defer im.ticker.Done()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-im.closed:
			return
		case <-t.C:
			im.mu.Lock()
			im.l2.clean()
			im.refs.cache.clean()
			im.mu.Unlock()
		}
	}
}
