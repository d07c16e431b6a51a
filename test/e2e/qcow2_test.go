package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// image makes a qcow2 image of 8 MiB.
func qcow2Image(t testing.TB, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	args = append(append([]string{"create", "-f", "qcow2"}, args...), path, "8M")
	if out, err := exec.Command(hvrun.Tool(t, "qemu-img"), args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// checkImage has qemu-img look for damage and leaks.
func checkImage(t testing.TB, path string) {
	t.Helper()
	if out, err := exec.Command(hvrun.Tool(t, "qemu-img"), "check", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestQcow2 has a guest write to an overlay of an overlay of a raw image.
func TestQcow2(t *testing.T) {
	base := hvrun.Image(t, t.TempDir(), 8)
	mid := qcow2Image(t, "-b", base, "-F", "raw")
	top := qcow2Image(t, "-b", mid, "-F", "qcow2", "-o", "lazy_refcounts=on,extended_l2=on")
	node := fmt.Sprintf("driver=qcow2,node-name=top,l2-cache-size=64k,file.driver=file,file.filename=%s", top)
	v := start(t, bare(t, "blk.verify size=4M; blk.torture size=1M n=20; blk.discard sector=2048 size=1M; blk.flush; print=done; idle",
		"-blockdev", node, "-device", "virtio-blk-pci,drive=top")...)
	v.Expect(t, "guest: done")
	if strings.Contains(v.Output(), "error") {
		t.Error(v.Output())
	}
	v.do(t, "quit")
	v.ends(t, 0)
	checkImage(t, top)
}

// TestImageCorrupted has a guest write to an image whose data lies over its metadata.
func TestImageCorrupted(t *testing.T) {
	path := qcow2Image(t)
	if out, err := exec.Command(hvrun.Tool(t, "qemu-io"), "-c", "write 0 64k", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The first L2 entry, in the first table behind the L1 table, has data in that.
	if _, err := f.WriteAt([]byte{0x80, 0, 0, 0, 0, 3, 0, 0}, 0x40000); err != nil {
		t.Fatal(err)
	}
	v := start(t, bare(t, "blk.write expect=1; print=done; idle", "-S", "-blockdev", "node-name=d,driver=qcow2,file.driver=file,file.filename="+path, "-device", "virtio-blk-pci,drive=d")...)
	v.do(t, "cont")
	var e qapi.BlockImageCorruptedEvent
	if err := e.DecodeQAPI(v.event(t, "BLOCK_IMAGE_CORRUPTED").Data); err != nil {
		t.Fatal(err)
	}
	if *e.NodeName != "d" || *e.Offset != 0x30000 || *e.Size != 512 || !e.Fatal || e.Msg != "Preventing invalid write on metadata (overlaps with active L1 table)" {
		t.Errorf("%+v", e)
	}
	v.Expect(t, "guest: done")
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestDriveImages has -drive find formats and backing files, in the several ways to name
// them, and keep what a guest writes from an image.
func TestDriveImages(t *testing.T) {
	base := hvrun.Image(t, t.TempDir(), 8)
	overlay := qcow2Image(t, "-b", base, "-F", "raw")
	before, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct{ drive, want, refused string }{
		{"file=" + overlay, "qcow2 file raw file", ""},
		{"file=" + overlay + ",driver=qcow2,cache=none,l2-cache-size=64k", "qcow2 file raw file", ""},
		{"file.filename=" + overlay + ",backing.driver=null-co,backing.size=1M", "qcow2 file null-co", ""},
		{"file=" + overlay + ",backing.file.locking=off,read-only=on", "qcow2 file raw file", ""},
		{`file=json:{"driver":"raw","file.filename":"` + base + `","size":"1M"}`, "raw file", ""},
		{"file=file:" + base + ",format=raw,aio=threads,discard=off,cache=unsafe", "raw file", ""},
		{"driver=null-co,size=1M", "null-co", ""},
		{"file=" + overlay + ",format=none", "", "Unknown driver 'none'"},
		{"file=" + overlay + ",colour=red", "", "Block format 'qcow2' does not support the option 'colour'"},
		{"file=" + overlay + ",file.colour=red", "", "Block protocol 'file' doesn't support the option 'colour'"},
		{"file=" + base + ",format=raw,backing.file.filename=" + base, "", "Driver doesn't support backing files"},
		{"file=telepathy:x", "", "Unknown protocol 'telepathy'"},
		{"file=json:{,format=raw", "", "Could not parse the JSON options"},
		{"file=" + overlay + ",node-name=1", "", "Invalid node-name: '1'"},
	} {
		args := bare(t, "spin", "-drive", strings.ReplaceAll(c.drive, `","`, `",,"`)+",if=none,id=d")
		if c.refused != "" {
			p := hvrun.Start(t, hvrun.Binary(t), args...)
			if p.Wait(t); !strings.Contains(p.Output(), c.refused) {
				t.Errorf("%s: %s", c.drive, p.Output())
			}
			continue
		}
		v := start(t, args...)
		if got := strings.Join(drivers(t, v), " "); got != c.want {
			t.Errorf("%s: %s, not %s", c.drive, got, c.want)
		}
		v.do(t, "quit")
		v.ends(t, 0)
	}
	v := start(t, bare(t, "blk.verify size=4M; print=done; idle", "-snapshot", "-drive", "if=virtio,file="+overlay)...)
	v.Expect(t, "guest: done")
	if got := strings.Join(drivers(t, v), " "); got != "qcow2 file qcow2 file raw file" || strings.Contains(v.Output(), "error") {
		t.Errorf("%s\n%s", got, v.Output())
	}
	v.do(t, "quit")
	v.ends(t, 0)
	if after, err := os.ReadFile(overlay); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the image was written to (%v)", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", err, left)
	}
}

// drivers returns the drivers of a drive's nodes, from the top down.
func drivers(t *testing.T, v *vm) []string {
	t.Helper()
	var out []string
	var walk func(s *qapi.BlockStats)
	kinds := map[string]string{}
	for _, n := range ask(t, v, qapi.CmdQueryNamedBlockNodes, qapi.QueryNamedBlockNodesArgs{}) {
		kinds[*n.NodeName] = n.Drv
	}
	walk = func(s *qapi.BlockStats) {
		out = append(out, kinds[*s.NodeName])
		for _, below := range []*qapi.BlockStats{s.Parent, s.Backing} {
			if below != nil {
				walk(below)
			}
		}
	}
	for _, s := range ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{}) {
		walk(&s)
	}
	return out
}
