package filedrv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/blocktest"
	"hv/block/graph"
	"hv/test/hvrun"
)

// file makes a file of some bytes.
func file(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, cfg Config) *Driver {
	t.Helper()
	if cfg.OpenFile == nil {
		cfg.OpenFile = os.OpenFile
	}
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func wants(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

// node has a driver be a node's.
func node(t testing.TB, g *graph.Graph, cfg Config) *graph.Node {
	t.Helper()
	cfg.OpenFile = os.OpenFile
	n, err := g.Open(graph.Spec{Driver: "file", Options: cfg.Options, Filename: func() string { return cfg.Path },
		Open: func([]*graph.Child) (graph.Driver, error) { return Open(cfg) }})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestConformance has each kind of I/O go through the suite.
func TestConformance(t *testing.T) {
	for name, cfg := range map[string]Config{
		"ring":          {},
		"threads":       {Threads: true},
		"write through": {WriteThrough: true, Threads: true},
		"direct":        {Options: graph.Options{Direct: true}},
		"unlocked auto": {Unlocked: true, AutoReadOnly: true},
		"no discards":   {Threads: true, Options: graph.Options{NoFlush: true}},
	} {
		cfg.Options.Discard = name != "no discards"
		again := func(t testing.TB, g *graph.Graph) *graph.Node { return node(t, g, cfg) }
		t.Run(name, func(t *testing.T) {
			blocktest.Run(t, blocktest.Subject{Again: again, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
				cfg.Path = file(t, bytes.Repeat([]byte("data"), 40<<10))
				return again(t, g)
			}})
		})
	}
}

// TestOpenErrors has files that are not what they should be.
func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	regular := file(t, nil)
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		cfg  Config
		want string
	}{
		{Config{Path: dir + "/none"}, "Could not open '" + dir + "/none': No such file or directory"},
		{Config{Path: dir, Options: graph.Options{ReadOnly: true}}, "Could not open '" + dir + "': Is a directory"},
		{Config{Path: dir}, "Could not open '" + dir + "': Is a directory"},
		{Config{Path: fifo}, "'file' driver requires '" + fifo + "' to be a regular file"},
		{Config{Path: "/dev/null"}, "'file' driver requires '/dev/null' to be a regular file"},
		{Config{Path: regular, Device: true}, "'host_device' driver requires '" + regular + "' to be either a character or block device"},
		{Config{Path: regular + "/x"}, "Not a directory"},
	} {
		before := descriptors(t)
		x.cfg.OpenFile = os.OpenFile
		d, err := Open(x.cfg)
		if err == nil {
			_ = d.Close()
		}
		if wants(t, err, x.want); descriptors(t) != before {
			t.Errorf("%+v leaves a file open", x.cfg)
		}
	}
}

// descriptors returns how many files are open.
func descriptors(t testing.TB) int {
	t.Helper()
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}

const rw = graph.ConsistentRead | graph.Write

// TestAutoReadOnly has a file be open for writing only while somebody writes.
func TestAutoReadOnly(t *testing.T) {
	d := open(t, Config{Path: file(t, make([]byte, 4096)), AutoReadOnly: true})
	before := descriptors(t)
	one := [][]byte{{1}}
	for _, x := range []struct {
		perm  graph.Perm
		write bool
	}{{0, false}, {graph.ConsistentRead, false}, {rw, true}, {rw | graph.Resize, true}, {graph.ConsistentRead, false},
		{graph.WriteUnchanged, true}, {0, false}, {graph.Resize, true}, {0, false}} {
		wants(t, d.Permit(x.perm, graph.AllPerms), "")
		if err := d.Writev(0, one, 0); (err == nil) != x.write {
			t.Errorf("%q: a write: %v", x.perm, err)
		}
		if err := d.Readv(0, [][]byte{make([]byte, 1)}); err != nil {
			t.Errorf("%q: a read: %v", x.perm, err)
		}
		if held, _ := d.file.Locks(); graph.Perm(held) != x.perm {
			t.Errorf("%q is locked as %q", x.perm, graph.Perm(held))
		}
		if descriptors(t) != before {
			t.Errorf("%q: %d files are open, and were %d", x.perm, descriptors(t), before)
		}
	}
}

// TestAutoReadOnlyFails has a file that cannot be opened for writing, or for reading alone.
func TestAutoReadOnlyFails(t *testing.T) {
	path := file(t, make([]byte, 512))
	refuse := os.O_RDWR
	opener := func(p string, flags int, perm os.FileMode) (*os.File, error) {
		if flags&(os.O_RDWR|os.O_WRONLY) == refuse {
			return nil, &os.PathError{Op: "open", Path: p, Err: unix.EACCES}
		}
		return os.OpenFile(p, flags, perm)
	}
	_, err := Open(Config{Path: path, OpenFile: opener})
	wants(t, err, "Could not open '"+path+"': Permission denied")
	d := open(t, Config{Path: path, AutoReadOnly: true, OpenFile: opener})
	wants(t, d.Permit(graph.ConsistentRead, graph.AllPerms), "")
	wants(t, d.Permit(rw, graph.AllPerms), "Permission denied")
	if held, _ := d.file.Locks(); graph.Perm(held) != graph.ConsistentRead || !d.file.ReadOnly() {
		t.Errorf("after a refusal it is locked for %q", graph.Perm(held))
	}
	wants(t, d.Close(), "")
	refuse = os.O_RDONLY // as with a descriptor for both
	d = open(t, Config{Path: path, AutoReadOnly: true, OpenFile: opener})
	for _, perm := range []graph.Perm{graph.ConsistentRead, rw, graph.ConsistentRead} {
		wants(t, d.Permit(perm, graph.AllPerms), "")
		if held, _ := d.file.Locks(); graph.Perm(held) != perm || d.file.ReadOnly() {
			t.Errorf("%q is locked as %q, read-only %v", perm, graph.Perm(held), d.file.ReadOnly())
		}
	}
}

// TestLocks has two have the same file, in all ways, like two processes.
func TestLocks(t *testing.T) {
	path := file(t, make([]byte, 512))
	a, b := open(t, Config{Path: path}), open(t, Config{Path: path, AutoReadOnly: true})
	names := map[graph.Perm]string{graph.ConsistentRead: "consistent read", graph.Write: "write", graph.WriteUnchanged: "write unchanged", graph.Resize: "resize"}
	for perm, name := range names {
		wants(t, a.Permit(perm, graph.AllPerms), "")
		wants(t, b.Permit(0, graph.AllPerms&^perm), fmt.Sprintf("Failed to get shared \"%s\" lock", name))
		wants(t, a.Permit(0, graph.AllPerms&^perm), "")
		wants(t, b.Permit(perm, graph.AllPerms), fmt.Sprintf("Failed to get \"%s\" lock", name))
		if held, not := b.file.Locks(); held != 0 || not != 0 {
			t.Errorf("%s: a refusal leaves locks %x, %x", name, held, not)
		}
		wants(t, b.Permit(graph.AllPerms&^perm, graph.AllPerms), "")
		wants(t, a.Permit(graph.AllPerms&^perm, graph.AllPerms&^perm), "")
		wants(t, errors.Join(a.Permit(0, graph.AllPerms), b.Permit(0, graph.AllPerms)), "")
	}
	c := open(t, Config{Path: path, Unlocked: true})
	wants(t, a.Permit(rw, 0), "")
	wants(t, c.Permit(rw, 0), "")
	wants(t, a.Close(), "")
	wants(t, b.Permit(graph.AllPerms, 0), "") // closing takes the locks off
}

// qemu runs a tool and returns what it says.
func qemu(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(hvrun.Tool(t, name), args...).CombinedOutput()
	return string(out), err
}

// TestLocksOfQEMU has QEMU's tools respect our locks, and us respect theirs.
func TestLocksOfQEMU(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if out, err := qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "4096"); err != nil {
		t.Fatal(out)
	}
	d := open(t, Config{Path: path, AutoReadOnly: true})
	for _, x := range []struct {
		perm, shared graph.Perm
		tool         []string
		want         string // nothing if it is to work
	}{
		{rw, graph.ConsistentRead | graph.WriteUnchanged, []string{"qemu-io", "-f", "raw", "-c", "write 0 0"}, `Failed to get "write" lock`},
		{rw, graph.AllPerms, []string{"qemu-img", "info"}, `Failed to get shared "write" lock`}, // an image must not change
		{rw, graph.AllPerms, []string{"qemu-img", "info", "-U"}, ""},
		{graph.Resize, graph.AllPerms, []string{"qemu-img", "check"}, `Failed to get shared "resize" lock`},
		{0, graph.AllPerms &^ graph.ConsistentRead, []string{"qemu-img", "check"}, `Failed to get "consistent read" lock`},
		{0, graph.AllPerms &^ graph.Resize, []string{"qemu-img", "resize", "-q", "-f", "qcow2"}, `Failed to get "resize" lock`},
		{graph.ConsistentRead, graph.AllPerms, []string{"qemu-io", "-c", "write -P 7 0 512"}, ""},
		{rw, graph.AllPerms, []string{"qemu-io", "-f", "raw", "-c", "read 0 512"}, ""},
	} {
		wants(t, d.Permit(x.perm, x.shared), "")
		args := append(slices.Clone(x.tool[1:]), path)
		if slices.Contains(args, "resize") {
			args = append(args, "8192")
		}
		out, err := qemu(t, x.tool[0], args...)
		if (err == nil) != (x.want == "") || !strings.Contains(out, x.want) {
			t.Errorf("%q sharing %q, %s: %v, %s", x.perm, x.shared, x.tool, err, out)
		}
	}
	wants(t, d.Permit(graph.ConsistentRead, graph.AllPerms), "")
	release := holdQEMU(t, path)
	wants(t, d.Permit(rw, graph.AllPerms), `Failed to get "write" lock`)
	wants(t, d.Permit(graph.ConsistentRead|graph.Resize, graph.AllPerms), `Failed to get "resize" lock`)
	wants(t, d.Permit(graph.ConsistentRead, graph.ConsistentRead), `Failed to get shared "write" lock`)
	wants(t, d.Permit(graph.ConsistentRead, graph.AllPerms), "")
	release()
	wants(t, d.Permit(rw, graph.ConsistentRead), "")
}

// holdQEMU has qemu-io have a file open for writing until the function is called.
func holdQEMU(t *testing.T, path string) (release func()) {
	t.Helper()
	c := exec.Command(hvrun.Tool(t, "qemu-io"), "-f", "qcow2", path)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "length")
	var seen []byte
	for b := make([]byte, 100); !bytes.Contains(seen, []byte("4 KiB")); {
		n, err := out.Read(b)
		if seen = append(seen, b[:n]...); err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
	}
	return func() {
		if err := errors.Join(in.Close(), c.Wait()); err != nil {
			t.Error(err)
		}
	}
}
