package formats

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/blockopts"
	"hv/block/graph"
)

// TestGuessed keeps those who write to an image whose format was guessed from having it
// be taken for another one the next time.
func TestGuessed(t *testing.T) {
	for _, given := range []bool{false, true} {
		path := newImage(t)
		x := newOpener()
		warned := ""
		x.Warn = func(text string) { warned += text }
		options := blockopts.Tree{}
		if given {
			options["driver"] = "raw"
		}
		n, err := x.OpenNamed(path, options)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(warned, path) == given {
			t.Errorf("format given: %v, warned %q", given, warned)
		}
		if _, direct := n.Mapping(); direct != given {
			t.Errorf("format given: %v, straight to the file: %v", given, direct)
		}
		c := user(t, n, graph.ConsistentRead|graph.Write)
		header := append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 1016)...)
		want := error(unix.EPERM)
		if given {
			want = nil
		}
		for _, v := range [][][]byte{{header}, {header[:3], header[3:512]}, {header[:4]}} {
			if err := c.Writev(0, v, 0); !errors.Is(err, want) {
				t.Errorf("format given: %v, the header in %d parts: %v", given, len(v), err)
			}
		}
		for _, off := range []int64{0, 1, 512} {
			if err := c.Writev(off, [][]byte{bytes.Repeat([]byte{7}, 600)}, 0); err != nil {
				t.Errorf("at %d: %v", off, err)
			}
		}
		if err := c.Writev(512, [][]byte{header}, 0); err != nil {
			t.Error(err)
		}
		if err := errors.Join(c.Close(), n.Unref()); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(path); err != nil || b[0] != 7 || !bytes.Equal(b[512:1536], header) {
			t.Errorf("%.8q, %v", b, err)
		}
	}
}

// TestIncomplete looks at what is said of options that do not make a node.
func TestIncomplete(t *testing.T) {
	backing := blockopts.Tree{"driver": "file", "filename": "x"}
	for _, c := range []struct {
		options blockopts.Tree
		want    string
	}{
		{blockopts.Tree{"driver": "file"}, "The 'file' block driver requires a file name"},
		{blockopts.Tree{"driver": "file", "filename": ""}, "The 'file' block driver requires a file name"},
		{blockopts.Tree{"file": blockopts.Tree{"driver": "file"}}, "The 'file' block driver requires a file name"},
		{blockopts.Tree{"driver": "raw"}, `A block device must be specified for "file"`},
		{blockopts.Tree{"file": blockopts.Tree{"driver": "raw"}}, `A block device must be specified for "file"`},
		{blockopts.Tree{"driver": "qcow2"}, `A block device must be specified for "file"`},
		{blockopts.Tree{"driver": "file", "filename": "x", "backing": backing}, "Driver doesn't support backing files"},
		{blockopts.Tree{"driver": "null-co", "backing": backing}, "Driver doesn't support backing files"},
		{blockopts.Tree{"driver": "null-co", "unknown": "1"}, "Block protocol 'null-co' doesn't support the option 'unknown'"},
	} {
		n, err := newOpener().OpenNamed("", c.options)
		if err == nil || err.Error() != c.want {
			t.Errorf("%v: %v, want %s", c.options, err, c.want)
		}
		if n != nil {
			_ = n.Unref()
		}
	}
}

// TestTemporary has a drive with snapshot=on keep what is written in a file that goes with it.
func TestTemporary(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	x := newOpener()
	n, err := x.OpenDrive("", blockopts.Tree{"driver": "null-co"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if name := n.Filename(); !regexp.MustCompile(`/vl\.[A-Z0-9]{6}"`).MatchString(name) {
		t.Errorf("the node is called %s", name)
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) != 0 {
		t.Errorf("%v, %v", l, err)
	}
	if err := n.Unref(); err != nil {
		t.Error(err)
	}
	t.Setenv("TMPDIR", "/nonexistent")
	_, err = x.OpenDrive("", blockopts.Tree{"driver": "null-co"}, true)
	if err == nil || !regexp.MustCompile(`^Could not open temporary file '/nonexistent/vl\.[A-Z0-9]{6}': No such file or directory$`).MatchString(err.Error()) {
		t.Error(err)
	}
}
