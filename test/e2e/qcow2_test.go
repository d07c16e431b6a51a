package e2e

import (
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
