package quorumdrv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/qmp/qapi"
)

// memory is a child with its data in memory, which can be told to fail.
type memory struct {
	mu                        sync.Mutex
	data                      []byte
	reads, writes, flushes    error
	nRead, nWritten, nFlushed int
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) Readv(off int64, v [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nRead++
	for _, b := range v {
		off += int64(copy(b, m.data[off:]))
	}
	return m.reads
}

func (m *memory) Writev(off int64, v [][]byte, _ graph.Flags) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nWritten++
	if m.writes != nil {
		return m.writes
	}
	for _, b := range v {
		off += int64(copy(m.data[off:], b))
	}
	return nil
}

func (m *memory) Flush() error { m.nFlushed++; return m.flushes }
func (m *memory) Close() error { return nil }

func (m *memory) BlockStatus(off, n int64) (graph.Extent, error) {
	for i := range n {
		if m.data[off+i] != 0 {
			if i == 0 {
				return graph.Extent{N: n, Status: graph.Data | graph.Allocated}, m.reads
			}
			return graph.Extent{N: i, Status: graph.Zero | graph.Allocated}, m.reads
		}
	}
	return graph.Extent{N: n, Status: graph.Zero | graph.Allocated}, m.reads
}

// log keeps what was reported.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, a...))
}

func (l *log) Bad(e qapi.QuorumReportBadEvent) {
	text := "differs"
	if e.Error != nil {
		text = *e.Error
	}
	l.add("%s %s %d+%d %s", e.Type, e.NodeName, e.SectorNum, e.SectorsCount, text)
}

func (l *log) Failed(e qapi.QuorumFailureEvent) {
	l.add("failure %s %d+%d", e.Reference, e.SectorNum, e.SectorsCount)
}

func (l *log) Mismatch(text string) { l.add("%s", text) }

// take returns what was reported since the last call.
func (l *log) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := strings.Join(l.lines, "; ")
	l.lines = nil
	return s
}

// bench is a quorum on children in memory, and a front end on it.
type bench struct {
	graph graph.Graph
	mem   []*memory
	node  *graph.Node
	drv   *Driver
	front *graph.Child
	log   log
}

const diskSize = 1 << 16

func (b *bench) child(t testing.TB) *graph.Node {
	t.Helper()
	m := &memory{data: make([]byte, diskSize)}
	name := fmt.Sprintf("c%d", len(b.mem))
	n, err := b.graph.Open(graph.Spec{Name: name, Driver: "mem", Filename: func() string { return name },
		Open: func([]*graph.Child) (graph.Driver, error) { return m, nil }})
	if err != nil {
		t.Fatal(err)
	}
	b.mem = append(b.mem, m)
	return n
}

func newBench(t testing.TB, children int, cfg Config) *bench {
	t.Helper()
	b := &bench{}
	cfg.Children, cfg.Reports = children, &b.log
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	var nodes []*graph.Node
	for range children {
		nodes = append(nodes, b.child(t))
	}
	var err error
	b.node, err = b.graph.Open(graph.Spec{Name: "q", Driver: "quorum", Children: Edges(nodes), Filename: func() string { return "" },
		Open: func(c []*graph.Child) (graph.Driver, error) {
			d, err := Open(cfg, c)
			b.drv = d
			return d, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.front, err = b.node.Use(func() string { return "a test" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.front.Close(), b.node.Unref()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) read(off, n int64) ([]byte, error) {
	buf := make([]byte, n)
	return buf, b.front.Readv(off, [][]byte{buf[:n/2], buf[n/2:]})
}

func (b *bench) write(off int64, data []byte) error {
	return b.front.Writev(off, [][]byte{data[:len(data)/2], data[len(data)/2:]}, 0)
}

// TestMinority has fewer children than may fail or lie, for quorums of 3 and 5, and then as
// many as may not.
func TestMinority(t *testing.T) {
	for _, c := range []struct{ children, threshold int }{{3, 2}, {5, 3}} {
		bad := c.children - c.threshold
		data := bytes.Repeat([]byte{0x5a}, 4096)
		t.Run(fmt.Sprint(c.children), func(t *testing.T) {
			b := newBench(t, c.children, Config{Threshold: int64(c.threshold)})
			if err := b.write(512, data); err != nil || b.log.take() != "" {
				t.Fatal(err)
			}
			for i := range bad {
				copy(b.mem[i].data[600:], "lies")
			}
			if got, err := b.read(512, 4096); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%v: lies of a minority were read", err)
			}
			if got := b.log.take(); strings.Count(got, "read c") != bad || !strings.Contains(got, "read c0 1+8 differs") {
				t.Errorf("reported %s", got)
			}
			for i := range bad {
				b.mem[i].reads = unix.EIO
			}
			if got, err := b.read(512, 4096); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%v: a minority failed", err)
			}
			if got := b.log.take(); strings.Count(got, "Input/output error") != bad {
				t.Errorf("reported %s", got)
			}
			b.mem[bad].reads = unix.EIO
			if _, err := b.read(512, 4096); !errors.Is(err, unix.EIO) {
				t.Errorf("%v: a majority failed", err)
			}
			if got := b.log.take(); !strings.HasSuffix(got, "failure q 1+8") {
				t.Errorf("reported %s", got)
			}
			b.mem[bad].reads = nil
			for i := range bad {
				b.mem[i].reads = nil
			}
			copy(b.mem[bad].data[600:], "more")
			if _, err := b.read(512, 4096); !errors.Is(err, unix.EIO) || b.log.take() != "failure q 1+8" {
				t.Errorf("%v: no version has enough votes", err)
			}
		})
	}
}

// TestWrites has children fail that are written to and flushed.
func TestWrites(t *testing.T) {
	b := newBench(t, 3, Config{Threshold: 2})
	data := make([]byte, 1000)
	b.mem[1].writes, b.mem[1].flushes = unix.ENOSPC, unix.EIO
	if err := b.write(100, data); err != nil || b.log.take() != "write c1 0+3 No space left on device" {
		t.Error(err)
	}
	if err := b.front.Flush(); err != nil || b.log.take() != "flush c1 0+0 Input/output error" {
		t.Error(err)
	}
	if err := b.front.WriteZeroes(0, 512, graph.MayUnmap); err != nil || b.log.take() != "write c1 0+1 No space left on device" {
		t.Error(err)
	}
	b.mem[0].writes, b.mem[2].flushes = unix.ENOSPC, unix.EROFS
	if err := b.write(100, data); !errors.Is(err, unix.ENOSPC) || !strings.HasSuffix(b.log.take(), "; failure q 0+3") {
		t.Error(err)
	}
	b.mem[2].writes = unix.EIO
	if err := b.write(100, data); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v, but most had no space", err)
	}
	b.log.take()
	if err := b.front.Flush(); !errors.Is(err, unix.EROFS) || strings.Contains(b.log.take(), "failure") {
		t.Errorf("%v", err)
	}
	for i, m := range b.mem {
		if m.nFlushed != 2 {
			t.Errorf("child %d was flushed %d times", i, m.nFlushed)
		}
	}
}

func TestRewrite(t *testing.T) {
	b := newBench(t, 3, Config{Threshold: 2, Rewrite: true})
	data := bytes.Repeat([]byte{7}, 2048)
	if err := b.write(0, data); err != nil {
		t.Fatal(err)
	}
	clear(b.mem[0].data[:512])
	if got, err := b.read(0, 2048); err != nil || !bytes.Equal(got, data) || b.log.take() != "read c0 0+4 differs" {
		t.Error(err)
	}
	if !bytes.Equal(b.mem[0].data[:2048], data) {
		t.Error("the child was not put right")
	}
	if _, err := b.read(0, 2048); err != nil || b.log.take() != "" {
		t.Error(err)
	}
	clear(b.mem[2].data[:512])
	b.mem[2].writes = unix.EIO
	if got, err := b.read(0, 2048); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%v: a child that cannot be put right is no error", err)
	}
}

func TestFIFO(t *testing.T) {
	b := newBench(t, 3, Config{Threshold: 2, FIFO: true})
	copy(b.mem[1].data, "second")
	if got, err := b.read(0, 6); err != nil || !bytes.Equal(got, make([]byte, 6)) || b.mem[1].nRead != 0 {
		t.Errorf("%v, %q", err, got)
	}
	b.mem[0].reads = unix.EIO
	if got, err := b.read(0, 6); err != nil || string(got) != "second" || b.log.take() != "read c0 0+1 Input/output error" {
		t.Errorf("%v, %q", err, got)
	}
	b.mem[1].reads, b.mem[2].reads = unix.EIO, unix.ENXIO
	if _, err := b.read(0, 6); !errors.Is(err, unix.ENXIO) {
		t.Errorf("%v, want the last child's", err)
	}
}

func TestVerify(t *testing.T) {
	b := newBench(t, 2, Config{Threshold: 2, Verify: true})
	if _, err := b.read(0, 512); err != nil {
		t.Error(err)
	}
	b.mem[1].data[700] = 1
	if _, err := b.read(512, 512); err == nil || b.log.take() != "quorum: offset=512 bytes=512 contents mismatch at offset 700" {
		t.Error(err)
	}
	if _, _, err := b.drv.NextChild(); err == nil || err.Error() != "Cannot add a child to a quorum in blkverify mode" {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		Config
		want string
	}{
		{Config{Threshold: 1}, "Number of provided children must be 1 or more"},
		{Config{Children: 2}, "Parameter 'vote-threshold' expects a value >= 1"},
		{Config{Children: 2, Threshold: 3}, "threshold may not exceed children count"},
		{Config{Children: 3, Threshold: 2, Verify: true}, "blkverify=on can only be set if there are exactly two files and vote-threshold is 2"},
		{Config{Children: 2, Threshold: 2, Verify: true, Rewrite: true}, "rewrite-corrupted=on cannot be used with blkverify=on"},
		{Config{Children: 3, Threshold: 2, Verify: true, FIFO: true}, ""},
	} {
		if err := c.Check(); c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestChildren has children come and go, and looks at what is locked for them.
func TestChildren(t *testing.T) {
	b := newBench(t, 2, Config{Threshold: 2, Rewrite: true})
	if err := b.drv.RemoveChild(b.node.Children()[0]); err == nil || err.Error() != "The number of children cannot be lower than the vote threshold 2" {
		t.Error(err)
	}
	for _, want := range []string{"children.2", "children.3"} {
		name, role, err := b.drv.NextChild()
		if err != nil || name != want || role != graph.Copy {
			t.Fatalf("%s, %v", name, err)
		}
		var ch graph.Change
		undrain := b.node.Drain()
		c, err := ch.Attach(b.node, graph.Edge{Name: name, Role: role, Node: b.child(t)})
		if err != nil {
			t.Fatal(err)
		}
		b.drv.AddChild(c)
		err = ch.Commit()
		undrain()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.write(0, []byte("everywhere")); err != nil {
		t.Fatal(err)
	}
	for i, m := range b.mem {
		if string(m.data[:10]) != "everywhere" {
			t.Errorf("child %d has %q", i, m.data[:10])
		}
	}
	if perm, shared := b.node.Children()[3].Perms(); perm&graph.Write == 0 || shared != graph.ConsistentRead|graph.WriteUnchanged {
		t.Errorf("%s, shared are %s", perm, shared)
	}
	if err := b.drv.RemoveChild(b.node.Children()[3]); err != nil {
		t.Error(err)
	}
	if name, _, _ := b.drv.NextChild(); name != "children.3" {
		t.Errorf("after the last one went comes %s", name)
	}
}

func TestStatus(t *testing.T) {
	b := newBench(t, 3, Config{Threshold: 2})
	b.mem[1].data[1024] = 1
	e, err := b.front.BlockStatus(0, 4096)
	if err != nil || e.N != 1024 || e.Status&graph.Zero == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	e, err = b.front.BlockStatus(1024, 3072)
	if err != nil || e.N != 3072 || e.Status&graph.Data == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	b.mem[0].reads = unix.EIO
	e, err = b.front.BlockStatus(0, 1024)
	if err != nil || e.Status&graph.Data == 0 || b.log.take() != "read c0 0+2 Input/output error" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestRandom has any minority of five children wrong at any place while many write and
// read: nobody notices, and in the end all is right again.
func TestRandom(t *testing.T) {
	b := newBench(t, 5, Config{Threshold: 3, Rewrite: true})
	const part = diskSize / 8
	var users sync.WaitGroup
	for u := range 8 {
		users.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(u)))
			want := make([]byte, part)
			for range 200 {
				off := rng.Int64N(part - 1)
				n := 1 + rng.Int64N(part-off)
				at := int64(u)*part + off
				if rng.IntN(2) == 0 {
					for i := range n {
						want[off+i] = byte(rng.Uint32())
					}
					if err := b.write(at, want[off:off+n]); err != nil {
						t.Error(err)
					}
					continue
				}
				for _, i := range rng.Perm(5)[:2] {
					b.mem[i].mu.Lock()
					b.mem[i].data[at+rng.Int64N(n)] ^= 1
					b.mem[i].mu.Unlock()
				}
				if got, err := b.read(at, n); err != nil || !bytes.Equal(got, want[off:off+n]) {
					t.Errorf("%v: wrong data", err)
				}
			}
		})
	}
	users.Wait()
	if _, err := b.read(0, diskSize); err != nil {
		t.Error(err)
	}
	for i := range b.mem[1:] {
		if !bytes.Equal(b.mem[i].data, b.mem[i+1].data) {
			t.Errorf("children %d and %d differ", i, i+1)
		}
	}
}

func BenchmarkRead(b *testing.B) { benchmark(b, (*graph.Child).Readv) }
func BenchmarkWrite(b *testing.B) {
	benchmark(b, func(c *graph.Child, off int64, v [][]byte) error { return c.Writev(off, v, 0) })
}

func benchmark(b *testing.B, f func(*graph.Child, int64, [][]byte) error) {
	q := newBench(b, 3, Config{Threshold: 2})
	v := [][]byte{make([]byte, 4096)}
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		if err := f(q.front, 0, v); err != nil {
			b.Fatal(err)
		}
	}
}
