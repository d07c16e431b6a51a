package qcow2

// table is a cached piece of metadata: a slice of an L2 table, or a refcount block.
type table struct {
	off        int64 // in the file; 0 while it is in no cache
	b          []byte
	dirty      bool
	idle       bool // not touched since the last clean
	prev, next *table
}

// cache keeps tables by offset and gives up the one that was used the longest ago. A table
// that get returns is good until the next get of the same cache.
type cache struct {
	size  int64
	max   int
	m     map[int64]*table
	ring  table // next is the latest used
	dirty int
	spare *table
	read  func(off int64, b []byte) error
	write func(*table) error
}

func (c *cache) init(size int64, limit int64, read func(int64, []byte) error, write func(*table) error) {
	c.size, c.max = size, int(max(limit/size, 4))
	c.m = map[int64]*table{}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	c.read, c.write = read, write
}

func (c *cache) unlink(t *table) {
	t.prev.next, t.next.prev = t.next, t.prev
}

func (c *cache) front(t *table) {
	t.prev, t.next = &c.ring, c.ring.next
	t.prev.next, t.next.prev = t, t
}

// have returns the table at off if it is cached.
func (c *cache) have(off int64) *table {
	t := c.m[off]
	if t == nil {
		return nil
	}
	if t.idle = false; c.ring.next != t {
		c.unlink(t)
		c.front(t)
	}
	return t
}

// get returns the table at off, read from the file unless it is cached.
func (c *cache) get(off int64) (*table, error) {
	if t := c.have(off); t != nil {
		return t, nil
	}
	t, err := c.room()
	if err != nil {
		return nil, err
	}
	if err := c.read(off, t.b); err != nil {
		c.spare = t
		return nil, err
	}
	c.insert(t, off)
	return t, nil
}

// fresh returns a dirty table of zeroes for off.
func (c *cache) fresh(off int64) (*table, error) {
	c.drop(off)
	t, err := c.room()
	if err != nil {
		return nil, err
	}
	clear(t.b)
	c.insert(t, off)
	c.mark(t)
	return t, nil
}

func (c *cache) insert(t *table, off int64) {
	t.off, t.idle = off, false
	c.m[off] = t
	c.front(t)
}

// room returns a table that is in no list.
func (c *cache) room() (*table, error) {
	if t := c.spare; t != nil {
		c.spare = nil
		return t, nil
	}
	if len(c.m) < c.max {
		return &table{b: make([]byte, c.size)}, nil
	}
	t := c.ring.prev
	if t.dirty {
		if err := c.write(t); err != nil {
			return nil, err
		}
		c.wrote(t)
	}
	c.remove(t)
	return t, nil
}

func (c *cache) remove(t *table) {
	c.wrote(t)
	c.unlink(t)
	delete(c.m, t.off)
}

func (c *cache) mark(t *table) {
	if !t.dirty {
		t.dirty = true
		c.dirty++
	}
}

func (c *cache) wrote(t *table) {
	if t.dirty {
		t.dirty = false
		c.dirty--
	}
}

// drop forgets the table at off.
func (c *cache) drop(off int64) {
	if t := c.m[off]; t != nil {
		c.remove(t)
		c.spare = t
	}
}

// flush writes back what is dirty.
func (c *cache) flush() error {
	for t := c.ring.next; t != &c.ring && c.dirty > 0; t = t.next {
		if !t.dirty {
			continue
		}
		if err := c.write(t); err != nil {
			return err
		}
		c.wrote(t)
	}
	return nil
}

// clean drops what has not been used since the last call.
func (c *cache) clean() {
	for t := c.ring.next; t != &c.ring; {
		next := t.next
		if t.idle && !t.dirty {
			c.remove(t)
		}
		t.idle = true
		t = next
	}
	c.spare = nil
}

// reset forgets everything.
func (c *cache) reset() {
	clear(c.m)
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	c.dirty = 0
}
