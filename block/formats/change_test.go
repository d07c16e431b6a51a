package formats

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hv/block/blockopts"
	"hv/block/graph"
	"hv/block/throttle"
	"hv/qmp/qapi"
)

// chain is an opener with hd0, hd1 and hd2, qcow2 images on files hd0-file and so on.
type chain struct {
	*Opener
	paths [3]string
}

func newChain(t *testing.T) *chain {
	t.Helper()
	x := &chain{Opener: newOpener()}
	x.Groups = &throttle.Groups{}
	for i := range x.paths {
		x.paths[i] = filepath.Join(t.TempDir(), fmt.Sprintf("hd%d.img", i))
		x.make(t, x.paths[i], fmt.Sprintf(`"size":%d`, 1<<20))
	}
	t.Cleanup(func() {
		if err := x.Graph.Close(); err != nil || len(x.Graph.Nodes()) != 0 {
			t.Errorf("%v; left are %d nodes", err, len(x.Graph.Nodes()))
		}
	})
	return x
}

// make makes an image, with options in JSON.
func (x *chain) make(t *testing.T, path, options string) {
	t.Helper()
	for _, o := range []string{
		fmt.Sprintf(`{"driver":"file","filename":%q,"size":0}`, path),
		fmt.Sprintf(`{"driver":"qcow2","file":{"driver":"file","filename":%q},%s}`, path, options),
	} {
		if err := x.creates(t, o); err != nil {
			t.Fatal(err)
		}
	}
}

// creates does what a job of blockdev-create does.
func (x *chain) creates(t *testing.T, options string) error {
	t.Helper()
	tree, err := blockopts.ParseJSON(options)
	if err != nil {
		t.Fatal(err)
	}
	var o qapi.BlockdevCreateOptions
	if err := tree.Decode(&o); err != nil {
		t.Fatalf("%s: %v", options, err)
	}
	c, err := x.Create(&o)
	if err != nil {
		return err
	}
	return errors.Join(c.Run(func() error { return nil }), c.Close())
}

// hd describes one of the images, with more in JSON.
func (x *chain) hd(i int, more string) string {
	return fmt.Sprintf(`{"driver":"qcow2","node-name":"hd%d","file":{"driver":"file","node-name":"hd%d-file","filename":%q}%s}`, i, i, x.paths[i], more)
}

func (x *chain) add(t *testing.T, options string) *graph.Node {
	t.Helper()
	n, err := x.Open(described(t, options))
	if err != nil {
		t.Fatal(err)
	}
	n.Own()
	return n
}

// reopen wants an error, or none if that is empty.
func (x *chain) reopen(t *testing.T, want string, options ...string) {
	t.Helper()
	var list []qapi.BlockdevOptions
	for _, o := range options {
		list = append(list, *described(t, o))
	}
	before := x.shape()
	err := x.Reopen(list)
	if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
		t.Errorf("%v, want %q for %s", err, want, options)
	}
	if got := x.shape(); err != nil && got != before {
		t.Errorf("%v: %s\nwas %s", err, got, before)
	}
}

// shape shows all nodes with what can be changed of them.
func (x *chain) shape() string {
	var s []string
	for _, n := range x.Graph.Nodes() {
		one := fmt.Sprintf("%s%+v", n.Name(), n.Options())
		for _, c := range n.Children() {
			perm, shared := c.Perms()
			one += fmt.Sprintf(" %s=%s(%s, %s)", c.Name(), c.Node().Name(), perm, shared)
		}
		s = append(s, one)
	}
	return strings.Join(s, "\n")
}

// TestReopenOptions changes what can be changed of one image, and tries what cannot.
func TestReopenOptions(t *testing.T) {
	x := newChain(t)
	n := x.add(t, x.hd(0, ""))
	opened := x.shape()
	x.reopen(t, "", x.hd(0, ""))
	x.reopen(t, "", `{"driver":"qcow2","node-name":"hd0","file":"hd0-file"}`)
	if got := x.shape(); got != opened {
		t.Errorf("%s\nwas %s", got, opened)
	}
	for options, want := range map[string]string{
		x.hd(1, ""):                            "Failed to find node with node-name='hd1'",
		`{"driver":"qcow2","file":"hd0-file"}`: "node-name not specified",
		`{"driver":"raw","node-name":"hd0","file":"hd0-file"}`:                                              "Cannot change the option 'driver'",
		`{"driver":"qcow2","node-name":"hd0","file":"not-found"}`:                                           "Cannot find device='' nor node-name='not-found'",
		`{"driver":"qcow2","node-name":"hd0","file":{"driver":"file","node-name":"other","filename":"/x"}}`: "Cannot change the option 'node-name'",
		`{"driver":"qcow2","node-name":"hd0","file":{"driver":"host_device","filename":"/x"}}`:              "Cannot change the option 'driver'",
		`{"driver":"qcow2","node-name":"hd0","file":{"driver":"file","filename":"/x"}}`:                     "Cannot change the option 'filename'",
		x.hd(0, `,"force-share":true`):                                                                      "Cannot change the option 'force-share'",
		x.hd(0, `,"detect-zeroes":"unmap"`):                                                                 "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
		x.hd(0, `,"l2-cache-entry-size":131072`):                                                            "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
		x.hd(0, `,"backing":"hd0"`):                                                                         "Making 'hd0' a backing child of 'hd0' would create a cycle",
		x.hd(0, `,"backing":"not-found"`):                                                                   "Cannot find device='' nor node-name='not-found'",
		strings.Replace(x.hd(0, ""), `"filename"`, `"aio":"threads","filename"`, 1):                         "Cannot change the option 'aio'",
		strings.Replace(x.hd(0, ""), `"filename"`, `"locking":"off","filename"`, 1):                         "Cannot change the option 'locking'",
	} {
		x.reopen(t, want, options)
	}
	x.reopen(t, "", x.hd(0, `,"read-only":true`))
	if file := n.Child("file").Node(); !n.Options().ReadOnly || !file.Options().ReadOnly {
		t.Error(x.shape())
	}
	x.reopen(t, "", x.hd(0, `,"cache":{"no-flush":true},"detect-zeroes":"unmap","discard":"unmap","l2-cache-size":1048576`))
	if o := n.Options(); o.ReadOnly || !o.NoFlush || !o.UnmapZeroes || !o.Discard || !n.Child("file").Node().Options().NoFlush {
		t.Error(x.shape())
	}
	x.reopen(t, "", x.hd(0, ""))
	if got := x.shape(); got != opened {
		t.Errorf("%s\nwas %s", got, opened)
	}
}

// TestReopenLost looks that options which stay as they are have to be said again.
func TestReopenLost(t *testing.T) {
	x := newChain(t)
	locked := strings.Replace(x.hd(0, ""), `"filename"`, `"locking":"off","filename"`, 1)
	x.add(t, locked)
	x.reopen(t, "Option 'locking' cannot be reset to its default value", x.hd(0, ""))
	x.reopen(t, "", locked)
	x.reopen(t, "", `{"driver":"qcow2","node-name":"hd0","file":"hd0-file"}`)
	x.reopen(t, "", locked)
}

// TestReopenFixed has drivers that take no other options of their own.
func TestReopenFixed(t *testing.T) {
	x := newChain(t)
	x.add(t, x.hd(1, ""))
	bd := func(more string) string {
		return `{"driver":"blkdebug","node-name":"bd","image":` + x.hd(0, "") + more + `}`
	}
	x.add(t, bd(`,"config":"/dev/null"`))
	x.reopen(t, "", bd(`,"config":"/dev/null"`))
	x.reopen(t, "Cannot change the option 'image'", `{"driver":"blkdebug","node-name":"bd","config":"/dev/null","image":"hd1"}`)
	x.reopen(t, "Cannot change the option 'align'", bd(`,"config":"/dev/null","align":4096`))
	x.reopen(t, "Cannot change the option 'config'", bd(`,"config":"/none"`))
	x.reopen(t, "Option 'config' cannot be reset to its default value", bd(""))
	x.add(t, `{"driver":"null-co","node-name":"null","size":1024}`)
	x.reopen(t, "", `{"driver":"null-co","node-name":"null","size":1024,"read-only":true}`)
	x.reopen(t, "Cannot change the option 'size'", `{"driver":"null-co","node-name":"null","size":1073741824}`)
	x.reopen(t, "Option 'size' cannot be reset to its default value", `{"driver":"null-co","node-name":"null"}`)
	if _, err := x.Groups.Add("g1", throttle.None()); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Groups.Add("g2", throttle.None()); err != nil {
		t.Fatal(err)
	}
	limited := func(group string) string {
		return fmt.Sprintf(`{"driver":"throttle","node-name":"limited","throttle-group":%q,"file":"hd1"}`, group)
	}
	x.add(t, limited("g1"))
	x.reopen(t, "Throttle group 'none' does not exist", limited("none"))
	x.reopen(t, "", limited("g2"))
	if x.Groups.Remove(x.Groups.Find("g2")) || !x.Groups.Remove(x.Groups.Find("g1")) {
		t.Error("the group is the old one")
	}
	x.add(t, `{"driver":"quorum","node-name":"q","vote-threshold":1,"children":[{"driver":"null-co","node-name":"c1","size":512}]}`)
	x.reopen(t, "Block format 'quorum' used by node 'q' does not support reopening files", `{"driver":"quorum","node-name":"q","vote-threshold":1,"children":["c1"]}`)
}

// TestReopenBacking changes chains of images.
func TestReopenBacking(t *testing.T) {
	x := newChain(t)
	none := `,"backing":null`
	for i := range 3 {
		x.add(t, x.hd(i, none))
	}
	x.reopen(t, "", x.hd(0, `,"backing":"hd1"`))
	x.reopen(t, "", x.hd(2, `,"backing":"hd1"`))
	x.reopen(t, "Making 'hd2' a backing child of 'hd1' would create a cycle", x.hd(1, `,"backing":"hd2"`))
	x.reopen(t, "", x.hd(2, `,"backing":"hd0"`))
	x.reopen(t, "Making 'hd2' a backing child of 'hd1' would create a cycle", x.hd(1, `,"backing":"hd2"`))
	x.reopen(t, "backing is missing for 'hd2'", x.hd(2, ""))
	x.reopen(t, "Cannot change the option 'backing.driver'", x.hd(2, `,"backing":{"driver":"qcow2","file":"hd0-file"}`))
	if err := x.Graph.Remove("hd0"); err == nil || err.Error() != "Node 'hd0' is busy: node is used as backing hd of 'hd2'" {
		t.Error(err)
	}
	x.reopen(t, "", x.hd(0, none), x.hd(2, none))
	x.reopen(t, "", x.hd(0, ""))
	// Files can be swapped, but not shared.
	const conflict = "Permission conflict on node 'hd2-file': permissions 'write, resize' are both required by node 'hd2' (uses node 'hd2-file' as 'file' child)" +
		" and unshared by node 'hd0' (uses node 'hd2-file' as 'file' child)."
	swap := func(i, k int) string {
		return fmt.Sprintf(`{"driver":"qcow2","node-name":"hd%d","file":"hd%d-file"}`, i, k)
	}
	x.reopen(t, conflict, swap(0, 2))
	x.reopen(t, "", swap(0, 2), swap(2, 0))
	if n := x.Graph.Find("hd0"); n.Child("file").Node().Name() != "hd2-file" {
		t.Error(x.shape())
	}
	x.reopen(t, "", swap(0, 0), swap(2, 2))
}

// TestReopenDefaultBacking has an image that names its backing file.
func TestReopenDefaultBacking(t *testing.T) {
	x := newChain(t)
	x.make(t, x.paths[1], fmt.Sprintf(`"size":1048576,"backing-file":%q,"backing-fmt":"qcow2"`, x.paths[0]))
	n := x.add(t, x.hd(1, `,"detect-zeroes":"on"`))
	below := n.Backing().Node().Name()
	x.reopen(t, "backing is missing for 'hd1'", x.hd(1, ""))
	x.reopen(t, "", x.hd(1, fmt.Sprintf(`,"backing":{"driver":"qcow2","detect-zeroes":"on","file":{"driver":"file","filename":%q}}`, x.paths[0])))
	if !n.Backing().Node().Options().DetectZeroes || n.Options().DetectZeroes {
		t.Error(x.shape())
	}
	x.reopen(t, "", x.hd(1, fmt.Sprintf(`,"backing":%q`, below))) // keeps what was said of it
	if !n.Backing().Node().Options().DetectZeroes || !n.Backing().Node().Options().ReadOnly {
		t.Error(x.shape())
	}
	x.reopen(t, "", x.hd(1, `,"backing":null`))
	if x.Graph.Find(below) != nil || n.Backing() != nil {
		t.Error(x.shape())
	}
	x.reopen(t, "backing is missing for 'hd1'", x.hd(1, ""))
}

// TestReopenRaw moves a window over a file, with data in it.
func TestReopenRaw(t *testing.T) {
	x := newChain(t)
	path := newImage(t)
	if err := os.WriteFile(path, append(make([]byte, 512), []byte(strings.Repeat("x", 1024))...), 0o600); err != nil {
		t.Fatal(err)
	}
	window := func(offset int) string {
		return fmt.Sprintf(`{"driver":"raw","node-name":"r","offset":%d,"file":{"driver":"file","filename":%q}}`, offset, path)
	}
	n := x.add(t, window(0))
	c, err := n.Use(func() string { return "it" }, nil, graph.ConsistentRead, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for offset, want := range map[int]byte{0: 0, 512: 'x'} {
		x.reopen(t, "", window(offset))
		b := []byte{1}
		if err := c.Readv(0, [][]byte{b}); err != nil || b[0] != want {
			t.Errorf("%d at %d, %v", b[0], offset, err)
		}
	}
	x.reopen(t, "Offset (4096) cannot be greater than size of the containing file (1536)", window(4096))
}

// TestOverlay makes images over others, as QEMU's own tool would.
func TestOverlay(t *testing.T) {
	x := newChain(t)
	n := x.add(t, x.hd(0, `,"discard":"unmap","cache":{"no-flush":true}`))
	said := ""
	x.Said = func(text string) { said += text }
	path := filepath.Join(t.TempDir(), "over")
	o, err := x.Overlay(Overlay{File: path, Format: "qcow2", NodeName: "over", Make: true}, n)
	if err != nil {
		t.Fatal(err)
	}
	if o.Backing() != nil || !o.Options().Discard || !o.Options().NoFlush || o.Name() != "over" ||
		!strings.HasPrefix(said, "Formatting '"+path+"', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 backing_file="+x.paths[0]+" backing_fmt=qcow2") {
		t.Errorf("%+v %s", o.Options(), said)
	}
	if err := x.Graph.Append(o, n); err != nil {
		t.Fatal(err)
	}
	if err := x.SetReadOnly(n, true); err != nil || !n.Options().ReadOnly || !n.Child("file").Node().Options().ReadOnly || o.Backing().Node() != n {
		t.Errorf("%v\n%s", err, x.shape())
	}
	o.Own()
	if out, err := exec.Command("qemu-img", "info", "-U", "--backing-chain", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "image: "+x.paths[0]) {
		t.Errorf("%v: %s", err, out)
	}
	for want, bad := range map[string]Overlay{
		"Unknown file format 'x'": {File: path, Format: "x", Make: true},
		"Unknown driver 'x'":      {File: path, Format: "x"},
		"Format driver 'null-co' does not support image creation":                     {File: path, Format: "null-co", Make: true},
		"Backing file not supported for file format 'raw'":                            {File: path, Format: "raw", Make: true},
		"Error: Trying to create an image with the same filename as the backing file": {File: path, Format: "qcow2", Make: true},
	} {
		if _, err := x.Overlay(bad, o); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	x.Graph.Remove("over")
}

// TestCreateQcow2 tries the options of images.
func TestCreateQcow2(t *testing.T) {
	x := newChain(t)
	for options, want := range map[string]string{
		`"size":1048576`: "",
		`"size":1048576,"version":"v2","cluster-size":4096`:                             "",
		`"size":1048576,"extended-l2":true,"compression-type":"zstd","refcount-bits":1`: "",
		`"size":1048576,"preallocation":"metadata","lazy-refcounts":true`:               "",
		`"size":513`:                                         "Image size must be a multiple of 512 bytes",
		`"size":18446744073709551104`:                        "Could not resize image: Image size cannot be negative",
		`"size":9223372036854775296`:                         "Could not resize image: offset(9223372036854775296) exceeds maximum(9223372035781033984)",
		`"size":9223372035781033472`:                         "Could not resize image: Failed to grow the L1 table: File too large",
		`"size":0,"version":"v2","lazy-refcounts":true`:      "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)",
		`"size":0,"version":"v2","refcount-bits":8`:          "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)",
		`"size":0,"refcount-bits":128`:                       "Refcount width must be a power of two and may not exceed 64 bits",
		`"size":0,"cluster-size":1234`:                       "Cluster size must be a power of two between 512 and 2048k",
		`"size":0,"backing-fmt":"qcow2"`:                     "Backing format cannot be used without backing file",
		`"size":0,"data-file-raw":true`:                      "data-file-raw requires data-file",
		`"size":0,"backing-file":"x","preallocation":"full"`: "Backing file and preallocation can only be used at the same time if extended_l2 is on",
	} {
		path := filepath.Join(t.TempDir(), "new")
		if err := x.creates(t, fmt.Sprintf(`{"driver":"file","filename":%q,"size":0}`, path)); err != nil {
			t.Fatal(err)
		}
		err := x.creates(t, fmt.Sprintf(`{"driver":"qcow2","file":{"driver":"file","filename":%q},%s}`, path, options))
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%v, want %q for %s", err, want, options)
		}
		if err != nil {
			continue
		}
		if out, err := exec.Command("qemu-img", "check", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", options, err, out)
		}
	}
	if err := x.creates(t, `{"driver":"qcow2","file":"none","size":0}`); err == nil || err.Error() != "Cannot find device='none' nor node-name='none'" {
		t.Error(err)
	}
}
