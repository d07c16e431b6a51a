package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// nodeNames returns the names of the nodes there are.
func nodeNames(t testing.TB, v *vm) string {
	t.Helper()
	flat := true
	var names []string
	for _, n := range ask(t, v, qapi.CmdQueryNamedBlockNodes, qapi.QueryNamedBlockNodesArgs{Flat: &flat}) {
		names = append(names, *n.NodeName+"="+n.Drv)
	}
	return strings.Join(names, " ")
}

// TestBlockdevs makes nodes and disks on them while the guest runs, and takes them away
// again.
func TestBlockdevs(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 8)
	v := start(t, bare(t, "spin", "-device", "pcie-root-port,id=rp0,slot=1", "-device", "pcie-root-port,id=rp1,slot=2")...)
	for range 3 {
		v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"file","node-name":"s","filename":%q,"auto-read-only":true,"discard":"unmap"}`, image))
		v.works(t, "blockdev-add", `{"driver":"raw","node-name":"f","read-only":false,"file":"s"}`)
		if got := nodeNames(t, v); got != "f=raw s=file" {
			t.Errorf("nodes %s", got)
		}
		v.failing(t, "Block device s is in use", "blockdev-del", `{"node-name":"s"}`)
		v.works(t, "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","id":"d","drive":"f"}`)
		v.failing(t, "Node f is in use", "blockdev-del", `{"node-name":"f"}`)
		v.failing(t, "Permission conflict on node 'f': permissions 'write' are both required by block device 'd'", "device_add",
			`{"driver":"virtio-blk-pci","bus":"rp1","id":"e","drive":"f"}`)
		v.failing(t, "required by node 'f' (uses node 's' as 'file' child) and unshared by block device 'e'", "device_add", `{"driver":"virtio-blk-pci","bus":"rp1","id":"e","drive":"s"}`)
		v.works(t, "device_del", `{"id":"d"}`)
		v.deleted(t, "/machine/peripheral/d/virtio-backend")
		v.deleted(t, "/machine/peripheral/d")
		v.works(t, "blockdev-del", `{"node-name":"f"}`)
		v.works(t, "blockdev-del", `{"node-name":"s"}`)
		if got := nodeNames(t, v); got != "" {
			t.Errorf("left are %s", got)
		}
	}
	v.failing(t, "Failed to find node with node-name='f'", "blockdev-del", `{"node-name":"f"}`)
	v.failing(t, "'node-name' must be specified for the root node", "blockdev-add", `{"driver":"null-co"}`)
	v.failing(t, "Could not open '/none'", "blockdev-add", `{"driver":"file","node-name":"s","filename":"/none"}`)
	v.failing(t, "Cannot find device='x' nor node-name='x'", "blockdev-add", `{"driver":"raw","node-name":"f","file":"x"}`)
	v.failing(t, "Parameter 'colour' is unexpected", "blockdev-add", `{"driver":"null-co","node-name":"n","colour":"red"}`)
	v.failing(t, "can't find value 'f'", "device_add", `{"driver":"virtio-blk-pci","bus":"rp1","id":"e","drive":"f"}`)
	v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"raw","node-name":"f","file":{"driver":"file","filename":%q,"node-name":"inner"}}`, image))
	v.failing(t, "Node inner is not owned by the monitor", "blockdev-del", `{"node-name":"inner"}`)
	v.works(t, "blockdev-del", `{"node-name":"f"}`)
	v.works(t, "blockdev-add", `{"driver":"null-co","node-name":"n"}`)
	v.works(t, "device_add", `{"driver":"virtio-blk-pci","bus":"rp1","id":"e","drive":"n"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestDrives looks at what -drive and -blockdev make, as managers do.
func TestDrives(t *testing.T) {
	image, other := hvrun.Image(t, t.TempDir(), 8), hvrun.Image(t, t.TempDir(), 4)
	v := start(t, bare(t, "spin", "-drive", "file="+image+",format=raw,if=none,id=d0,cache=writethrough", "-device", "pcie-root-port,id=rp0,slot=1",
		"-drive", "file="+other+",if=none,id=d1,read-only=on,format=raw",
		"-blockdev", `{"driver":"null-co","node-name":"n","size":1048576}`, "-device", "virtio-blk-pci,drive=n,id=disk1")...)
	v.works(t, "device_add", `{"driver":"virtio-blk-pci","drive":"d0","id":"disk0","bus":"rp0"}`)
	v.failing(t, "node-name=d0 is conflicting with a device id", "blockdev-add", `{"driver":"null-co","node-name":"d0"}`)
	list := ask(t, v, qapi.CmdQueryBlock, qapi.Empty{})
	if len(list) != 3 || list[0].Device != "d0" || *list[0].Qdev != "/machine/peripheral/disk0/virtio-backend" || list[0].Inserted.Cache.Writeback ||
		list[1].Device != "d1" || list[1].Qdev != nil || !list[1].Inserted.Ro || list[2].Device != "" || *list[2].Qdev != "/machine/peripheral/disk1/virtio-backend" ||
		list[0].Inserted.Image.VirtualSize != 8<<20 || list[1].Inserted.File != other || *list[2].Inserted.NodeName != "n" {
		t.Errorf("%+v", list)
	}
	stats := ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{})
	if len(stats) != 3 || *stats[0].Device != "d0" || *stats[0].Parent.NodeName == "" || *stats[2].NodeName != "n" {
		t.Errorf("%+v", stats)
	}
	nodes := true
	if stats := ask(t, v, qapi.CmdQueryBlockstats, qapi.QueryBlockstatsArgs{QueryNodes: &nodes}); len(stats) != 5 || stats[0].Device != nil {
		t.Errorf("%+v", stats)
	}
	v.works(t, "block_resize", `{"device":"d0","size":16777216}`)
	v.failing(t, "does not support resize", "block_resize", `{"node-name":"n","size":4096}`)
	v.failing(t, "expects a >0 size", "block_resize", `{"node-name":"n","size":-1}`)
	v.failing(t, "Cannot find device='' nor node-name='absent'", "block_resize", `{"node-name":"absent","size":512}`)
	if list := ask(t, v, qapi.CmdQueryBlock, qapi.Empty{}); list[0].Inserted.Image.VirtualSize != 16<<20 {
		t.Errorf("%+v", list[0])
	}
	// A -drive goes with its device.
	v.works(t, "device_del", `{"id":"disk0"}`)
	v.deleted(t, "/machine/peripheral/disk0/virtio-backend")
	v.deleted(t, "/machine/peripheral/disk0")
	if list := ask(t, v, qapi.CmdQueryBlock, qapi.Empty{}); len(list) != 2 || list[0].Device != "d1" {
		t.Errorf("%+v", list)
	}
	if got := nodeNames(t, v); strings.Count(got, "raw") != 1 {
		t.Errorf("left are %s", got)
	}
	v.failing(t, "can't find value 'd0'", "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","drive":"d0"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestImageLocks has QEMU's tools and hv keep each other from an image.
func TestImageLocks(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 8)
	tool := func(program string, args ...string) string {
		out, _ := exec.Command(program, args...).CombinedOutput()
		return string(out)
	}
	v := start(t, bare(t, "spin", "-device", "pcie-root-port,id=rp0,slot=1",
		"-blockdev", "driver=raw,node-name=f,file.driver=file,file.filename="+image)...)
	if out := tool("qemu-io", "-f", "raw", "-c", "write 0 512", image); strings.Contains(out, "lock") {
		t.Errorf("a node that nobody uses is locked: %s", out)
	}
	v.works(t, "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","id":"d","drive":"f"}`)
	for _, out := range []string{
		tool("qemu-io", "-f", "raw", "-c", "write 0 512", image), tool("qemu-img", "resize", "-f", "raw", image, "16M"),
	} {
		if !strings.Contains(out, "lock") {
			t.Errorf("it is not locked: %s", out)
		}
	}
	if out := tool("qemu-img", "info", "-U", "-f", "raw", image); !strings.Contains(out, "8 MiB") {
		t.Errorf("who shares everything is kept out: %s", out)
	}
	v.works(t, "device_del", `{"id":"d"}`)
	v.deleted(t, "/machine/peripheral/d/virtio-backend")
	v.deleted(t, "/machine/peripheral/d")

	// The other way around: a program of QEMU's has it.
	socket := filepath.Join(t.TempDir(), "nbd")
	nbd := exec.Command("qemu-nbd", "-f", "raw", "-k", socket, "-t", "--fork", "--pid-file", socket+".pid", image)
	if out, err := nbd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("sh", "-c", "kill $(cat "+socket+".pid)").Run() })
	v.failing(t, `"write" lock`, "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","id":"d","drive":"f"}`)
	v.failing(t, "can't find value 'x'", "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","id":"d","drive":"x"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}
