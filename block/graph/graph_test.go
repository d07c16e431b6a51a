package graph

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a driver with its data in memory, which notes what it is told.
type memory struct {
	mu       sync.Mutex
	data     []byte
	perm     Perm
	shared   Perm
	refuse   Perm // permissions that cannot be had
	zeroed   int64
	dropped  int64
	flushes  int
	closed   bool
	hold     chan struct{} // requests wait until it is closed, unless nil
	entered  chan struct{}
	noZeroes bool
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) Readv(off int64, v [][]byte) error {
	if m.hold != nil {
		m.entered <- struct{}{}
		<-m.hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range v {
		off += int64(copy(b, m.data[off:]))
	}
	return nil
}

func (m *memory) Writev(off int64, v [][]byte, _ Flags) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range v {
		off += int64(copy(m.data[off:], b))
	}
	return nil
}

func (m *memory) WriteZeroes(off, n int64, _ Flags) error {
	if m.noZeroes {
		return ErrNotSupported
	}
	m.zeroed += n
	clear(m.data[off : off+n])
	return nil
}

func (m *memory) Discard(_, n int64) error {
	m.dropped += n
	return nil
}

func (m *memory) Truncate(size int64) error {
	m.data = append(m.data, make([]byte, max(size-m.Size(), 0))...)[:size]
	return nil
}

func (m *memory) Permit(perm, shared Perm) error {
	if perm&m.refuse != 0 {
		return errors.New("refused")
	}
	m.perm, m.shared = perm, shared
	return nil
}

func (m *memory) Flush() error { m.flushes++; return nil }
func (m *memory) Close() error { m.closed = true; return nil }

// filter is a driver that is its child.
type filter struct{ *Child }

func (f filter) Writev(off int64, v [][]byte, fl Flags) error { return f.Child.Writev(off, v, fl) }
func (f filter) Flush() error                                 { return nil }
func (f filter) Close() error                                 { return nil }

func leaf(t *testing.T, g *Graph, name string, o Options) (*Node, *memory) {
	t.Helper()
	m := &memory{data: make([]byte, 1<<16)}
	n, err := g.Open(Spec{Name: name, Driver: "mem", Options: o, Filename: func() string { return name },
		Open: func([]*Child) (Driver, error) { return m, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return n, m
}

func over(g *Graph, name string, r Role, o Options, child *Node) (*Node, error) {
	return g.Open(Spec{Name: name, Driver: "filter", Options: o, Filename: child.Filename, Children: []Edge{{"file", r, child}},
		Open: func(c []*Child) (Driver, error) { return filter{c[0]}, nil }})
}

func use(n *Node, name string, perm, shared Perm) (*Child, error) {
	return n.Use(func() string { return "block device '" + name + "'" }, nil, perm, shared)
}

func wants(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestNames(t *testing.T) {
	var g Graph
	leaf(t, &g, "a", Options{})
	for name, want := range map[string]string{
		"a": "Duplicate nodes with node-name='a'", "1": "Invalid node-name: '1'", "#block000": "Invalid node-name", "x y": "Invalid",
		strings.Repeat("n", 32): "Node name too long", "ok-1._": "",
	} {
		_, err := g.Open(Spec{Name: name, Open: func([]*Child) (Driver, error) { return &memory{}, nil }})
		wants(t, err, want)
	}
	n, _ := leaf(t, &g, "", Options{})
	if n.Name() != "#block000" || g.Find("#block000") != n || g.Nodes()[0] != n {
		t.Errorf("generated %s", n.Name())
	}
}

func TestReferences(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "below", Options{})
	top, err := over(&g, "top", Filtered, Options{}, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Unref(); err != nil || m.closed {
		t.Fatalf("%v: a node with a parent is gone", err)
	}
	wants(t, g.Remove("below"), "Node below is not owned by the monitor")
	wants(t, g.Remove("none"), "Failed to find node with node-name='none'")
	top.Own()
	c, err := use(top, "d", ConsistentRead, AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, g.Remove("top"), "Node top is in use")
	wants(t, c.Close(), "")
	top.Ref()
	wants(t, g.Remove("top"), "Block device top is in use")
	wants(t, top.Unref(), "")
	wants(t, g.Remove("top"), "")
	if !m.closed || len(g.Nodes()) != 0 {
		t.Errorf("what nobody has is still there: %v", g.Nodes())
	}
	a, m := leaf(t, &g, "a", Options{})
	b, err := over(&g, "b", Filtered, Options{}, a)
	if err != nil {
		t.Fatal(err)
	}
	a.Own()
	b.Own()
	if err := g.Close(); err != nil || !m.closed {
		t.Errorf("closed %v, %v", m.closed, err)
	}
}

// TestOpenFails leaves nothing behind, whatever goes wrong.
func TestOpenFails(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	bad := errors.New("bad image")
	_, err := g.Open(Spec{Children: []Edge{{"file", Storage, n}}, Open: func([]*Child) (Driver, error) { return nil, bad }})
	if !errors.Is(err, bad) {
		t.Error(err)
	}
	m.refuse = Write
	_, err = over(&g, "x", Storage, Options{}, n)
	wants(t, err, "refused")
	_, err = over(&g, "x", Storage, Options{ForceShare: true}, n)
	wants(t, err, "force-share=on can only be used with read-only images")
	if len(n.parents) != 0 || n.refs != 1 || m.closed || m.perm != 0 || g.Find("x") != nil {
		t.Errorf("%d parents, %d references, %v", len(n.parents), n.refs, m.perm)
	}
}

func TestPermissions(t *testing.T) {
	const rw = ConsistentRead | Write
	for _, c := range []struct {
		role         Role
		opt          Options
		perm, shared Perm // of the user
		below, share Perm // of the child
	}{
		{Filtered, Options{}, 0, AllPerms, 0, AllPerms},
		{Filtered, Options{}, rw, ConsistentRead, rw, ConsistentRead},
		{Part, Options{}, rw, AllPerms, rw, AllPerms &^ Resize},
		{Storage, Options{}, ConsistentRead, AllPerms, rw | Resize, ConsistentRead | WriteUnchanged},
		{Storage, Options{ReadOnly: true}, 0, AllPerms, ConsistentRead, ConsistentRead | WriteUnchanged},
		{Backing, Options{}, rw, AllPerms, ConsistentRead, AllPerms},
		{Backing, Options{}, rw, ConsistentRead, ConsistentRead, ConsistentRead | WriteUnchanged},
		{Filtered, Options{ReadOnly: true, ForceShare: true}, ConsistentRead, 0, ConsistentRead, AllPerms},
	} {
		var g Graph
		n, m := leaf(t, &g, "n", Options{})
		top, err := over(&g, "top", c.role, c.opt, n)
		if err != nil {
			t.Fatal(err)
		}
		u, err := use(top, "d", c.perm, c.shared)
		if err != nil {
			t.Fatal(err)
		}
		if m.perm != c.below || m.shared != c.share {
			t.Errorf("%+v: told %v, shared %v", c, m.perm, m.shared)
		}
		if err := errors.Join(u.Close(), top.Unref()); err != nil || m.perm != 0 || m.shared != AllPerms {
			t.Errorf("afterwards %v, shared %v, %v", m.perm, m.shared, err)
		}
	}
}

func TestConflicts(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	f, err := over(&g, "f", Filtered, Options{}, n)
	if err != nil {
		t.Fatal(err)
	}
	d, err := use(f, "d", ConsistentRead|Write, ConsistentRead|WriteUnchanged)
	if err != nil {
		t.Fatal(err)
	}
	_, err = use(f, "e", ConsistentRead|Write, AllPerms)
	wants(t, err, "Permission conflict on node 'f': permissions 'write' are both required by block device 'e' (uses node 'f' as 'root' child)"+
		" and unshared by block device 'd' (uses node 'f' as 'root' child).")
	_, err = use(n, "e", Write|Resize, AllPerms)
	wants(t, err, "permissions 'write, resize' are both required by block device 'e' (uses node 'n' as 'root' child) and unshared by node 'f' (uses node 'n' as 'file' child)")
	_, err = over(&g, "s", Storage, Options{}, n)
	wants(t, err, "Permission conflict on node 'n'")
	reader, err := use(f, "r", ConsistentRead, AllPerms)
	wants(t, err, "")
	wants(t, reader.SetPerm(Write, AllPerms), "Permission conflict")
	if perm, _ := reader.Perms(); perm != ConsistentRead {
		t.Errorf("after a refusal %v", perm)
	}
	wants(t, d.SetPerm(ConsistentRead, AllPerms), "")
	wants(t, reader.SetPerm(Write, AllPerms), "")
	if m.perm != ConsistentRead|Write || m.shared != AllPerms {
		t.Errorf("%v, %v", m.perm, m.shared)
	}
	ro, _ := leaf(t, &g, "ro", Options{ReadOnly: true})
	_, err = use(ro, "w", Write, AllPerms)
	wants(t, err, "Block node is read-only")
}

func TestRequests(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{Discard: true, DetectZeroes: true})
	f, err := over(&g, "f", Filtered, Options{}, n)
	if err != nil {
		t.Fatal(err)
	}
	c, err := use(f, "d", ConsistentRead|Write, AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("some bytes")
	got := make([]byte, len(want))
	wants(t, errors.Join(c.Writev(100, [][]byte{want[:3], want[3:]}, FUA), c.Readv(100, [][]byte{got})), "")
	if string(got) != string(want) || m.flushes != 1 || f.Highest() != 110 || n.Highest() != 110 {
		t.Errorf("read %q, %d flushes, up to %d", got, m.flushes, n.Highest())
	}
	wants(t, c.Writev(4096, [][]byte{make([]byte, 512)}, 0), "")
	if m.zeroed != 512 {
		t.Errorf("%d zeroes were detected", m.zeroed)
	}
	wants(t, c.WriteZeroes(0, 8192, 0), "")
	if err := c.Readv(100, [][]byte{got}); err != nil || string(got) != strings.Repeat("\x00", len(got)) || m.zeroed != 512+8192 {
		t.Errorf("read %q, %v, zeroed %d", got, err, m.zeroed)
	}
	wants(t, c.Discard(0, 512), "")
	for _, at := range []int64{-1, 1<<16 - 511, 1 << 62} {
		if c.Readv(at, [][]byte{make([]byte, 512)}) == nil || c.Writev(at, [][]byte{make([]byte, 512)}, 0) == nil || c.Discard(at, 512) == nil {
			t.Errorf("a request at %d", at)
		}
	}
	if m.dropped != 0 {
		t.Errorf("%d bytes dropped by a node that ignores discards", m.dropped)
	}
	direct, err := use(n, "e", Write, AllPerms)
	wants(t, errors.Join(err, direct.Discard(0, 512), direct.Flush()), "")
	if m.dropped != 512 || m.flushes != 2 {
		t.Errorf("%d bytes dropped, %d flushes", m.dropped, m.flushes)
	}
	e, err := c.BlockStatus(0, 100)
	if err != nil || e.N != 100 || e.Status != Data|Allocated {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestFallbackToData(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	m.noZeroes = true
	for i := range m.data {
		m.data[i] = 1
	}
	c, err := use(n, "d", Write, AllPerms)
	wants(t, errors.Join(err, c.WriteZeroes(1, int64(len(m.data))-2, MayUnmap)), "")
	if m.data[0] != 1 || m.data[1] != 0 || m.data[len(m.data)-2] != 0 || m.data[len(m.data)-1] != 1 {
		t.Error("zeroes lie elsewhere")
	}
	wants(t, c.WriteZeroes(0, 8192, NoFallback), ErrNotSupported.Error())
	ro, _ := leaf(t, &g, "ro", Options{ReadOnly: true})
	c, err = use(ro, "r", ConsistentRead, AllPerms)
	if err != nil || c.Writev(0, [][]byte{{1}}, 0) == nil || c.WriteZeroes(0, 1, 0) == nil {
		t.Error("a write to a node for reading")
	}
}

// front counts what a front end is told.
type front struct{ quiet, resized int }

func (f *front) Quiesce()   { f.quiet++ }
func (f *front) Unquiesce() { f.quiet-- }
func (f *front) Resized()   { f.resized++ }

func TestResize(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	var f front
	c, err := n.Use(func() string { return "it" }, &f, ConsistentRead, AllPerms)
	wants(t, errors.Join(err, n.Resize(1<<17)), "")
	if c.Size() != 1<<17 || f.resized != 1 || f.quiet != 0 || m.perm&Resize != 0 {
		t.Errorf("%d bytes, told %d times, quiet %d, %v", c.Size(), f.resized, f.quiet, m.perm)
	}
	wants(t, c.SetPerm(ConsistentRead, ConsistentRead), "")
	wants(t, n.Resize(1<<16), "permissions 'resize' are both required by an unnamed block device")
	top, err := over(&g, "top", Filtered, Options{}, n)
	wants(t, err, "")
	wants(t, c.SetPerm(ConsistentRead, AllPerms), "")
	wants(t, top.Resize(1<<16), "") // a Child has the method
	ro, _ := leaf(t, &g, "ro", Options{ReadOnly: true})
	wants(t, ro.Resize(1), "read-only")
}

// TestDrain has a drain wait for a request under way, far above, and a request for the
// end of the drain.
func TestDrain(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	top := n
	for i := range 3 {
		var err error
		if top, err = over(&g, fmt.Sprintf("f%d", i), Filtered, Options{}, top); err != nil {
			t.Fatal(err)
		}
	}
	var f front
	c, err := top.Use(func() string { return "it" }, &f, ConsistentRead, AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	other, err := use(n, "other", ConsistentRead, AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	m.hold, m.entered = make(chan struct{}), make(chan struct{}, 2)
	read := make(chan error, 2)
	go func() { read <- c.Readv(0, [][]byte{make([]byte, 1)}) }()
	<-m.entered
	drained := make(chan func(), 1)
	go func() { drained <- n.Drain() }()
	select {
	case <-drained:
		t.Fatal("drained with a request under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(m.hold)
	wants(t, <-read, "")
	undrain := <-drained
	if f.quiet != 1 {
		t.Errorf("quiet %d", f.quiet)
	}
	go func() { read <- other.Readv(0, [][]byte{make([]byte, 1)}) }()
	select {
	case <-read:
		t.Fatal("a request on a drained node")
	case <-time.After(20 * time.Millisecond):
	}
	undrain()
	wants(t, <-read, "")
	if f.quiet != 0 {
		t.Errorf("quiet %d", f.quiet)
	}
}
