package bitmap

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
)

const (
	wordsPerPage = 512
	bitsPerPage  = wordsPerPage * 64
	// maxBits bounds a bitmap to 4 GiB of memory when all of it is set.
	maxBits = 1 << 35
)

// ErrTooLarge is a disk that has too many parts for a bitmap.
var ErrTooLarge = errors.New("the disk is too large for a bitmap of this granularity")

// page is a run of bits, with the number of those that are set.
type page struct {
	words [wordsPerPage]uint64
	set   int64
}

// bitSet has a bit for each part of a disk, of which the last may be shorter. Pages without
// a set bit need not be there.
type bitSet struct {
	size  int64 // of the disk, in bytes
	shift uint8
	n     int64 // of bits
	pages []*page
	count int64 // of set bits
}

func newSet(size int64, shift uint8) (*bitSet, error) {
	s := &bitSet{shift: shift}
	if err := s.resize(size); err != nil {
		return nil, err
	}
	return s, nil
}

// resize makes the disk longer or shorter; what is new is clear.
func (s *bitSet) resize(size int64) error {
	n := size >> s.shift
	if size&(1<<s.shift-1) != 0 {
		n++
	}
	if n > maxBits {
		return ErrTooLarge
	}
	for first := n; first < s.n; {
		m := min(bitsPerPage-first%bitsPerPage, s.n-first)
		s.clear(first, m)
		first += m
	}
	s.size, s.n = size, n
	need := int((n + bitsPerPage - 1) / bitsPerPage)
	if need <= len(s.pages) {
		s.pages = s.pages[:need:need]
	} else {
		s.pages = append(s.pages, make([]*page, need-len(s.pages))...)
	}
	return nil
}

// clear clears m bits from first on, which are in one page.
func (s *bitSet) clear(first, m int64) {
	p := s.pages[first/bitsPerPage]
	if p == nil {
		return
	}
	for i := first % bitsPerPage; m > 0; {
		mask, k := wordMask(i, m)
		w := &p.words[i/64]
		gone := int64(bits.OnesCount64(*w & mask))
		*w &^= mask
		p.set, s.count = p.set-gone, s.count-gone
		i, m = i+k, m-k
	}
}

// wordMask returns the bits of a word, from bit i of the page on, m at most, and how many.
func wordMask(i, m int64) (mask uint64, k int64) {
	at := i % 64
	k = min(64-at, m)
	return ^uint64(0) >> (64 - k) << at, k
}

// mark sets the bits of all parts that a range of the disk touches.
func (s *bitSet) mark(off, n int64) {
	n = min(n, s.size-off)
	if n <= 0 || off < 0 {
		return
	}
	first, last := off>>s.shift, (off+n-1)>>s.shift
	for first <= last {
		m := min(bitsPerPage-first%bitsPerPage, last-first+1)
		s.setIn(&s.pages[first/bitsPerPage], first%bitsPerPage, m)
		first += m
	}
}

// unmark clears the bits of all parts that lie within a range of the disk.
func (s *bitSet) unmark(off, n int64) {
	end := min(off+n, s.size)
	if end == s.size {
		end += 1<<s.shift - 1 // the last part may be short
	}
	first, last := (off+1<<s.shift-1)>>s.shift, end>>s.shift-1
	for first <= last && off >= 0 {
		m := min(bitsPerPage-first%bitsPerPage, last-first+1)
		s.clear(first, m)
		first += m
	}
}

func (s *bitSet) setIn(at **page, i, m int64) {
	p := *at
	if p == nil {
		p = &page{}
		*at = p
	}
	for m > 0 {
		mask, k := wordMask(i, m)
		w := &p.words[i/64]
		added := int64(bits.OnesCount64(mask &^ *w))
		*w |= mask
		p.set, s.count = p.set+added, s.count+added
		i, m = i+k, m-k
	}
}

// find returns the first bit from i on that is set, or clear; s.n if there is none.
func (s *bitSet) find(i int64, set bool) int64 {
	for i < s.n {
		p := s.pages[i/bitsPerPage]
		if next := (i/bitsPerPage + 1) * bitsPerPage; set && (p == nil || p.set == 0) || !set && p != nil && p.set == bitsPerPage {
			i = next
			continue
		}
		if p == nil {
			return i // clear
		}
		w := p.words[i%bitsPerPage/64]
		if !set {
			w = ^w
		}
		if w >>= i % 64; w != 0 {
			return min(i+int64(bits.TrailingZeros64(w)), s.n)
		}
		i = (i/64 + 1) * 64
	}
	return s.n
}

// next returns the first dirty area in the bytes from off up to end.
func (s *bitSet) next(off, end int64) (start, n int64, ok bool) {
	end = min(end, s.size)
	if off < 0 || off >= end {
		return 0, 0, false
	}
	first := s.find(off>>s.shift, true)
	if first == s.n || first<<s.shift >= end {
		return 0, 0, false
	}
	start = max(first<<s.shift, off)
	stop := end
	if last := s.find(first, false); last < s.n {
		stop = min(last<<s.shift, end)
	}
	return start, stop - start, true
}

// merge adds what is set in o, of a disk of the same size.
func (s *bitSet) merge(o *bitSet) {
	if s.shift != o.shift {
		for off := int64(0); ; {
			start, n, ok := o.next(off, o.size)
			if !ok {
				return
			}
			s.mark(start, n)
			off = start + n
		}
	}
	for i, p := range o.pages {
		if p == nil || p.set == 0 {
			continue
		}
		if s.pages[i] == nil {
			s.pages[i] = &page{}
		}
		to := s.pages[i]
		for k, w := range p.words {
			added := int64(bits.OnesCount64(w &^ to.words[k]))
			to.words[k] |= w
			to.set, s.count = to.set+added, s.count+added
		}
	}
}

// bytes returns the bits, the least significant of a byte first.
func (s *bitSet) bytes() []byte {
	out := make([]byte, (s.n+7)/8)
	for i, p := range s.pages {
		if p == nil {
			continue
		}
		part := out[i*bitsPerPage/8:]
		var b [8]byte
		for k := 0; k*8 < len(part) && k < wordsPerPage; k++ {
			binary.LittleEndian.PutUint64(b[:], p.words[k])
			copy(part[k*8:], b[:])
		}
	}
	return out
}

// load takes the bits from what bytes returned. Bits beyond the end count for nothing, and
// those that are missing are clear.
func (s *bitSet) load(data []byte) {
	for i, x := range data {
		if x == 0 {
			continue
		}
		for k := range int64(8) {
			if bit := int64(i)*8 + k; x>>k&1 != 0 && bit < s.n {
				s.setIn(&s.pages[bit/bitsPerPage], bit%bitsPerPage, 1)
			}
		}
	}
}

// sha256 returns the hash of the bits in whole words of 64, of which there is at least one.
func (s *bitSet) sha256() string {
	h := sha256.New()
	var zero, b [wordsPerPage * 8]byte
	words := max((s.n+63)/64, 1)
	for i := int64(0); i < words; i += wordsPerPage {
		out := &zero
		if at := int(i / wordsPerPage); at < len(s.pages) && s.pages[at] != nil {
			for k, w := range s.pages[at].words {
				binary.LittleEndian.PutUint64(b[k*8:], w)
			}
			out = &b
		}
		h.Write(out[:min(words-i, wordsPerPage)*8])
	}
	return hex.EncodeToString(h.Sum(nil))
}
