package formats

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hv/block/graph"
	"hv/block/throttle"
	"hv/qmp/qapi"
)

func ptr[T any](x T) *T { return &x }

func newOpener() *Opener {
	groups := &throttle.Groups{}
	if _, err := groups.Add("fast", throttle.None()); err != nil {
		panic(err)
	}
	return &Opener{Graph: &graph.Graph{}, OpenFile: os.OpenFile, Drive: func(string) *graph.Node { return nil }, Groups: groups}
}

func newImage(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func file(path string) *qapi.BlockdevOptions {
	return &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, File: &qapi.BlockdevOptionsFile{Filename: path}}
}

func raw(below qapi.BlockdevRef, offset, size *int64) *qapi.BlockdevOptions {
	return &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverRaw, Raw: &qapi.BlockdevOptionsRaw{File: below, Offset: offset, Size: size}}
}

func null(size int64) *qapi.BlockdevOptions {
	return &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverNullCo, NullCo: &qapi.BlockdevOptionsNull{Size: &size, ReadZeroes: ptr(true)}}
}

func TestRefusals(t *testing.T) {
	path := newImage(t)
	with := func(o *qapi.BlockdevOptions, edit func(o *qapi.BlockdevOptions)) *qapi.BlockdevOptions {
		edit(o)
		return o
	}
	inline := func(o *qapi.BlockdevOptions) qapi.BlockdevRef { return qapi.BlockdevRef{Definition: o} }
	for want, o := range map[string]*qapi.BlockdevOptions{
		"Could not open '/none': No such file or directory":                             file("/none"),
		"Could not open '/': Is a directory":                                            file("/"),
		"'file' driver requires '/dev/null' to be a regular file":                       file("/dev/null"),
		"'host_device' driver requires '" + path + "' to be either a":                   {Driver: qapi.BlockdevDriverHostDevice, HostDevice: &qapi.BlockdevOptionsFile{Filename: path}},
		"aio=native was specified, but it requires cache.direct=on":                     with(file(path), func(o *qapi.BlockdevOptions) { o.File.Aio = ptr(qapi.BlockdevAioOptionsNative) }),
		"force-share=on can only be used with read-only images":                         with(file(path), func(o *qapi.BlockdevOptions) { o.ForceShare = ptr(true) }),
		"detect-zeroes to unmap is not allowed":                                         with(file(path), func(o *qapi.BlockdevOptions) { o.DetectZeroes = ptr(qapi.BlockdevDetectZeroesOptionsUnmap) }),
		"Invalid node-name: '#x'":                                                       with(file(path), func(o *qapi.BlockdevOptions) { o.NodeName = ptr("#x") }),
		"node-name=d0 is conflicting with a device id":                                  with(file(path), func(o *qapi.BlockdevOptions) { o.NodeName = ptr("d0") }),
		"Cannot find device='x' nor node-name='x'":                                      raw(qapi.BlockdevRef{Reference: ptr("x")}, nil, nil),
		"Offset (2097152) cannot be greater than size of the containing file (1048576)": raw(inline(file(path)), ptr(int64(2<<20)), nil),
		"The sum of offset (512) and size (1048576) has to be smaller or equal":         raw(inline(file(path)), ptr(int64(512)), ptr(int64(1<<20))),
		"'offset'": raw(inline(file(path)), ptr(int64(-1)), nil),
		"negative": null(-1),
	} {
		x := newOpener()
		d0, err := x.Open(null(512))
		if err != nil {
			t.Fatal(err)
		}
		x.Drive = func(id string) *graph.Node {
			if id == "d0" {
				return d0
			}
			return nil
		}
		if _, err := x.Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if all := x.Graph.Nodes(); len(all) != 1 {
			t.Errorf("%s left %d nodes", want, len(all))
		}
	}
}

// TestInheritance looks at what a node described within another has from that.
func TestInheritance(t *testing.T) {
	path := newImage(t)
	o := raw(qapi.BlockdevRef{Definition: file(path)}, nil, nil)
	o.ReadOnly, o.ForceShare, o.Cache = ptr(true), ptr(true), &qapi.BlockdevCacheOptions{NoFlush: ptr(true)}
	x := newOpener()
	n, err := x.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	below := n.Children()[0].Node()
	if got := below.Options(); got != (graph.Options{ReadOnly: true, ForceShare: true, NoFlush: true, Discard: true}) {
		t.Errorf("below %+v", got)
	}
	if got := n.Options(); got.Discard || n.Filename() != path || n.Driver() != "raw" || below.Driver() != "file" {
		t.Errorf("above %+v", got)
	}
	if err := n.Unref(); err != nil || len(x.Graph.Nodes()) != 0 {
		t.Error(err)
	}
}

func TestReferences(t *testing.T) {
	x := newOpener()
	s := file(newImage(t))
	s.NodeName = ptr("s")
	storage, err := x.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	part, err := x.Open(raw(qapi.BlockdevRef{Reference: ptr("s")}, ptr(int64(4096)), ptr(int64(8192))))
	if err != nil {
		t.Fatal(err)
	}
	c, err := part.Use(func() string { return "it" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Writev(0, [][]byte{[]byte("here")}, graph.FUA); err != nil {
		t.Fatal(err)
	}
	host, err := os.ReadFile(s.File.Filename)
	if err != nil || string(host[4096:4100]) != "here" || c.Size() != 8192 {
		t.Errorf("%q, %v", host[4096:4100], err)
	}
	if err := c.WriteZeroes(4096, 4096, graph.MayUnmap); err != nil {
		t.Error(err)
	}
	if e, err := c.BlockStatus(0, 4096); err != nil || e.Status&graph.Data == 0 || e.Offset != 4096 {
		t.Errorf("%+v, %v", e, err)
	}
	if err := errors.Join(c.Discard(0, 4096), c.Flush()); err != nil {
		t.Error(err)
	}
	if err := part.Resize(512); err == nil || !strings.Contains(err.Error(), "Cannot resize fixed-size raw disks") {
		t.Error(err)
	}
	if err := errors.Join(storage.Unref(), c.Close(), part.Unref()); err != nil || len(x.Graph.Nodes()) != 0 {
		t.Error(err)
	}
}

func TestHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holes")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<20)); err != nil {
		t.Fatal(err)
	}
	n, err := newOpener().Open(file(path))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unref()
	c, err := n.Use(func() string { return "it" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Writev(512<<10, [][]byte{[]byte("data")}, 0); err != nil {
		t.Fatal(err)
	}
	e, err := c.BlockStatus(0, 1<<20)
	if err != nil || e.N != 512<<10 || e.Status&graph.Zero == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	e, err = c.BlockStatus(512<<10, 4)
	if err != nil || e.N != 4 || e.Status&graph.Data == 0 {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestNull(t *testing.T) {
	n, err := newOpener().Open(raw(qapi.BlockdevRef{Definition: null(1 << 20)}, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unref()
	c, err := n.Use(func() string { return "it" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := []byte{1, 2}
	if err := errors.Join(c.Writev(0, [][]byte{b}, 0), c.Readv(0, [][]byte{b}), c.WriteZeroes(0, 2, 0), c.Flush()); err != nil || b[0]|b[1] != 0 {
		t.Errorf("%v, %v", b, err)
	}
	if e, err := c.BlockStatus(0, 100); err != nil || e.Status&graph.Zero == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if size, ok := n.Allocated(); size != 0 || !ok || n.Filename() != `json:{"driver": "raw", "file": {"read-zeroes": true, "driver": "null-co", "size": 1048576}}` {
		t.Errorf("%d, %v, %s", size, ok, n.Filename())
	}
	if err := n.Resize(1); err == nil || !strings.Contains(err.Error(), "does not support resize") {
		t.Error(err)
	}
}

// TestAutoReadOnly opens a file for writing when somebody writes, with the locks that
// QEMU's tools see, and no longer than that.
func TestAutoReadOnly(t *testing.T) {
	path := newImage(t)
	s := file(path)
	s.AutoReadOnly = ptr(true)
	n, err := newOpener().Open(s)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unref()
	readOnly := func() bool { m, _ := n.Mapping(); return m.File.ReadOnly() }
	writes := func() bool { return exec.Command("qemu-io", "-f", "raw", "-c", "write 0 512", path).Run() == nil }
	if !readOnly() || !writes() {
		t.Error("a node without users is in the way")
	}
	for range 2 {
		c, err := n.Use(func() string { return "it" }, nil, graph.ConsistentRead|graph.Write, graph.ConsistentRead)
		if err != nil {
			t.Fatal(err)
		}
		if readOnly() || writes() {
			t.Error("two write at once")
		}
		if err := c.SetPerm(graph.ConsistentRead, graph.ConsistentRead|graph.Write); err != nil || !readOnly() || !writes() {
			t.Errorf("a reader that shares is in the way: %v", err)
		}
		if err := c.Close(); err != nil || !readOnly() || !writes() {
			t.Errorf("afterwards: %v", err)
		}
	}
}
