package export

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hv/block/filedrv"
	"hv/block/graph"
	"hv/block/nbddrv"
	"hv/block/nbdproto"
	"hv/block/tlscreds"
	"hv/qmp/qapi"
)

// rig is a VM's graph and exports; the test's goroutine is the control goroutine.
type rig struct {
	*Registry
	t      testing.TB
	g      graph.Graph
	posts  chan func()
	gone   []string
	socket string
	creds  map[string]*tlscreds.Creds
	who    atomic.Value // whom the authz object lets in

	mu     sync.Mutex
	logged []error
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, posts: make(chan func(), 64), socket: filepath.Join(t.TempDir(), "nbd"), creds: map[string]*tlscreds.Creds{}}
	find := func(name string) (*graph.Node, error) {
		if n := r.g.Find(name); n != nil {
			return n, nil
		}
		return nil, fmt.Errorf("Cannot find device='%s' nor node-name='%s'", name, name)
	}
	r.Registry = New(Host{
		Drive: find, Node: r.g.Find, Post: func(f func()) { r.posts <- f }, Deleted: func(id string) { r.gone = append(r.gone, id) },
		Thread: func(id string) error {
			if id == "io0" {
				return nil
			}
			return fmt.Errorf("iothread \"%s\" not found", id)
		},
		Credentials: func(id string) (*tlscreds.Creds, error) {
			if c := r.creds[id]; c != nil {
				return c, c.Check(true)
			}
			return nil, fmt.Errorf("No TLS credentials with id '%s'", id)
		},
		Authorized: func(object, name string) bool { return object == "authz" && name == r.who.Load() },
		Log: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.logged = append(r.logged, err)
		},
	})
	t.Cleanup(func() {
		if err := r.Registry.Close(); err != nil {
			t.Error(err)
		}
		if err := r.g.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// deleted runs what was posted until an export is gone.
func (r *rig) deleted(id string) {
	r.t.Helper()
	for len(r.gone) == 0 {
		(<-r.posts)()
	}
	if r.gone[0] != id {
		r.t.Errorf("%s is gone, not %s", r.gone[0], id)
	}
	r.gone = r.gone[1:]
}

// node makes a node that the test keeps.
func (r *rig) node(name string, o graph.Options, open func([]*graph.Child) (graph.Driver, error), children ...graph.Edge) *graph.Node {
	r.t.Helper()
	n, err := r.g.Open(graph.Spec{Name: name, Driver: "test", Options: o, Open: open, Children: children, Filename: func() string { return name }})
	if err != nil {
		r.t.Fatal(err)
	}
	n.Own()
	return n
}

// file makes a node of a file of some size.
func (r *rig) file(name string, size int64, o graph.Options) string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		r.t.Fatal(err)
	}
	r.node(name, o, func([]*graph.Child) (graph.Driver, error) {
		return filedrv.Open(filedrv.Config{Path: path, Options: o, OpenFile: os.OpenFile})
	})
	return path
}

func (r *rig) address() *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddress{Path: r.socket}}
}

func (r *rig) start(c ServerConfig) {
	r.t.Helper()
	c.Addr = r.address()
	if err := r.StartNBD(c); err != nil {
		r.t.Fatal(err)
	}
}

func yes() *bool { b := true; return &b }

func text(s string) *string { return &s }

// export serves a node for writing.
func (r *rig) export(id, node string) {
	r.t.Helper()
	r.must(r.Add(&qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: id, NodeName: node, Writable: yes(), Nbd: &qapi.BlockExportOptionsNbd{AllocationDepth: yes()}}))
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) refused(err error, want string) {
	r.t.Helper()
	if err == nil || err.Error() != want {
		r.t.Errorf("%v, want %s", err, want)
	}
}

// client connects hv's client.
func (r *rig) client(export string) *nbddrv.Driver {
	r.t.Helper()
	d, err := nbddrv.Open(nbddrv.Config{Server: r.address(), Export: export, Log: func(error) {}})
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *rig) uri(export string) string { return "nbd+unix:///" + export + "?socket=" + r.socket }

// tool runs a client that is not ours.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run `make deps` to install what the tests need", err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestCommands(t *testing.T) {
	r := newRig(t)
	add := func(id, node string, nbd qapi.BlockExportOptionsNbd) error {
		return r.Add(&qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: id, NodeName: node, Nbd: &nbd})
	}
	r.file("f", 1<<20, graph.Options{})
	r.file("ro", 1<<20, graph.Options{ReadOnly: true})
	r.refused(add("e", "f", qapi.BlockExportOptionsNbd{}), "NBD server not running")
	r.refused(r.StopNBD(), "NBD server not running")
	r.start(ServerConfig{})
	r.refused(r.StartNBD(ServerConfig{Addr: r.address()}), "NBD server already running")
	r.refused(add("#e", "f", qapi.BlockExportOptionsNbd{}), "Invalid block export id")
	r.refused(add("e", "x", qapi.BlockExportOptionsNbd{}), "Cannot find device='' nor node-name='x'")
	r.must(add("e", "f", qapi.BlockExportOptionsNbd{}))
	r.refused(add("e", "f", qapi.BlockExportOptionsNbd{}), "Block export id 'e' is already in use")
	r.refused(add("e2", "f", qapi.BlockExportOptionsNbd{}), "NBD server already has export named 'f'")
	long := qapi.BlockExportOptionsNbdBase{Description: text(strings.Repeat("x", 4097))}
	r.refused(add("e2", "ro", qapi.BlockExportOptionsNbd{BlockExportOptionsNbdBase: long}), "description '"+*long.Description+"' too long")
	long = qapi.BlockExportOptionsNbdBase{Name: long.Description}
	r.refused(add("e2", "ro", qapi.BlockExportOptionsNbd{BlockExportOptionsNbdBase: long}), "export name '"+*long.Name+"' too long")
	r.refused(r.Add(&qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: "w", NodeName: "ro", Writable: yes(), Nbd: &qapi.BlockExportOptionsNbd{}}),
		"Cannot export read-only node as writable")
	r.refused(r.Add(&qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: "w", NodeName: "ro", Iothread: text("io1"), Nbd: &qapi.BlockExportOptionsNbd{}}),
		"iothread \"io1\" not found")
	r.must(r.AddNBD(&qapi.NbdServerAddOptions{Device: "ro", Writable: yes()}, true)) // made read-only quietly
	r.refused(r.AddNBD(&qapi.NbdServerAddOptions{Device: "x"}, false), "Cannot find device='x' nor node-name='x'")
	list := r.List()
	if len(list) != 2 || list[0].Id != "ro" || list[1].NodeName != "f" || list[1].ShuttingDown {
		t.Errorf("%+v", list)
	}
	if err := r.g.Find("f").Resize(2 << 20); err == nil {
		t.Error("an exported node was resized")
	}
	r.refused(r.Delete("x", false), "Export 'x' is not found")
	d := r.client("f")
	r.refused(r.DeleteNBD("e", false), "export 'e' still in use")
	r.must(r.Delete("e", true))
	r.refused(r.Delete("e", true), "Export 'e' is already shutting down")
	r.deleted("e")
	if err := d.Readv(0, [][]byte{make([]byte, 512)}); err == nil {
		t.Error("a client that was thrown out reads")
	}
	r.must(d.Close())
	r.must(add("e", "f", qapi.BlockExportOptionsNbd{}))
	r.DriveGone("ro")
	r.deleted("ro")
	r.must(r.StopNBD())
	if len(r.gone) != 1 || r.gone[0] != "e" || len(r.List()) != 0 {
		t.Errorf("%v %v", r.gone, r.List())
	}
	r.start(ServerConfig{MaxConnections: 1})
}

// TestRandom does the same to an export and to a copy of it.
func TestRandom(t *testing.T) {
	for name, o := range map[string]graph.Options{"cached": {Discard: true}, "direct": {Direct: true}} {
		t.Run(name, func(t *testing.T) {
			const size = 8 << 20
			r := newRig(t)
			path := r.file("f", size, o)
			r.start(ServerConfig{})
			r.export("e", "f")
			d := r.client("f")
			model, rng := make([]byte, size), rand.New(rand.NewPCG(3, 4))
			for i := range 600 {
				n := 1 + rng.Int64N(1<<uint(1+rng.IntN(19)))
				off := rng.Int64N(size - n)
				if rng.IntN(2) == 0 {
					off, n = off&^511, (n+511)&^511
				}
				b := make([]byte, n)
				var err error
				switch k := rng.IntN(8); {
				case k < 3:
					for i := range b {
						b[i] = byte(rng.Uint32())
					}
					copy(model[off:], b)
					err = d.Writev(off, [][]byte{b[:n/3], b[n/3:]}, 0)
				case k == 3:
					clear(model[off : off+n])
					if err = d.WriteZeroes(off, n, graph.MayUnmap); errors.Is(err, graph.ErrNotSupported) {
						err = d.Writev(off, [][]byte{b}, 0)
					}
				case k == 4:
					err = d.Flush()
				case k == 5:
					var e graph.Extent
					if e, err = d.BlockStatus(off, n); err == nil && (e.N < 1 || e.N > n || e.Status&graph.Zero != 0 && bytes.Trim(model[off:off+e.N], "\x00") != nil) {
						t.Fatalf("%d: %+v at %d", i, e, off)
					}
				default:
					if err = d.Readv(off, [][]byte{b[:n/2], b[n/2:]}); err == nil && !bytes.Equal(b, model[off:off+n]) {
						t.Fatalf("%d: %d bytes at %d differ", i, n, off)
					}
				}
				if err != nil {
					t.Fatalf("%d: %v", i, err)
				}
			}
			r.must(d.Close())
			r.must(r.Delete("e", true))
			r.deleted("e")
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, model) {
				t.Error("the file differs", err)
			}
		})
	}
}

// raw is a client that says what it wants to.
type raw struct {
	t testing.TB
	c net.Conn
}

func (r *rig) raw(export, context string) *raw {
	r.t.Helper()
	c, err := net.Dial("unix", r.socket)
	r.must(err)
	o, err := nbdproto.Connect(c, nbdproto.Wish{Export: export, Context: context})
	r.must(err)
	return &raw{r.t, o.Conn}
}

func (x *raw) send(q nbdproto.Request, data ...byte) {
	x.t.Helper()
	var b [nbdproto.RequestSize]byte
	q.Put(&b)
	if _, err := x.c.Write(append(b[:], data...)); err != nil {
		x.t.Fatal(err)
	}
}

// take reads a reply with n bytes after its head.
func (x *raw) take() (nbdproto.Reply, []byte) {
	x.t.Helper()
	in := nbdproto.NewReader(x.c)
	var h [nbdproto.SimpleSize]byte
	if err := in.Read(h[:]); err != nil {
		x.t.Fatal(err)
	}
	r, err := nbdproto.ParseSimple(&h)
	if err != nil {
		x.t.Fatal(err)
	}
	if !r.Structured {
		return r, nil
	}
	var n [4]byte
	if err := errors.Join(in.Read(n[:]), r.ParseLength(&n)); err != nil {
		x.t.Fatal(err)
	}
	b := make([]byte, r.Length)
	if err := in.Read(b); err != nil {
		x.t.Fatal(err)
	}
	return r, b
}

// TestRefusals has a client ask for what it is not to have.
func TestRefusals(t *testing.T) {
	r := newRig(t)
	r.file("f", 1<<20, graph.Options{})
	r.file("ro", 1<<20, graph.Options{ReadOnly: true})
	r.start(ServerConfig{})
	r.export("e", "f")
	r.must(r.Add(&qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: "r", NodeName: "ro", Nbd: &qapi.BlockExportOptionsNbd{}}))
	x, ro := r.raw("f", nbdproto.BaseAllocation), r.raw("ro", "")
	for _, c := range []struct {
		x    *raw
		q    nbdproto.Request
		e    nbdproto.Errno
		text string
	}{
		{x, nbdproto.Request{Type: nbdproto.CmdRead, Offset: 1 << 20, Length: 1}, nbdproto.EINVAL, "operation past EOF; From: 1048576, Len: 1, Size: 1048576"},
		{x, nbdproto.Request{Type: nbdproto.CmdWriteZeroes, Offset: 1 << 63, Length: 4096}, nbdproto.ENOSPC, "operation past EOF; From: 9223372036854775808, Len: 4096, Size: 1048576"},
		{x, nbdproto.Request{Type: nbdproto.CmdRead, Length: 33 << 20}, nbdproto.EINVAL, "len (34603008) is larger than max len (33554432)"},
		{x, nbdproto.Request{Type: 99}, nbdproto.EINVAL, "invalid request type (99) received"},
		{x, nbdproto.Request{Type: nbdproto.CmdFlush, Flags: nbdproto.DF}, nbdproto.EINVAL, "unsupported flags for command flush (got 0x4)"},
		{x, nbdproto.Request{Type: nbdproto.CmdBlockStatus}, nbdproto.EINVAL, "need non-zero length"},
		{ro, nbdproto.Request{Type: nbdproto.CmdBlockStatus, Length: 512}, nbdproto.EINVAL, "CMD_BLOCK_STATUS not negotiated"},
		{ro, nbdproto.Request{Type: nbdproto.CmdTrim, Length: 512}, nbdproto.EPERM, "Export is read-only"},
	} {
		c.q.Cookie = 77
		c.x.send(c.q)
		h, b := c.x.take()
		if e, text, err := nbdproto.ParseError(b); err != nil || e != c.e || text != c.text || h.Cookie != 77 || !h.Done {
			t.Errorf("%+v: %+v, %d, %q, %v", c.q, h, e, text, err)
		}
	}
	for _, q := range []nbdproto.Request{
		{Type: nbdproto.CmdCache, Length: 1 << 20}, {Type: nbdproto.CmdTrim, Length: 4096, Flags: nbdproto.FUA}, {Type: nbdproto.CmdRead},
		{Type: nbdproto.CmdWriteZeroes, Length: 4096, Flags: nbdproto.FUA | nbdproto.NoHole}, {Type: nbdproto.CmdFlush}, {Type: nbdproto.CmdWrite},
	} {
		x.send(q)
		if h, _ := x.take(); h.Errno != 0 || h.Type.IsError() || !h.Done {
			t.Errorf("%+v: %+v", q, h)
		}
	}
	// Two requests in one go, one of them with flush and data in one chunk.
	x.send(nbdproto.Request{Type: nbdproto.CmdRead, Length: 512, Flags: nbdproto.DF | nbdproto.FUA})
	if h, b := x.take(); h.Type != nbdproto.ChunkData || len(b) != 520 {
		t.Errorf("%+v", h)
	}
	x.send(nbdproto.Request{Type: nbdproto.CmdRead, Offset: 64 << 10, Length: 128 << 10, Cookie: 5})
	if h, _ := x.take(); h.Type != nbdproto.ChunkHole || !h.Done || h.Cookie != 5 {
		t.Errorf("%+v", h)
	}
	x.send(nbdproto.Request{Type: nbdproto.CmdBlockStatus, Offset: 64 << 10, Length: 512 << 10, Flags: nbdproto.ReqOne})
	h, b := x.take()
	if _, e, err := nbdproto.ParseExtents(b, 1<<20); err != nil || h.Type != nbdproto.ChunkBlockStatus || e != (nbdproto.Extent{Length: 512 << 10, Flags: nbdproto.StateHole | nbdproto.StateZero}) {
		t.Errorf("%+v, %v", e, err)
	}
	// What cannot be read to its end ends the connection.
	x.send(nbdproto.Request{Type: nbdproto.CmdWrite, Length: 33 << 20})
	x.take()
	if _, err := x.c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	if _, err := ro.c.Write(bytes.Repeat([]byte{1}, 64)); err != nil {
		t.Error(err)
	}
	if _, err := ro.c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
}

// TestDrain has clients at work while the graph changes.
func TestDrain(t *testing.T) {
	r := newRig(t)
	r.file("f", 4<<20, graph.Options{})
	r.start(ServerConfig{})
	r.export("e", "f")
	d := r.client("f")
	var tasks sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		tasks.Go(func() {
			b := make([]byte, 4096<<(i%6))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := errors.Join(d.Writev(int64(i)<<18, [][]byte{b}, 0), d.Readv(int64(i)<<18, [][]byte{b})); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 200 {
		n := r.g.Find("f")
		n.Drain()()
		c, err := n.Use(func() string { return "it" }, nil, graph.ConsistentRead, graph.AllPerms)
		r.must(err)
		r.must(c.Close())
	}
	close(stop)
	tasks.Wait()
	r.must(d.Close())
}

// TestHungUp has a client leave with a request under way: nobody uses the export any more, and
// it goes when the request has.
func TestHungUp(t *testing.T) {
	r := newRig(t)
	r.file("f", 4<<20, graph.Options{})
	r.start(ServerConfig{})
	r.export("e", "f")
	c := r.raw("f", "")
	q := nbdproto.Request{Type: nbdproto.CmdRead, Length: 512}
	c.send(q)
	c.take()
	goOn := sync.OnceFunc(r.g.Find("f").Drain())
	defer goOn()
	c.send(q)
	r.refused(r.Delete("e", false), "export 'e' still in use")
	r.must(c.c.Close())
	r.must(r.Delete("e", false))
	if l := r.List(); len(l) != 1 || !l[0].ShuttingDown {
		t.Errorf("%+v, with a request under way", l)
	}
	goOn()
	r.deleted("e")
}

// TestTools has clients that are not ours use an export.
func TestTools(t *testing.T) {
	r := newRig(t)
	path := r.file("f", 16<<20, graph.Options{Discard: true})
	r.start(ServerConfig{})
	r.export("e", "f")
	uri := r.uri("f")
	out := tool(t, "qemu-io", "-f", "raw", "-c", "write -P 7 1M 3M", "-c", "read -P 7 1M 3M", "-c", "write -P 9 1000 77", "-c", "read -P 9 1000 77", "-c", "write -z -u 2M 64k",
		"-c", "discard 3M 64k", "-c", "write -f -P 3 8M 512", "-c", "flush", "-c", "read -P 0 2M 64k", "-c", "aio_write -P 5 9M 1M", "-c", "aio_write -P 6 11M 1M", "-c", "aio_flush", uri)
	if strings.Contains(out, "fail") {
		t.Error(out)
	}
	out = tool(t, "nbdinfo", uri)
	for _, want := range []string{"export-size: 16777216", "can_multi_conn: true", "can_fast_zero: true", "base:allocation", "qemu:allocation-depth", "can_fua: true"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	if out := tool(t, "nbdinfo", "--map", uri); !strings.Contains(out, "3  hole,zero") || !strings.Contains(out, "0  data") {
		t.Error(out)
	}
	if out := tool(t, "nbdinfo", "--map=qemu:allocation-depth", uri); !strings.Contains(out, "1  local") {
		t.Error(out)
	}
	dir := t.TempDir()
	tool(t, "nbdcopy", uri, dir+"/copy")
	tool(t, "nbdcopy", "--flush", dir+"/copy", uri)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, dir+"/q")
	tool(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", dir+"/q", uri)
	tool(t, "cmp", dir+"/copy", path)
	if out := tool(t, "qemu-img", "map", "--output=json", uri); !strings.Contains(out, `"data": true`) || !strings.Contains(out, `"data": false`) {
		t.Error(out)
	}
	if out := tool(t, "qemu-nbd", "-L", "-k", r.socket); !strings.Contains(out, "exports available: 1") || !strings.Contains(out, "export: 'f'") {
		t.Error(out)
	}
}
