package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// tell runs one of QEMU's tools and returns what it says.
func tell(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(hvrun.Tool(t, program), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", program, args, err, out)
	}
	return string(out)
}

// kept starts a guest on a qcow2 image.
func kept(t *testing.T, image string) (*vm, *shell) {
	t.Helper()
	return startShell(t, "-blockdev", "driver=qcow2,node-name=n,file.driver=file,file.filename="+image, "-device", "virtio-blk-pci,drive=n")
}

// TestPersistentBitmaps has an image keep bitmaps from one VM to the next and to QEMU's tools, and
// a VM that is killed leave them inconsistent.
func TestPersistentBitmaps(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	tell(t, "qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
	tell(t, "qemu-img", "bitmap", "--add", "-g", "128K", image, "theirs")
	v, sh := kept(t, image)
	v.works(t, "block-dirty-bitmap-add", `{"node":"n","name":"ours","persistent":true}`)
	v.works(t, "block-dirty-bitmap-add", `{"node":"n","name":"idle","persistent":true,"disabled":true}`)
	v.works(t, "block-dirty-bitmap-add", `{"node":"n","name":"transient"}`)
	sh.does(t, "blk.verify size=1M")
	sum := ask(t, v, qapi.CmdDebugBlockDirtyBitmapSha256, qapi.BlockDirtyBitmap{Node: "n", Name: "ours"})
	v.failing(t, "Bitmap already exists: ours", "block-dirty-bitmap-add", `{"node":"n","name":"ours","persistent":true}`)
	v.failing(t, "Dirty bitmap 'none' not found", "transaction",
		`{"actions":[{"type":"block-dirty-bitmap-clear","data":{"node":"n","name":"ours"}},{"type":"block-dirty-bitmap-remove","data":{"node":"n","name":"none"}}]}`)
	v.do(t, "quit")
	v.ends(t, 0)
	info := tell(t, "qemu-img", "info", image)
	for _, name := range []string{"theirs", "ours", "idle"} {
		if !strings.Contains(info, "name: "+name) {
			t.Errorf("%s is not kept: %s", name, info)
		}
	}
	if strings.Contains(info, "in-use") || strings.Contains(info, "transient") {
		t.Errorf("%s", info)
	}
	tell(t, "qemu-img", "check", "-q", image)

	v, sh = kept(t, image)
	b := bitmaps(t, v, "n")
	if len(b) != 3 || b["ours"].Count != 1<<20 || b["theirs"].Count != 1<<20 || b["theirs"].Granularity != 128<<10 || b["idle"].Recording || b["idle"].Count != 0 {
		t.Errorf("%+v", b)
	}
	if again := ask(t, v, qapi.CmdDebugBlockDirtyBitmapSha256, qapi.BlockDirtyBitmap{Node: "n", Name: "ours"}); again != sum {
		t.Errorf("%v is not %v", again, sum)
	}
	v.works(t, "block-dirty-bitmap-remove", `{"node":"n","name":"idle"}`)
	sh.does(t, "blk.write sector=4096 size=4096")
	sh.does(t, "blk.flush")
	v.Kill(t)
	if info := tell(t, "qemu-img", "info", image); strings.Count(info, "in-use") != 2 || strings.Contains(info, "idle") {
		t.Errorf("after a kill: %s", info)
	}

	v, _ = kept(t, image)
	for _, name := range []string{"ours", "theirs"} {
		if b := bitmaps(t, v, "n")[name]; b.Inconsistent == nil || !*b.Inconsistent || b.Recording || !b.Persistent {
			t.Errorf("%+v", b)
		}
		v.failing(t, "Bitmap '"+name+"' is inconsistent and cannot be used", "block-dirty-bitmap-clear", `{"node":"n","name":"`+name+`"}`)
		v.works(t, "block-dirty-bitmap-remove", `{"node":"n","name":"`+name+`"}`)
	}
	v.do(t, "quit")
	v.ends(t, 0)
	if info := tell(t, "qemu-img", "info", image); strings.Contains(info, "bitmaps") {
		t.Errorf("bitmaps are left: %s", info)
	}
	tell(t, "qemu-img", "check", "-q", image)
}
