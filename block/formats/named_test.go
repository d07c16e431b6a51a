package formats

import (
	"bytes"
	"errors"
	"os"
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
