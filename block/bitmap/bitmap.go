// Package bitmap is dirty bitmaps: which parts of a disk were written to since some moment.
//
// A bitmap has a bit for each granularity bytes of a disk, in pages that come to be as bits
// are set in them. It counts its set bits, finds dirty areas, takes another one's bits,
// whatever that one's granularity, and gives its bits away in the form in which qcow2 images keep
// them. Mark comes from any goroutine that carries a request, and allocates nothing where
// something was marked before. The other methods that change a bitmap are for the control
// goroutine, of which only one takes the locks of two.
//
// Names of states and texts of errors are those of QEMU's block layer. It depends on nothing of ours.
package bitmap

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

// Bounds of a granularity, and of a name's length.
const (
	MinGranularity = 512
	MaxGranularity = 1 << 31
	MaxName        = 1023
)

// Bitmap is a dirty bitmap of a disk.
type Bitmap struct {
	name       string
	persistent bool
	// inconsistent says that its image was not closed while it was in use: it knows nothing.
	inconsistent bool

	// stored says that its image has kept it before. Control goroutine.
	stored bool

	mu       sync.Mutex
	bits     *bitSet
	enabled  bool
	readOnly bool // what it is kept in is not written to
	busy     bool
}

// Config says what a new bitmap is.
type Config struct {
	Name        string
	Size        int64 // of the disk
	Granularity int64
	Enabled     bool // it follows writes
	Persistent  bool // it is kept when its node is closed
}

// ErrGranularity is a granularity that there is not.
var ErrGranularity = errors.New("Granularity must be power of 2 and at least 512")

// CheckGranularity returns ErrGranularity unless bitmaps can have a granularity.
func CheckGranularity(g int64) error {
	if g < MinGranularity || g > MaxGranularity || g&(g-1) != 0 {
		return ErrGranularity
	}
	return nil
}

// New returns a bitmap that is clear.
func New(c Config) (*Bitmap, error) {
	if err := CheckGranularity(c.Granularity); err != nil {
		return nil, err
	}
	s, err := newSet(c.Size, uint8(bits.TrailingZeros64(uint64(c.Granularity))))
	if err != nil {
		return nil, err
	}
	return &Bitmap{name: c.Name, persistent: c.Persistent, bits: s, enabled: c.Enabled}, nil
}

// Stored is a bitmap as images keep it.
type Stored struct {
	Name        string
	Granularity int64
	Enabled     bool
	// Inconsistent bitmaps were in use when their image was not closed. They have no Bits.
	Inconsistent bool
	Bits         []byte // bit i, the least significant first, is for the bytes from i times Granularity on
}

// Load returns the bitmap that was stored, of a disk of some size.
func Load(s *Stored, size int64) (*Bitmap, error) {
	b, err := New(Config{Name: s.Name, Size: size, Granularity: s.Granularity, Enabled: s.Enabled, Persistent: true})
	if err != nil {
		return nil, fmt.Errorf("bitmap '%s': %w", s.Name, err)
	}
	b.inconsistent, b.stored = s.Inconsistent, true
	b.bits.load(s.Bits)
	return b, nil
}

// Store returns the bitmap as images keep it.
func (b *Bitmap) Store() Stored {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stored{Name: b.name, Granularity: 1 << b.bits.shift, Enabled: b.enabled, Inconsistent: b.inconsistent}
	if !b.inconsistent {
		s.Bits = b.bits.bytes()
	}
	return s
}

// Mark notes that a range of the disk was written to.
func (b *Bitmap) Mark(off, n int64) {
	b.mu.Lock()
	if b.enabled && !b.inconsistent {
		b.bits.mark(off, n)
	}
	b.mu.Unlock()
}

// Unmark forgets what was marked in the parts that lie within a range wholly.
func (b *Bitmap) Unmark(off, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bits.unmark(off, n)
}

// Resize follows the disk's size; what is new is clear.
func (b *Bitmap) Resize(size int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bits.resize(size)
}

// Next returns the first dirty area in the bytes from off up to end.
func (b *Bitmap) Next(off, end int64) (start, n int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bits.next(off, end)
}

// Clear forgets all that was marked.
func (b *Bitmap) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &bitSet{shift: b.bits.shift}
	_ = s.resize(b.bits.size) // which it had before
	b.bits = s
}

// Mergeable returns an error if the bits of src cannot be added to those of b.
func (b *Bitmap) Mergeable(src *Bitmap) error {
	if err := b.Check(Changed); err != nil {
		return err
	}
	if err := src.Check(Used); err != nil {
		return err
	}
	if to, from := b.Size(), src.Size(); to != from {
		return fmt.Errorf("Bitmaps are of different sizes (destination size is %d, source size is %d) and can't be merged", to, from)
	}
	return nil
}

// Merge adds what is marked in src, which is Mergeable.
func (b *Bitmap) Merge(src *Bitmap) {
	if b == src {
		return
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bits.merge(src.bits)
}

// SHA256 returns the hash of the bits.
func (b *Bitmap) SHA256() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bits.sha256()
}

// Name returns the bitmap's name.
func (b *Bitmap) Name() string { return b.name }

// Stored reports whether the bitmap's image has kept it before, and SetStored that it does now.
func (b *Bitmap) Stored() bool { return b.stored }

// SetStored notes that the bitmap's image keeps it.
func (b *Bitmap) SetStored() { b.stored = true }

// Persistent reports whether the bitmap is kept when its node is closed.
func (b *Bitmap) Persistent() bool { return b.persistent }

// SetPersistent has the bitmap be kept, or not. It belongs to whoever changes nodes.
func (b *Bitmap) SetPersistent(on bool) { b.persistent = on }

// Inconsistent reports whether the bitmap knows nothing, because its image was not closed.
func (b *Bitmap) Inconsistent() bool { return b.inconsistent }

// Granularity returns the bytes that a bit stands for.
func (b *Bitmap) Granularity() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return 1 << b.bits.shift
}

// Size returns the size of the disk.
func (b *Bitmap) Size() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bits.size
}

// Count returns how many bytes are dirty, in whole parts.
func (b *Bitmap) Count() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bits.count << b.bits.shift
}

// Enabled reports whether the bitmap follows writes.
func (b *Bitmap) Enabled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.enabled
}

// SetEnabled has the bitmap follow writes, or not.
func (b *Bitmap) SetEnabled(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enabled = on
}

// Busy reports whether something uses the bitmap.
func (b *Bitmap) Busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.busy
}

// SetBusy has the bitmap be in use: commands leave it alone.
func (b *Bitmap) SetBusy(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = on
}

// ReadOnly reports whether the bitmap cannot be changed.
func (b *Bitmap) ReadOnly() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.readOnly
}

// SetReadOnly keeps the bitmap from being changed.
func (b *Bitmap) SetReadOnly(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readOnly = on
}

// Use is what a bitmap is wanted for.
type Use int

// What there is.
const (
	Used    Use = iota // to be read, or switched
	Changed            // to have other bits
	Removed            // to go away
)

// Check returns an error if the bitmap cannot be used so.
func (b *Bitmap) Check(u Use) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.busy:
		return fmt.Errorf("Bitmap '%s' is currently in use by another operation and cannot be used", b.name)
	case b.readOnly && u != Used:
		return fmt.Errorf("Bitmap '%s' is readonly and cannot be modified", b.name)
	case b.inconsistent && u != Removed:
		return fmt.Errorf("Bitmap '%s' is inconsistent and cannot be used", b.name)
	}
	return nil
}
