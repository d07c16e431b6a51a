package blocktest

import (
	"sync"
	"testing"

	"hv/block/graph"
)

// Memory is a driver with its data in memory, that fails and waits as a test wants, and knows
// what it was asked. Its backing node, if it has one, is read where it has nothing.
type Memory struct {
	// Hook comes with each request, which fails with its error; nil for no hook.
	Hook func(r Request) error

	mu       sync.Mutex
	data     []byte
	has      []bool // by blocks
	requests []Request
	backing  *graph.Child
	perm     graph.Perm
}

// Block is what a Memory has or has not.
const Block = 512

// Request is what a Memory was asked for: read, write, zeroes, discard, flush, truncate, status
// or close.
type Request struct {
	Op     string
	Off, N int64
}

// Node makes a node in memory. It has nothing yet if it is empty, and zeroes otherwise.
func Node(t testing.TB, g *graph.Graph, name string, size int64, empty bool, o graph.Options) (*graph.Node, *Memory) {
	t.Helper()
	m := &Memory{}
	m.resize(size)
	for i := range m.has {
		m.has[i] = !empty
	}
	n, err := g.Open(graph.Spec{Name: name, Driver: "memory", Options: o, Filename: func() string { return name },
		Open: func([]*graph.Child) (graph.Driver, error) { return m, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return n, m
}

func (m *Memory) resize(size int64) {
	m.data = append(m.data[:min(size, int64(len(m.data)))], make([]byte, max(size-int64(len(m.data)), 0))...)
	blocks := int((size + Block - 1) / Block)
	for len(m.has) < blocks {
		m.has = append(m.has, true)
	}
	m.has = m.has[:blocks]
}

// Taken returns the requests that came since the last time.
func (m *Memory) Taken() []Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.requests
	m.requests = nil
	return r
}

// Data returns what is there, without the backing node.
func (m *Memory) Data() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]byte(nil), m.data...)
}

// Has reports whether something of its own lies at a place.
func (m *Memory) Has(off int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.has[off/Block]
}

// Perm returns what users do.
func (m *Memory) Perm() graph.Perm { return m.perm }

// Permit implements graph.Permitter.
func (m *Memory) Permit(perm, _ graph.Perm) error {
	m.perm = perm
	return nil
}

// SetBacking implements graph.Backer.
func (m *Memory) SetBacking(c *graph.Child) { m.backing = c }

// begin notes a request and returns its error; the caller unlocks.
func (m *Memory) begin(op string, off, n int64) error {
	r := Request{op, off, n}
	if m.Hook != nil {
		if err := m.Hook(r); err != nil {
			m.mu.Lock()
			return err
		}
	}
	m.mu.Lock()
	m.requests = append(m.requests, r)
	return nil
}

// Size returns the length in bytes.
func (m *Memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.data))
}

func size(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// Readv fills the buffers from off.
func (m *Memory) Readv(off int64, v [][]byte) error {
	err := m.begin("read", off, size(v))
	defer m.mu.Unlock()
	for _, b := range v {
		for len(b) > 0 && err == nil {
			n := min(int64(len(b)), (off/Block+1)*Block-off)
			err = m.look(off, b[:n])
			b, off = b[n:], off+n
		}
	}
	return err
}

// look reads a part of one block.
func (m *Memory) look(off int64, b []byte) error {
	copy(b, m.data[off:])
	if m.has[off/Block] || m.backing == nil || off >= m.backing.Size() {
		return nil
	}
	return m.backing.Readv(off, [][]byte{b})
}

// own has blocks be those of the node, with what lies in the backing node in parts of them.
func (m *Memory) own(off, n int64) error {
	if end := off + n; end > int64(len(m.data)) {
		m.resize(end)
	}
	for b := off / Block; b*Block < off+n; b++ {
		at := b * Block
		if err := m.look(at, m.data[at:min(at+Block, int64(len(m.data)))]); err != nil {
			return err
		}
		m.has[b] = true
	}
	return nil
}

// Writev writes the buffers at off.
func (m *Memory) Writev(off int64, v [][]byte, _ graph.Flags) error {
	err := m.begin("write", off, size(v))
	defer m.mu.Unlock()
	if err == nil {
		err = m.own(off, size(v))
	}
	if err != nil {
		return err
	}
	for _, b := range v {
		off += int64(copy(m.data[off:], b))
	}
	return nil
}

// WriteZeroes makes zeroes.
func (m *Memory) WriteZeroes(off, n int64, _ graph.Flags) error {
	err := m.begin("zeroes", off, n)
	defer m.mu.Unlock()
	if err == nil {
		err = m.own(off, n)
	}
	if err == nil {
		clear(m.data[off : off+n])
	}
	return err
}

// Discard makes zeroes, too.
func (m *Memory) Discard(off, n int64) error {
	err := m.begin("discard", off, n)
	defer m.mu.Unlock()
	if err == nil {
		clear(m.data[off : off+n])
	}
	return err
}

// Truncate changes the size.
func (m *Memory) Truncate(to int64) error {
	err := m.begin("truncate", to, 0)
	defer m.mu.Unlock()
	if err == nil {
		m.resize(to)
	}
	return err
}

// Flush does nothing.
func (m *Memory) Flush() error {
	err := m.begin("flush", 0, 0)
	m.mu.Unlock()
	return err
}

// Close does nothing.
func (m *Memory) Close() error {
	err := m.begin("close", 0, 0)
	m.mu.Unlock()
	return err
}

// BlockStatus tells what the node has, and which blocks of it are zeroes.
func (m *Memory) BlockStatus(off, n int64) (graph.Extent, error) {
	err := m.begin("status", off, n)
	defer m.mu.Unlock()
	e := graph.Extent{Offset: off, Status: m.kind(off / Block)}
	for at := off / Block; at*Block < off+n && m.kind(at) == e.Status; at++ {
		e.N = min((at+1)*Block, off+n) - off
	}
	return e, err
}

func (m *Memory) kind(block int64) graph.Status {
	if !m.has[block] {
		return 0
	}
	for _, x := range m.data[block*Block : min((block+1)*Block, int64(len(m.data)))] {
		if x != 0 {
			return graph.Data | graph.Allocated
		}
	}
	return graph.Zero | graph.Allocated
}
