package graph

import (
	"errors"
	"sync"
)

// Limits is what requests to a driver keep to. Nothing but Align need be a power of two;
// everything is a multiple of Align, and 0 if there is no such limit.
type Limits struct {
	Align        int64 // of offsets and lengths, 1 by default
	MaxTransfer  int64 // how much is read or written at once
	ZeroAlign    int64 // of zeroes that are made without data
	MaxZero      int64
	DiscardAlign int64
	MaxDiscard   int64
}

// Bounded is a driver whose requests are split up and aligned. What is written without
// alignment is read, changed and written. A request may end past the node's end then, but
// writes do not.
type Bounded interface{ Limits() Limits }

// limits is a driver's limits, and the requests that must not overlap.
type limits struct {
	Limits

	mu     sync.Mutex
	ended  sync.Cond
	active []span
}

// span is where a write is under way.
type span struct {
	off, end int64
	alone    bool // no other may touch the range
}

// limitsOf returns a driver's limits, nil for none.
func limitsOf(d Driver) *limits {
	lim, ok := d.(Bounded)
	if !ok || lim.Limits() == (Limits{}) {
		return nil
	}
	l := &limits{Limits: lim.Limits()}
	l.Align = max(l.Align, 1)
	l.ended.L = &l.mu
	return l
}

// begin notes a write, once no other is in its way.
func (l *limits) begin(s span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.blocked(s) {
		l.ended.Wait()
	}
	l.active = append(l.active, s)
}

func (l *limits) blocked(s span) bool {
	for _, a := range l.active {
		if (a.alone || s.alone) && a.off < s.end && s.off < a.end {
			return true
		}
	}
	return false
}

func (l *limits) finish(s span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, a := range l.active {
		if a == s {
			l.active[i] = l.active[len(l.active)-1]
			l.active = l.active[:len(l.active)-1]
			break
		}
	}
	l.ended.Broadcast()
}

// down and up align an offset.
func (l *limits) down(off int64) int64 { return off &^ (l.Align - 1) }
func (l *limits) up(off int64) int64   { return l.down(off + l.Align - 1) }

// cut returns the part of buffers from off on, n bytes long.
func cut(v [][]byte, off, n int64) [][]byte {
	var out [][]byte
	for _, b := range v {
		size := int64(len(b))
		if off < size && n > 0 {
			m := min(size-off, n)
			out = append(out, b[off:off+m])
			n -= m
		}
		off = max(off-size, 0)
	}
	return out
}

// pieces calls f for each piece of buffers that may be moved at once.
func (l *limits) pieces(off int64, v [][]byte, f func(off int64, v [][]byte) error) error {
	size := length(v)
	most := size
	if l.MaxTransfer > 0 {
		most = l.MaxTransfer
	}
	for at := int64(0); at < size; at += most {
		if err := f(off+at, cut(v, at, min(most, size-at))); err != nil {
			return err
		}
	}
	return nil
}

// padded returns buffers together with what is missing before and after them.
func (l *limits) padded(off int64, v [][]byte) (from int64, head, tail []byte, all [][]byte) {
	end := off + length(v)
	from = l.down(off)
	head, tail = make([]byte, off-from), make([]byte, l.up(end)-end)
	if len(head) > 0 {
		all = append(all, head)
	}
	all = append(all, v...)
	if len(tail) > 0 {
		all = append(all, tail)
	}
	return from, head, tail, all
}

func (l *limits) readv(d Driver, off int64, v [][]byte) error {
	from, _, _, all := l.padded(off, v)
	return l.pieces(from, all, d.Readv)
}

// writev writes buffers as the driver wants them.
func (l *limits) writev(n *Node, off int64, v [][]byte, f Flags) error {
	end := off + length(v)
	s := span{l.down(off), l.up(end), l.down(off) != off || l.up(end) != end}
	l.begin(s)
	defer l.finish(s)
	from, all := off, v
	if s.alone {
		var head, tail []byte
		from, head, tail, all = l.padded(off, v)
		if err := l.fill(n, off, end, head, tail); err != nil {
			return err
		}
		all = cut(all, 0, max(n.driver.Size(), end)-from)
	}
	n.raise(EventPwritev)
	err := l.pieces(from, all, func(off int64, v [][]byte) error { return n.driver.Writev(off, v, f) })
	n.raise(EventPwritevDone)
	return err
}

// fill reads what lies beside a range, in blocks as the driver has them.
func (l *limits) fill(n *Node, off, end int64, head, tail []byte) error {
	if len(head) > 0 {
		n.raise(EventPwritevRMWHead)
		if err := l.beside(n, off-int64(len(head)), head); err != nil {
			return err
		}
		n.raise(EventPwritevRMWAfterHead)
	}
	if len(tail) > 0 {
		n.raise(EventPwritevRMWTail)
		if err := l.beside(n, end, tail); err != nil {
			return err
		}
		n.raise(EventPwritevRMWAfterTail)
	}
	return nil
}

// beside reads a part of one block.
func (l *limits) beside(n *Node, off int64, b []byte) error {
	block := make([]byte, l.Align)
	from := l.down(off)
	if err := n.driver.Readv(from, [][]byte{block}); err != nil {
		return err
	}
	copy(b, block[off-from:])
	return nil
}

// split calls f for the parts of a range: what lies before and after multiples of align,
// and what lies between, most bytes at a time.
func split(off, size, align, most int64, f func(off, size int64, whole bool) error) error {
	if most = most / align * align; most == 0 {
		most = max(size, align)
	}
	for end := off + size; off < end; {
		n := min(end-off, most)
		if head := off % align; head > 0 {
			n = min(n, align-head)
		} else if n >= align {
			n -= n % align
		}
		if err := f(off, n, n%align == 0 && off%align == 0); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// writeZeroes makes zeroes where the driver can, and writes them elsewhere.
func (l *limits) writeZeroes(n *Node, off, size int64, f Flags) error {
	return split(off, size, max(l.ZeroAlign, l.Align), l.MaxZero, func(off, size int64, whole bool) error {
		if z, ok := n.driver.(Zeroer); ok && whole {
			s := span{off, off + size, false}
			l.begin(s)
			n.raise(EventPwritevZero)
			err := z.WriteZeroes(off, size, f)
			n.raise(EventPwritevDone)
			l.finish(s)
			if !errors.Is(err, ErrNotSupported) {
				return err
			}
		}
		if f&NoFallback != 0 {
			return ErrNotSupported
		}
		return l.zeroData(n, off, size, f)
	})
}

// zeroData writes zeroes as data.
func (l *limits) zeroData(n *Node, off, size int64, f Flags) error {
	for size > 0 {
		m := min(size, int64(len(zeroes)))
		if err := l.writev(n, off, [][]byte{zeroes[:m]}, f&^MayUnmap); err != nil {
			return err
		}
		off, size = off+m, size-m
	}
	return nil
}

// discard leaves out what is not aligned as requests are.
func (l *limits) discard(d Discarder, off, size int64) error {
	end := l.down(off + size)
	if off = l.up(off); off >= end {
		return nil
	}
	return split(off, end-off, max(l.DiscardAlign, l.Align), l.MaxDiscard, func(off, size int64, _ bool) error {
		return optional(d.Discard(off, size))
	})
}
