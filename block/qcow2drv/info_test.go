package qcow2drv_test

import (
	"path/filepath"
	"strings"
	"testing"

	"hv/block/bitmap"
	"hv/block/graph"
	"hv/block/qcow2drv"
	"hv/qmp/qapi"
)

func driver(t testing.TB, c *graph.Child) *qcow2drv.Driver {
	t.Helper()
	d, ok := graph.As[*qcow2drv.Driver](c.Node())
	if !ok {
		t.Fatal("it is no qcow2 node")
	}
	return d
}

// TestDescribe has each kind of image described.
func TestDescribe(t *testing.T) {
	for options, check := range map[string]func(i *qapi.ImageInfo, q *qapi.ImageInfoSpecificQCow2) bool{
		"compat=0.10": func(i *qapi.ImageInfo, q *qapi.ImageInfoSpecificQCow2) bool {
			return q.Compat == "0.10" && q.RefcountBits == 16 && q.LazyRefcounts == nil && *i.ClusterSize == 65536
		},
		"lazy_refcounts=on,refcount_bits=8,cluster_size=4k": func(i *qapi.ImageInfo, q *qapi.ImageInfoSpecificQCow2) bool {
			return q.Compat == "1.1" && *q.LazyRefcounts && q.RefcountBits == 8 && *i.ClusterSize == 4096 && !*q.Corrupt && !*q.ExtendedL2
		},
		"extended_l2=on,compression_type=zstd": func(_ *qapi.ImageInfo, q *qapi.ImageInfoSpecificQCow2) bool {
			return *q.ExtendedL2 && q.CompressionType == qapi.Qcow2CompressionTypeZstd && q.DataFile == nil
		},
	} {
		path := filepath.Join(t.TempDir(), "image")
		run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "1M")
		c, done := opened(t, path, "")
		var info qapi.ImageInfo
		driver(t, c).DescribeImage(&info)
		if info.FormatSpecific == nil || !check(&info, &info.FormatSpecific.Qcow2.Data) {
			t.Errorf("%s: %+v", options, info.FormatSpecific)
		}
		done()
	}
}

// TestBitmapsKept has QEMU's tool see what is kept of bitmaps, also after a resize.
func TestBitmapsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "1M")
	c, done := opened(t, path, "")
	for _, name := range []string{"a", "b"} {
		if _, err := c.Node().AddBitmap(bitmap.Config{Name: name, Granularity: 65536, Enabled: true, Persistent: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Writev(0, [][]byte{{1}}, 0); err != nil {
		t.Fatal(err)
	}
	done()
	if out := run(t, "qemu-img", "info", path); strings.Count(out, "granularity: 65536") != 2 || strings.Contains(out, "in-use") {
		t.Error(out)
	}
	c, done = opened(t, path, "")
	n := c.Node()
	if out := run(t, "qemu-img", "info", "-U", path); strings.Count(out, "in-use") != 2 {
		t.Error(out)
	}
	b := n.Bitmap("a")
	if b == nil || b.Count() != 65536 {
		t.Fatalf("%+v", b)
	}
	if err := n.ForgetBitmap(b); err != nil {
		t.Error(err)
	}
	n.DropBitmap(b)
	if err := n.Resize(2 << 20); err != nil {
		t.Error(err)
	}
	d := driver(t, c)
	for want, err := range map[string]error{
		"Granularity is under minimum (512 bytes)":       d.KeepsBitmap("c", 256, n.Bitmaps()),
		"Granularity exceeds maximum (2147483648 bytes)": d.KeepsBitmap("c", 4<<30, n.Bitmaps()),
		"Name length exceeds maximum (1023 characters)":  d.KeepsBitmap(strings.Repeat("c", 1024), 512, n.Bitmaps()),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	done()
	if out := run(t, "qemu-img", "info", path); strings.Count(out, "granularity: 65536") != 1 || !strings.Contains(out, "name: b") || !strings.Contains(out, "2 MiB") {
		t.Error(out)
	}
	run(t, "qemu-img", "check", "-q", path)
}

// TestAutoBacking follows what the image says of its backing file.
func TestAutoBacking(t *testing.T) {
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base"), filepath.Join(dir, "top")
	run(t, "qemu-img", "create", "-q", "-f", "raw", base, "1M")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", top)
	c, done := opened(t, top, "")
	defer done()
	d := driver(t, c)
	if d.AutoBacking() != base || c.Node().Filename() != top {
		t.Errorf("%s, %s", d.AutoBacking(), c.Node().Filename())
	}
	if err := d.SetBackingName("other", "raw"); err != nil || d.AutoBacking() != "other" || !strings.HasPrefix(c.Node().Filename(), "json:{") {
		t.Errorf("%v, %s, %s", err, d.AutoBacking(), c.Node().Filename())
	}
}
