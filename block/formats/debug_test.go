package formats

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/blockopts"
	"hv/block/blocktest"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// reports keeps what quorums and comparisons say.
type reports struct {
	mu    sync.Mutex
	lines []string
}

func (r *reports) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, s)
}

func (r *reports) Bad(e qapi.QuorumReportBadEvent)  { r.add("bad " + e.NodeName) }
func (r *reports) Failed(e qapi.QuorumFailureEvent) { r.add("failed " + e.Reference) }
func (r *reports) Mismatch(text string)             { r.add(text) }

// debugNode opens what JSON describes; FILE0 to FILE4 are new files of 1 MiB.
func debugNode(t testing.TB, x *Opener, text string) (*graph.Node, error) {
	t.Helper()
	for i := range 5 {
		name := "FILE" + string(rune('0'+i))
		if strings.Contains(text, name) {
			text = strings.ReplaceAll(text, name, newImage(t))
		}
	}
	if x.Quorum == nil {
		x.Quorum = &reports{}
	}
	return x.OpenNamed("json:"+text, blockopts.Tree{})
}

// TestDebugConformance has the drivers of this file go through the suite.
func TestDebugConformance(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		fixed bool
		slow  bool // requests may allocate
	}{
		"quorum": {`{"driver":"quorum","vote-threshold":2,"children":[{"driver":"raw","file":{"driver":"file","filename":"FILE0"}},
			{"driver":"file","filename":"FILE1"},{"driver":"file","filename":"FILE2"}]}`, true, true},
		"fifo":     {`{"driver":"quorum","vote-threshold":1,"read-pattern":"fifo","children":[{"driver":"file","filename":"FILE0"},{"driver":"file","filename":"FILE1"}]}`, true, true},
		"blkdebug": {`{"driver":"blkdebug","discard":"unmap","image":{"driver":"file","filename":"FILE0","discard":"unmap"}}`, false, false},
		"limits": {`{"driver":"blkdebug","discard":"unmap","align":4096,"max-transfer":8192,"opt-write-zero":16384,"max-write-zero":49152,
			"opt-discard":12288,"max-discard":36864,"image":{"driver":"file","filename":"FILE0","discard":"unmap"}}`, false, true},
		"blkverify":    {`{"driver":"blkverify","raw":{"driver":"file","filename":"FILE0"},"test":{"driver":"file","filename":"FILE1"}}`, true, true},
		"blklogwrites": {`{"driver":"blklogwrites","file":{"driver":"file","filename":"FILE0"},"log":{"driver":"file","filename":"FILE1"}}`, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			blocktest.Run(t, blocktest.Subject{Fixed: c.fixed, Allocates: c.slow, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
				x := newOpener()
				x.Graph = g
				n, err := debugNode(t, x, c.text)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}})
		})
	}
}

// TestDebugNames opens nodes that are described by little.
func TestDebugNames(t *testing.T) {
	dir := t.TempDir()
	config, image := filepath.Join(dir, "config"), newImage(t)
	if err := os.WriteFile(config, []byte("[inject-error]\nevent = \"read_aio\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := func(kv ...string) blockopts.Tree {
		t := blockopts.Tree{}
		for i := 0; i < len(kv); i += 2 {
			_ = t.Put(kv[i], kv[i+1])
		}
		return t
	}
	for _, c := range []struct {
		name  string
		tree  blockopts.Tree
		want  string // the drivers from the top, or an error
		shown string
	}{
		{"blkdebug:" + config + ":" + image, tree("driver", "raw"), "raw(blkdebug(file))", "blkdebug:" + config + ":" + image},
		{"blkdebug::" + image, tree(), "raw(blkdebug(file))", "blkdebug::" + image},
		{"blkverify:" + image + ":" + image + "2", tree("driver", "raw"), "Could not open", ""},
		{"blkverify:" + image + ":" + newImage(t), tree("driver", "raw"), "raw(blkverify(file raw(file)))", "-"},
		{"blkdebug:" + config, tree(), "blkdebug requires both config file and image path", ""},
		{"blkverify:" + config, tree(), "blkverify requires raw copy and original image path", ""},
		{"blkdebug:/none:" + image, tree(), "Could not read blkdebug config file: No such file or directory", ""},
		{image, tree("file.driver", "blkdebug", "file.inject-error.event", "l2_load"), "raw(blkdebug(file))", ""},
		{"", tree("driver", "raw", "file.driver", "blkdebug", "file.image.filename", image, "file.set-state.0.event", "none", "file.set-state.0.new_state", "3"),
			"raw(blkdebug(file))", ""},
		{"", tree("driver", "quorum", "vote-threshold", "1", "children.0.file.filename", image, "children.1.driver", "raw", "children.1.file.filename", newImage(t)),
			"quorum(raw(file) raw(file))", ""},
		{"", tree("driver", "quorum", "vote-threshold", "1"), "Number of provided children must be 1 or more", ""},
		{"", tree("driver", "quorum", "vote-threshold", "1", "children.1.file.filename", image), "Option children is not a valid array", ""},
		{"", tree("driver", "blkdebug"), `A block device must be specified for "image"`, ""},
		{"", tree("driver", "blkdebug", "image.filename", image, "align", "3"), "Cannot meet constraints with align 3", ""},
		{"", tree("driver", "blkdebug", "image.filename", image, "max-discard", "512", "opt-discard", "1024"), "Cannot meet constraints with max-discard 512", ""},
	} {
		x := newOpener()
		x.Quorum = &reports{}
		n, err := x.OpenNamed(c.name, c.tree)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %v: %v, want %s", c.name, c.tree, err, c.want)
			}
		} else {
			if got := shape(n); got != c.want || c.shown != "-" && n.Filename() != c.shown && (c.shown != "" || !strings.HasPrefix(n.Filename(), "json:{")) {
				t.Errorf("%s %v: %s, known by %q", c.name, c.tree, got, n.Filename())
			}
			err = n.Unref()
		}
		if left := len(x.Graph.Nodes()); left > 0 {
			t.Errorf("%s: %d nodes are left, %v", c.name, left, err)
		}
	}
}

// shape returns the drivers of a node and what is below it.
func shape(n *graph.Node) string {
	var below []string
	for _, c := range n.Children() {
		below = append(below, shape(c.Node()))
	}
	if below == nil {
		return n.Driver()
	}
	return n.Driver() + "(" + strings.Join(below, " ") + ")"
}

// debugUser is a front end of a node.
func debugUser(t testing.TB, n *graph.Node) *graph.Child {
	t.Helper()
	c, err := n.Use(func() string { return "a test" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), n.Unref()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestQuorumErrors has the children of a quorum fail by blkdebug.
func TestQuorumErrors(t *testing.T) {
	for _, c := range []struct {
		bad  int
		want error
		said string
	}{{1, nil, "bad n0"}, {2, nil, "bad n0,bad n1"}, {3, unix.EIO, "bad n0,bad n1,bad n2,failed q"}} {
		children := ""
		for i := range 5 {
			file := `{"driver":"file","filename":"FILE` + string(rune('0'+i)) + `"}`
			if i < c.bad {
				file = `{"driver":"blkdebug","inject-error":[{"event":"write_aio","sector":3},{"event":"write_aio","iotype":"flush"}],"image":` + file + `}`
			}
			children += `,{"driver":"raw","node-name":"n` + string(rune('0'+i)) + `","file":` + file + `}`
		}
		x, r := newOpener(), &reports{}
		x.Quorum = r
		n, err := debugNode(t, x, `{"driver":"quorum","node-name":"q","vote-threshold":3,"children":[`+children[1:]+`]}`)
		if err != nil {
			t.Fatal(err)
		}
		u := debugUser(t, n)
		if err := errors.Join(u.Flush(), u.Writev(8192, [][]byte{make([]byte, 1)}, 0)); err != nil || len(r.lines) > 0 {
			t.Errorf("%v, %v: there was nothing to flush", err, r.lines)
		}
		if err := u.Flush(); !errors.Is(err, c.want) || strings.Join(r.lines, ",") != strings.TrimSuffix(c.said, ",failed q") {
			t.Errorf("%d bad children: %v, %v", c.bad, err, r.lines)
		}
		r.lines = nil
		if err := u.Writev(1024, [][]byte{make([]byte, 1024)}, 0); !errors.Is(err, c.want) || strings.Join(r.lines, ",") != c.said {
			t.Errorf("%d bad children: %v, %v", c.bad, err, r.lines)
		}
	}
}

func TestVerifyDiffers(t *testing.T) {
	x, r := newOpener(), &reports{}
	x.Quorum = r
	n, err := debugNode(t, x, `{"driver":"blkverify","raw":{"driver":"file","filename":"FILE0"},
		"test":{"driver":"raw","file":{"driver":"blkdebug","inject-error":[{"event":"write_aio","sector":9}],"image":{"driver":"file","filename":"FILE1","node-name":"file"}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	u := debugUser(t, n)
	if err := u.Writev(8*512, [][]byte{bytes.Repeat([]byte{1}, 1024)}, 0); err == nil || r.lines[0] != "blkverify: write offset=4096 bytes=1024 return value mismatch -5 != 0" {
		t.Errorf("%v, %v", err, r.lines)
	}
	if err := u.Readv(4000, [][]byte{make([]byte, 500)}); err == nil || r.lines[1] != "blkverify: read offset=4000 bytes=500 contents mismatch at offset 4096" {
		t.Errorf("%v, %v", err, r.lines)
	}
}

// TestLogReplay plays a log of writes, and finds the node as it is.
func TestLogReplay(t *testing.T) {
	log, file := newImage(t), newImage(t)
	if err := os.Truncate(log, 0); err != nil {
		t.Fatal(err)
	}
	open := func(opts string) (*graph.Node, error) {
		return debugNode(t, newOpener(), `{"driver":"blklogwrites","discard":"unmap","file":{"driver":"file","discard":"unmap","filename":"`+file+`"},"log":{"driver":"file","filename":"`+log+`"}`+opts+`}`)
	}
	for i, opts := range []string{`,"log-sector-size":4096`, `,"log-append":true`} {
		n, err := open(opts)
		if err != nil {
			t.Fatal(err)
		}
		c, err := n.Use(func() string { return "a test" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
		if err != nil {
			t.Fatal(err)
		}
		at := int64(i) * 1 << 19
		err = errors.Join(c.Writev(at+100, [][]byte{bytes.Repeat([]byte{byte(7 + i)}, 9000)}, 0), c.WriteZeroes(at+4096, 4096, 0),
			c.Discard(at+8192, 4096), c.Flush(), c.Close(), n.Unref())
		if err != nil {
			t.Fatal(err)
		}
	}
	got, entries := replay(t, log)
	want, err := os.ReadFile(file)
	if err != nil || entries != 8 || !bytes.Equal(got, want) {
		t.Errorf("%v: %d entries; or they do not make the node", err, entries)
	}
	for opts, want := range map[string]string{
		`,"log-append":true,"log-sector-size":512`: "mutually exclusive", `,"log-sector-size":100`: "Invalid log sector size 100",
		`,"log-super-update-interval":0`: "Invalid log superblock update interval 0", `,"log-sector-size":0`: "Invalid log sector size 0",
	} {
		if _, err := open(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	damage(t, log, 4096+16, "Invalid flags 0xff in log entry 0", open)
	damage(t, log, 4096+8, "longer than the log", open)
	damage(t, log, 0, "Invalid log superblock magic", open)
	damage(t, log, 8, "Unsupported log version", open)
	damage(t, log, 19, "Failed to read log entry", open)
}

// damage has the log refused with 0xff at a place, and puts it right again.
func damage(t *testing.T, log string, at int64, want string, open func(string) (*graph.Node, error)) {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(data)
	for i := range int64(4) {
		if bad[at+i] = 0; i == 0 || at%4096 == 8 {
			bad[at+i] = 0xff
		}
	}
	if err := os.WriteFile(log, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(`,"log-append":true`); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if err := os.WriteFile(log, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replay returns what the entries of a log make of an empty disk of 1 MiB.
func replay(t *testing.T, log string) (disk []byte, entries uint64) {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	entries, size := le.Uint64(b[16:]), uint64(le.Uint32(b[24:]))
	disk = make([]byte, 1<<20)
	at := size
	for range entries {
		first, n, flags := le.Uint64(b[at:])*size, le.Uint64(b[at+8:])*size, le.Uint64(b[at+16:])
		at += size
		if flags&4 != 0 {
			clear(disk[first : first+n])
			continue
		}
		copy(disk[first:], b[at:at+n])
		at += n
	}
	return disk, entries
}

// TestCacheInherited has a node say one thing of caches, and have the other from above.
func TestCacheInherited(t *testing.T) {
	n, err := debugNode(t, newOpener(), `{"driver":"raw","cache":{"no-flush":true},"file":{"driver":"raw","cache":{"direct":false},"file":{"driver":"null-co"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	for at := n; ; at = at.Children()[0].Node() {
		if o := at.Options(); !o.NoFlush || o.Direct {
			t.Errorf("%s: %+v", at.Driver(), o)
		}
		if len(at.Children()) == 0 {
			break
		}
	}
	if err := n.Unref(); err != nil {
		t.Error(err)
	}
}
