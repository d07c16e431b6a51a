package graph

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"hv/block/hostfile"
)

// ErrNotSupported is for requests that a driver cannot carry out.
var ErrNotSupported = errors.New("operation not supported")

// check returns an error for a range that is not on the node.
func (n *Node) check(off, size int64) error {
	if off < 0 || size < 0 || off > n.driver.Size()-size {
		return unix.EIO
	}
	return nil
}

// length returns how many bytes buffers have.
func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// Size returns the length of the node in bytes.
func (c *Child) Size() int64 { return c.node.Size() }

// Readv fills the buffers from off. A node reads zeroes past the end of its child.
func (c *Child) Readv(off int64, v [][]byte) error {
	c.enter()
	defer c.leave()
	size := length(v)
	if c.mayGrow() && off >= 0 && off > c.node.driver.Size()-size {
		return c.node.readEnd(off, size, v)
	}
	if err := c.node.check(off, size); err != nil {
		return err
	}
	c.wait(false, size)
	if to := c.deepest(off, size); to != c {
		return to.Readv(off, v)
	}
	return c.node.readv(off, v)
}

// deepest returns the hold, of a node below or itself, that a read which is under way may as
// well go by.
func (c *Child) deepest(off, size int64) *Child {
	for c.node.through != nil {
		next := c.node.through.Beneath(off, size)
		if next == nil {
			break
		}
		c = next
	}
	return c
}

func (n *Node) readv(off int64, v [][]byte) error {
	if n.limits != nil {
		return n.limits.readv(n.driver, off, v)
	}
	return n.driver.Readv(off, v)
}

// mayGrow reports whether there may be requests past the end of the node.
func (c *Child) mayGrow() bool { return c.parent != nil || c.perm&Resize != 0 }

// readEnd reads what there is before the end, and zeroes after it.
func (n *Node) readEnd(off, size int64, v [][]byte) error {
	have := min(max(n.driver.Size()-off, 0), size)
	for _, b := range v {
		k := min(have, int64(len(b)))
		clear(b[k:])
		if k > 0 {
			if err := n.readv(off, [][]byte{b[:k]}); err != nil {
				return err
			}
		}
		off, have = off+k, have-k
	}
	return nil
}

// Writev writes the buffers at off.
func (c *Child) Writev(off int64, v [][]byte, f Flags) error {
	c.enter()
	defer c.leave()
	n := c.node
	size := length(v)
	if err := c.writable(off, size); err != nil {
		return err
	}
	c.wait(true, size)
	defer n.wrote(off, size)
	if n.opt.DetectZeroes && isZero(v) {
		if n.opt.UnmapZeroes {
			f |= MayUnmap
		}
		return n.writeZeroes(off, size, f)
	}
	if n.limits != nil {
		return n.durable(n.limits.writev(n, off, v, f&^FUA), f)
	}
	return n.durable(n.writev(off, v, f&^FUA), f)
}

// writev has the driver write what keeps to its limits.
func (n *Node) writev(off int64, v [][]byte, f Flags) error {
	n.raise(EventPwritev)
	err := n.driver.Writev(off, v, f)
	n.raise(EventPwritevDone)
	return err
}

// writable checks that a range can be written to. Who may resize a node writes past the
// end of it, too.
func (c *Child) writable(off, size int64) error {
	switch {
	case c.node.opt.ReadOnly:
		return unix.EPERM
	case c.perm&Resize != 0 && off >= 0 && off <= math.MaxInt64-size:
		return nil
	}
	return c.node.check(off, size)
}

// durable is the end of a write: with FUA that of a flush.
func (n *Node) durable(err error, f Flags) error {
	if err != nil || f&FUA == 0 {
		return err
	}
	return n.flush()
}

// isZero reports whether there are but zeroes in buffers.
func isZero(v [][]byte) bool {
	for _, b := range v {
		for _, x := range b {
			if x != 0 {
				return false
			}
		}
	}
	return true
}

// WriteZeroes makes a range read as zeroes.
func (c *Child) WriteZeroes(off, size int64, f Flags) error {
	c.enter()
	defer c.leave()
	if err := c.writable(off, size); err != nil {
		return err
	}
	c.wait(true, size)
	defer c.node.wrote(off, size)
	return c.node.writeZeroes(off, size, f)
}

var zeroes [64 << 10]byte

func (n *Node) writeZeroes(off, size int64, f Flags) error {
	if !n.opt.Discard {
		f &^= MayUnmap
	}
	if n.limits != nil {
		return n.durable(n.limits.writeZeroes(n, off, size, f&^FUA), f)
	}
	return n.durable(n.zero(off, size, f&^FUA), f)
}

// zero has the driver make zeroes in a range that keeps to its limits, or write them.
func (n *Node) zero(off, size int64, f Flags) error {
	n.raise(EventPwritevZero)
	err := error(ErrNotSupported)
	if z, ok := n.driver.(Zeroer); ok {
		err = z.WriteZeroes(off, size, f)
	}
	if errors.Is(err, ErrNotSupported) && f&NoFallback == 0 {
		err = n.zeroData(off, size, int64(len(zeroes)))
	}
	n.raise(EventPwritevDone)
	return err
}

// zeroData writes zeroes as data, some bytes at a time.
func (n *Node) zeroData(off, size, most int64) (err error) {
	for size > 0 && err == nil {
		m := min(size, most)
		err = n.driver.Writev(off, [][]byte{zeroes[:m]}, 0)
		off, size = off+m, size-m
	}
	return err
}

// Discard lets a range go; what is read there afterwards is undefined.
func (c *Child) Discard(off, size int64) error {
	c.enter()
	defer c.leave()
	if err := c.writable(off, size); err != nil {
		return err
	}
	d, ok := c.node.driver.(Discarder)
	if !ok || !c.node.opt.Discard {
		return nil
	}
	defer c.node.dirtied(off, size)
	if c.node.limits != nil {
		return c.node.limits.discard(d, off, size)
	}
	return optional(d.Discard(off, size))
}

// optional takes it for done that a driver cannot carry a request out.
func optional(err error) error {
	if errors.Is(err, ErrNotSupported) {
		return nil
	}
	return err
}

// Flush makes what was written durable.
func (c *Child) Flush() error {
	c.enter()
	defer c.leave()
	return c.node.flush()
}

// flush has the driver write what it keeps back, before what is below is made durable.
func (n *Node) flush() error {
	primary := n.primary()
	if primary != nil {
		primary.Event(EventFlushToOS)
	}
	if err := n.driver.Flush(); err != nil {
		return err
	}
	if _, whole := n.driver.(WholeFlusher); whole || n.opt.NoFlush {
		return nil
	}
	if primary != nil {
		primary.Event(EventFlushToDisk)
	}
	for _, c := range n.children {
		if c.role == Backing {
			continue
		}
		if err := c.node.flush(); err != nil {
			return err
		}
	}
	return nil
}

// BlockStatus returns what lies from off on, n bytes at most. Drivers that do not know
// have data everywhere.
func (c *Child) BlockStatus(off, size int64) (Extent, error) {
	c.enter()
	defer c.leave()
	if err := c.node.check(off, size); err != nil || size == 0 {
		return Extent{}, errors.Join(err)
	}
	return c.node.status(off, size)
}

// Truncate changes the size of the node, which is drained, for its parent's Truncate.
func (c *Child) Truncate(size int64) error { return c.node.truncate(size) }

// MaxSize is how many bytes a node has at most, which is a multiple of the largest
// alignment (QEMU's BDRV_MAX_LENGTH).
const MaxSize = math.MaxInt64 &^ (1<<30 - 1)

func (n *Node) truncate(size int64) error {
	t, ok := n.driver.(Truncater)
	if !ok {
		return errors.New("Image format driver does not support resize")
	}
	if n.opt.ReadOnly {
		return errors.New("Image is read-only")
	}
	if size > MaxSize {
		return fmt.Errorf("offset(%d) exceeds maximum(%d)", size, int64(MaxSize))
	}
	if err := n.resizable(); err != nil {
		return err
	}
	if err := t.Truncate(size); err != nil {
		return err
	}
	return n.refit()
}

// Mapping returns where a front end's node lies, once it is not drained.
func (c *Child) Mapping() (Mapping, bool) {
	c.enter()
	defer c.leave()
	return c.node.Mapping()
}

// Mapping is where in a host file all of a node lies as it is.
type Mapping struct {
	File    *hostfile.File
	Offset  int64
	Discard bool // discards get there
	nodes   []mapped
}

type mapped struct {
	node *Node
	at   int64
}

// Wrote notes a write to the node that went by the file.
func (m *Mapping) Wrote(off, size int64) {
	for _, x := range m.nodes {
		x.node.wrote(off+x.at, size)
	}
}

// Discarded notes a discard that went by the file.
func (m *Mapping) Discarded(off, size int64) {
	for _, x := range m.nodes {
		x.node.dirtied(off+x.at, size)
	}
}

// Mapping returns where a node lies; false if requests have to go through the graph.
func (n *Node) Mapping() (Mapping, bool) {
	m, _, ok := n.mapping()
	return m, ok
}

// mapping is Mapping; without it, it returns the node where requests have to stop, and where the
// first one lies in that.
func (n *Node) mapping() (m Mapping, last *Node, ok bool) {
	m = Mapping{Discard: true}
	for {
		mapper, ok := n.driver.(Mapper)
		if !ok || n.opt.DetectZeroes {
			return m, n, false
		}
		p, ok := mapper.Map()
		if !ok || p.File == nil && n.opt.NoFlush {
			return m, n, false
		}
		m.Discard = m.Discard && n.opt.Discard
		m.nodes = append(m.nodes, mapped{n, m.Offset})
		m.Offset += p.Offset
		if p.File != nil {
			m.File = p.File
			return m, n, true
		}
		n = p.Child.node
	}
}
