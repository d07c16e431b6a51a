package formats

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hv/block/blockopts"
	"hv/block/graph"
	"hv/block/qcow2"
	"hv/qmp/qapi"
)

// tool runs one of QEMU's tools in a folder.
func tool(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// described returns the node that options as on a command line describe.
func described(t testing.TB, options string) *qapi.BlockdevOptions {
	t.Helper()
	tree, err := blockopts.ParseJSON(options)
	if err != nil {
		t.Fatal(err)
	}
	var o qapi.BlockdevOptions
	if err := tree.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return &o
}

func open(t testing.TB, x *Opener, options string) *graph.Node {
	t.Helper()
	n, err := x.Open(described(t, options))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func user(t testing.TB, n *graph.Node, perm graph.Perm) *graph.Child {
	t.Helper()
	c, err := n.Use(func() string { return "it" }, nil, perm, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestQcow2Chain reads and writes a chain of three that is made by qemu-img, whose names
// are relative, and looks at it with QEMU afterwards.
func TestQcow2Chain(t *testing.T) {
	dir := t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "raw", "base.raw", "1M")
	tool(t, dir, "qemu-io", "-f", "raw", "-c", "write -P 1 0 1M", "base.raw")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "mid.qcow2")
	tool(t, dir, "qemu-io", "-c", "write -P 2 64k 64k", "mid.qcow2")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-b", `json:{"driver":"qcow2","file.driver":"file","file":{"filename":"`+dir+`/mid.qcow2"}}`, "-F", "qcow2", "-u", "top.qcow2", "1M")
	x := newOpener()
	n := open(t, x, `{"driver":"qcow2","node-name":"top","lazy-refcounts":true,"file":{"driver":"file","filename":"`+dir+`/top.qcow2"}}`)
	if all := x.Graph.Nodes(); len(all) != 6 {
		t.Errorf("%d nodes", len(all))
	}
	c := user(t, n, graph.ConsistentRead|graph.Write)
	got, want := make([]byte, 192<<10), bytes.Repeat([]byte{1}, 192<<10)
	copy(want[64<<10:], bytes.Repeat([]byte{2}, 64<<10))
	copy(want[100<<10:], bytes.Repeat([]byte{3}, 512))
	if err := errors.Join(c.Writev(100<<10, [][]byte{bytes.Repeat([]byte{3}, 512)}, 0), c.Readv(0, [][]byte{got})); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v", err)
	}
	if e, err := c.BlockStatus(64<<10, 192<<10); err != nil || e.Status&graph.Data == 0 || e.N != 64<<10 || e.Child == nil {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := exec.Command("qemu-io", "-c", "read 0 512", dir+"/top.qcow2").CombinedOutput(); err == nil {
		t.Error("the image is not locked")
	}
	if err := errors.Join(c.Flush(), c.Close(), n.Resize(2<<20), n.Unref()); err != nil || len(x.Graph.Nodes()) != 0 {
		t.Error(err)
	}
	tool(t, dir, "qemu-img", "check", "top.qcow2")
	out := tool(t, dir, "qemu-io", "-c", "read -P 3 100k 512", "-c", "read -P 2 64k 36k", "-c", "read -P 0 1M 1M", "top.qcow2")
	if strings.Contains(out, "failed") {
		t.Error(out)
	}
}

// forgetFormat has an image not say which format its backing file has.
func forgetFormat(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(b, []byte("\xe2\x79\x2a\xca")); i < 0 {
		t.Fatal("there is no format")
	} else {
		b[i] = 0xee
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestQcow2Children opens images with children that are said, not found, and with data
// files.
func TestQcow2Children(t *testing.T) {
	dir := t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-o", "data_file="+dir+"/data", "d.qcow2", "1M")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-b", "/nowhere", "-F", "raw", "-u", "b.qcow2", "1M")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-b", "d.qcow2", "-F", "qcow2", "-u", "p.qcow2", "1M")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-b", "p.qcow2", "-F", "qcow2", "-u", "-o", "compat=0.10", "q.qcow2", "1M")
	forgetFormat(t, dir+"/q.qcow2")
	file := func(name string) string { return `{"driver":"file","filename":"` + dir + "/" + name + `"}` }
	x := newOpener()
	for options, want := range map[string]string{
		`{"driver":"qcow2","file":` + file("d.qcow2") + `}`:                                                   "",
		`{"driver":"qcow2","file":` + file("d.qcow2") + `,"data-file":` + file("data") + `}`:                  "",
		`{"driver":"qcow2","file":` + file("b.qcow2") + `}`:                                                   "Could not open backing file: Could not open '/nowhere': No such file or directory",
		`{"driver":"qcow2","file":` + file("b.qcow2") + `,"backing":null}`:                                    "",
		`{"driver":"qcow2","file":` + file("b.qcow2") + `,"backing":{"driver":"null-co"}}`:                    "",
		`{"driver":"qcow2","file":` + file("b.qcow2") + `,"backing":"none"}`:                                  "Could not open backing file: Cannot find device='none' nor node-name='none'",
		`{"driver":"qcow2","file":` + file("b.qcow2") + `,"backing":null,"data-file":` + file("data") + `}`:   "'data-file' can only be set for images with an external data file",
		`{"driver":"qcow2","file":` + file("q.qcow2") + `}`:                                                   "",
		`{"driver":"qcow2","file":` + file("q.qcow2") + `,"lazy-refcounts":true}`:                             "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level",
		`{"driver":"qcow2","file":` + file("data") + `}`:                                                      "Image is not in qcow2 format",
		`{"driver":"qcow2","file":` + file("d.qcow2") + `,"overlap-check":"all","cache-clean-interval":"1"}`:  "",
		`{"driver":"qcow2","file":` + file("d.qcow2") + `,"overlap-check":{"template":"none","active-l1":1}}`: "",
		`{"driver":"qcow2","file":` + file("d.qcow2") + `,"cache-clean-interval":"-1"}`:                       "Cache clean interval too big",
		`{"driver":"qcow2","file":` + file("d.qcow2") + `,"l2-cache-size":-1}`:                                "'l2-cache-size'",
		`{"driver":"qcow2","file":` + file("d.qcow2") + `,"cache-size":"1M","l2-cache-size":"2M"}`:            "l2-cache-size may not exceed cache-size",
		`{"driver":"qcow2","file":` + file("d.qcow2") + `,"l2-cache-entry-size":"1000","read-only":"on"}`:     "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
	} {
		if strings.Contains(options, `"active-l1":1}`) {
			options = strings.Replace(options, `:1}`, `:true}`, 1)
		}
		n, err := x.Open(described(t, options))
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", options, err, want)
		case err == nil:
			if err := n.Unref(); err != nil {
				t.Error(err)
			}
		}
		if left := x.Graph.Nodes(); len(left) != 0 {
			t.Fatalf("%s: %d nodes are left", options, len(left))
		}
	}
}

// TestCorruption has a node fail its requests, and tell, when its image is damaged.
func TestCorruption(t *testing.T) {
	dir := t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "i.qcow2", "1M")
	tool(t, dir, "qemu-io", "-c", "write -P 1 0 64k", "i.qcow2")
	b, err := os.ReadFile(dir + "/i.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	l2 := int(b[0x30000+5])<<16 | int(b[0x30000+6])<<8 // L1 entry 0
	b[l2+5], b[l2+6] = 3, 0                            // data in the L1 table
	if err := os.WriteFile(filepath.Join(dir, "i.qcow2"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	x := newOpener()
	var told []qcow2.Corruption
	var who string
	x.Corrupted = func(node string, c qcow2.Corruption) { who, told = node, append(told, c) }
	n := open(t, x, `{"driver":"qcow2","file":{"driver":"file","filename":"`+dir+`/i.qcow2"}}`)
	c := user(t, n, graph.ConsistentRead|graph.Write)
	for range 2 {
		if err := c.Writev(0, [][]byte{make([]byte, 512)}, 0); err == nil {
			t.Error("metadata was written over")
		}
	}
	if len(told) != 1 || !told[0].Fatal || who != n.Name() {
		t.Errorf("%q: %+v", who, told)
	}
	if err := errors.Join(c.Close(), n.Unref()); err != nil {
		t.Error(err)
	}
	if out, _ := exec.Command("qemu-img", "info", dir+"/i.qcow2").CombinedOutput(); !strings.Contains(string(out), "corrupt: true") {
		t.Errorf("%s", out)
	}
}

// TestOwnBackingFile refuses images that lie below themselves.
func TestOwnBackingFile(t *testing.T) {
	dir := t.TempDir()
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "a.qcow2", "1M")
	tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", "a.qcow2", "b.qcow2")
	tool(t, dir, "qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "b.qcow2", "a.qcow2")
	x := newOpener()
	o := described(t, `{"driver":"qcow2","file":{"driver":"file","filename":"`+dir+`/b.qcow2"}}`)
	if _, err := x.Open(o); !errors.Is(err, errDepth) || len(err.Error()) > 200 {
		t.Error(err)
	}
	if left := x.Graph.Nodes(); len(left) != 0 {
		t.Errorf("%d nodes are left", len(left))
	}
}
