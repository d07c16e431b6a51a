package blkdebugdrv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/graph"
)

// medium is a node that notes what it is asked for.
type medium struct {
	mu    sync.Mutex
	calls []string
	data  [1 << 16]byte
}

func (m *medium) note(format string, a ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, fmt.Sprintf(format, a...))
}

func (m *medium) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := strings.Join(m.calls, " ")
	m.calls = nil
	return s
}

func (m *medium) Size() int64 { return int64(len(m.data)) }

func (m *medium) Readv(off int64, v [][]byte) error {
	m.note("r%d+%d", off, length(v))
	for _, b := range v {
		off += int64(copy(b, m.data[off:]))
	}
	return nil
}

func (m *medium) Writev(off int64, v [][]byte, _ graph.Flags) error {
	m.note("w%d+%d", off, length(v))
	for _, b := range v {
		off += int64(copy(m.data[off:], b))
	}
	return nil
}

func (m *medium) WriteZeroes(off, n int64, _ graph.Flags) error { m.note("z%d+%d", off, n); return nil }
func (m *medium) Discard(off, n int64) error                    { m.note("d%d+%d", off, n); return nil }
func (m *medium) Flush() error                                  { return nil }
func (m *medium) Close() error                                  { return nil }

// bench is a node with the driver, and a front end on it.
type bench struct {
	graph graph.Graph
	below medium
	node  *graph.Node
	drv   *Driver
	front *graph.Child
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	b := &bench{}
	name := func() string { return "" }
	o := graph.Options{Discard: true}
	m, err := b.graph.Open(graph.Spec{Name: "m", Options: o, Filename: name, Open: func([]*graph.Child) (graph.Driver, error) { return &b.below, nil }})
	if err != nil {
		t.Fatal(err)
	}
	b.node, err = b.graph.Open(graph.Spec{Name: "n", Options: o, Filename: name, Children: []graph.Edge{{Name: "image", Role: graph.Filtered, Node: m}},
		Open: func(c []*graph.Child) (graph.Driver, error) { b.drv = Open(cfg, c[0]); return b.drv, nil }})
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

func (b *bench) read() error  { return b.front.Readv(0, [][]byte{make([]byte, 512)}) }
func (b *bench) write() error { return b.front.Writev(0, [][]byte{make([]byte, 512)}, 0) }

func rules(t *testing.T, text string) []*Rule {
	t.Helper()
	r, err := ParseConfig("test", text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func section1(kind string, kv ...string) string {
	s := "[" + kind + "]\n"
	for i := 0; i < len(kv); i += 2 {
		s += kv[i] + " = \"" + kv[i+1] + "\"\n"
	}
	return s
}

// TestStates goes through a machine of states: writes fail in the second only.
func TestStates(t *testing.T) {
	b := newBench(t, Config{Rules: rules(t, section1("inject-error", "event", "pwritev", "state", "2", "errno", "28", "iotype", "write")+
		section1("set-state", "event", "l1_update", "state", "1", "new_state", "2")+
		section1("set-state", "event", "l1_update", "state", "2", "new_state", "3")+
		section1("inject-error", "event", "l2_load", "state", "3", "iotype", "flush"))})
	if err := b.write(); err != nil {
		t.Error(err)
	}
	b.drv.Event(graph.EventL1Update)
	if err := errors.Join(b.read(), b.front.Flush(), b.front.Discard(0, 512)); err != nil {
		t.Error(err)
	}
	if err := b.write(); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	b.drv.Event(graph.EventL1Update)
	if err := b.write(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v: a rule is in force until another one is", err)
	}
	b.drv.Event(graph.EventL2Load)
	if err := b.front.Flush(); !errors.Is(err, unix.EIO) {
		t.Errorf("%v: what failed may have written", err)
	}
	if err := b.write(); err != nil {
		t.Error(err)
	}
	if err := b.front.Flush(); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if err := b.front.Flush(); !errors.Is(err, unix.EIO) {
		t.Errorf("%v: a flush failed, and was not made again", err)
	}
}

func TestOnce(t *testing.T) {
	b := newBench(t, Config{Rules: rules(t, section1("inject-error", "event", "none", "once", "on", "sector", "4")+
		section1("inject-error", "event", "none", "sector", "8", "immediately", "on", "iotype", "block-status"))})
	at := func(off int64) error { return b.front.Readv(off, [][]byte{make([]byte, 1024)}) }
	if err := errors.Join(at(1024), at(2560)); err != nil {
		t.Error(err)
	}
	if err := at(1536); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if err := at(1536); err != nil {
		t.Errorf("%v, twice", err)
	}
	if _, err := b.front.BlockStatus(4096, 512); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if e, err := b.front.BlockStatus(8192, 512); err != nil || e.N != 512 {
		t.Error(err)
	}
}

// TestBreakpoints has requests wait, and lets them go on by name, all at once, and by a
// drain.
func TestBreakpoints(t *testing.T) {
	var said []string
	b := newBench(t, Config{Print: func(s string) { said = append(said, s) }})
	d := b.node.Debugger()
	results := make(chan error)
	start := func() { go func() { results <- b.write() }() }
	d.Break(graph.EventPwritev, "A")
	if d.Resume("A") || d.RemoveBreak("B") {
		t.Error("nothing waits")
	}
	start()
	<-d.Suspended("A")
	<-d.Suspended("A")
	if err := b.write(); err != nil {
		t.Errorf("%v: a breakpoint is for one request", err)
	}
	if !d.Resume("A") || d.Resume("A") {
		t.Error("one waits")
	}
	if err := <-results; err != nil {
		t.Error(err)
	}
	if want := []string{"blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
	for range 2 {
		d.Break(graph.EventPwritev, "B")
		start()
		<-d.Suspended("B")
		d.Break(graph.EventPwritevDone, "B")
		if !d.RemoveBreak("B") {
			t.Error("nothing waits")
		}
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	d.Break(graph.EventPwritev, "C")
	start()
	<-d.Suspended("C")
	d.Break(graph.EventPwritevDone, "D")
	undrain := b.node.Drain()
	if err := <-results; err != nil {
		t.Error(err)
	}
	undrain()
}

// TestLimits looks at what gets through of requests that are too long or not aligned.
func TestLimits(t *testing.T) {
	b := newBench(t, Config{Limits: graph.Limits{Align: 4096, MaxTransfer: 8192, ZeroAlign: 8192, MaxZero: 16384, DiscardAlign: 12288, MaxDiscard: 24576}})
	for _, c := range []struct {
		do   func() error
		want string
	}{
		{func() error { return b.front.Readv(100, [][]byte{make([]byte, 9000), make([]byte, 5000)}) }, "r0+8192 r8192+8192"},
		{func() error { return b.front.Writev(4096, [][]byte{make([]byte, 12288)}, 0) }, "w4096+8192 w12288+4096"},
		{func() error { return b.front.Writev(4000, [][]byte{make([]byte, 200)}, 0) }, "r0+4096 r4096+4096 w0+8192"},
		{func() error { return b.front.Writev(8192, [][]byte{make([]byte, 1)}, 0) }, "r8192+4096 w8192+4096"},
		{func() error { return b.front.WriteZeroes(4096, 36864, 0) }, "w4096+4096 z8192+16384 z24576+16384"},
		{func() error { return b.front.WriteZeroes(8192, 9000, 0) }, "z8192+8192 r16384+4096 w16384+4096"},
		{func() error { return b.front.Discard(100, 49152) }, "d4096+8192 d12288+24576 d36864+12288"},
		{func() error { return b.front.Discard(100, 4000) }, ""},
	} {
		if err := c.do(); err != nil {
			t.Error(err)
		}
		if got := b.below.take(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	if err := b.front.WriteZeroes(4096, 4096, graph.NoFallback); !errors.Is(err, graph.ErrNotSupported) {
		t.Error(err)
	}
	for _, l := range []graph.Limits{{Align: 3}, {Align: -4}, {Align: 1 << 40}, {Align: 512, MaxTransfer: 513}, {ZeroAlign: 512, MaxZero: 600}, {MaxDiscard: -1}} {
		if err := (&Config{Limits: l}).Check(); err == nil || !strings.HasPrefix(err.Error(), "Cannot meet constraints with ") {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// TestUnaligned has many write parts of the same blocks, which must not undo each other.
func TestUnaligned(t *testing.T) {
	b := newBench(t, Config{Limits: graph.Limits{Align: 512}})
	var users sync.WaitGroup
	for u := range 16 {
		users.Go(func() {
			for i := u; i < 2048; i += 16 {
				if err := b.front.Writev(int64(i), [][]byte{{byte(u + 1)}}, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	for i := range 2048 {
		if b.below.data[i] != byte(i%16+1) {
			t.Fatalf("byte %d is %d", i, b.below.data[i])
		}
	}
}

func TestPermissions(t *testing.T) {
	b := newBench(t, Config{Take: graph.Resize, Unshare: graph.Write})
	if perm, shared := b.node.Children()[0].Perms(); perm&graph.Resize == 0 || shared&graph.Write != 0 {
		t.Errorf("%s; %s", perm, shared)
	}
}

func TestConfigMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"event = \"none\"":                        "test:1: no group defined",
		"[none]":                                  "test:1: There is no option group 'none'",
		"[inject-error":                           "test:1: parse error",
		"[set-state]\n\nstate 1":                  "test:3: parse error",
		"[set-state]\nstate = 1":                  "test:2: parse error",
		"[set-state]\nstate = \"1":                "test:2: parse error",
		"[set-state]\nerrno = \"1\"":              "test:2: Invalid parameter 'errno'",
		"[set-state]\n":                           "Missing event name for rule",
		section1("set-state", "event", "nowhere"): "invalid parameter value: nowhere",
		section1("inject-error", "event", "none", "errno", "x"):  "Parameter 'errno' expects a number",
		section1("inject-error", "event", "none", "once", "x"):   "Parameter 'once' expects 'on' or 'off'",
		section1("inject-error", "event", "none", "iotype", "x"): "invalid parameter value: x",
		"# nothing\n" + strings.Repeat("x", 2000):                "test:2: parse error",
	} {
		if _, err := ParseConfig("test", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nonce = \"on\"\n")
	f.Add("# a comment\n[set-state \"id\"]\nevent = \"none\"\nstate = \"1\"\nnew_state = \"2\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseConfig("f", text)
		for _, r := range rules {
			if err != nil || r.event >= graph.Events {
				t.Errorf("%+v, %v", r, err)
			}
		}
	})
}
