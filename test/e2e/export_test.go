package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// TestExports serves nodes while the guest runs, to clients that are not ours and to hv's.
func TestExports(t *testing.T) {
	dir := t.TempDir()
	image, socket := hvrun.Image(t, dir, 8), filepath.Join(dir, "nbd")
	v := start(t, bare(t, "spin", "-device", "pcie-root-port,id=rp0,slot=1", "-object", "iothread,id=io0",
		"-blockdev", "driver=raw,node-name=f,file.driver=file,file.filename="+image, "-drive", "file="+hvrun.Image(t, dir, 4)+",format=raw,if=none,id=d0")...)
	v.failing(t, "NBD server not running", "nbd-server-stop", `{}`)
	v.failing(t, "No TLS credentials with id 'tls0'", "nbd-server-start", fmt.Sprintf(`{"addr":{"type":"unix","data":{"path":%q}},"tls-creds":"tls0"}`, socket))
	v.works(t, "nbd-server-start", fmt.Sprintf(`{"addr":{"type":"unix","data":{"path":%q}}}`, socket))
	v.works(t, "block-export-add", `{"type":"nbd","id":"e0","node-name":"f","name":"out","writable":true,"iothread":"io0"}`)
	v.works(t, "nbd-server-add", `{"device":"d0","description":"the drive"}`)
	list := ask(t, v, qapi.CmdQueryBlockExports, qapi.Empty{})
	if len(list) != 2 || list[0].Id != "d0" || list[1].NodeName != "f" || list[1].Type != qapi.BlockExportTypeNbd {
		t.Errorf("%+v", list)
	}
	uri := "nbd+unix:///out?socket=" + socket
	if out := tool(t, "qemu-io", "-f", "raw", "-c", "write -P 7 1M 1M", uri); !strings.Contains(out, "wrote 1048576") {
		t.Error(out)
	}
	if out := tool(t, "nbdinfo", "--list", "nbd+unix://?socket="+socket); !strings.Contains(out, `export="d0"`) || !strings.Contains(out, "the drive") {
		t.Error(out)
	}
	// hv is a client of its own: a disk on an export of a node.
	v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"nbd","node-name":"c","server":{"type":"unix","path":%q},"export":"out"}`, socket))
	v.failing(t, "Requested export not available", "blockdev-add", fmt.Sprintf(`{"driver":"nbd","node-name":"x","server":{"type":"unix","path":%q},"export":"in"}`, socket))
	v.failing(t, "request on write denied without write permission", "blockdev-add", fmt.Sprintf(`{"driver":"nbd","node-name":"x","server":{"type":"unix","path":%q},"export":"d0"}`, socket))
	v.works(t, "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","id":"d","drive":"c"}`)
	v.works(t, "device_del", `{"id":"d"}`)
	v.deleted(t, "/machine/peripheral/d/virtio-backend")
	v.deleted(t, "/machine/peripheral/d")
	v.failing(t, "export 'e0' still in use", "block-export-del", `{"id":"e0"}`)
	v.works(t, "blockdev-del", `{"node-name":"c"}`)
	v.failing(t, "Node f is in use", "blockdev-del", `{"node-name":"f"}`)
	disk := fmt.Sprintf(`{"type":"vhost-user-blk","id":"vu","node-name":"f","writable":true,"logical-block-size":4096,"num-queues":%%d,"addr":{"type":"unix","path":%q}}`, socket+".vu")
	v.failing(t, "num-queues must be greater than 0", "block-export-add", fmt.Sprintf(disk, 0))
	v.works(t, "block-export-add", fmt.Sprintf(disk, 2))
	if list := ask(t, v, qapi.CmdQueryBlockExports, qapi.Empty{}); list[0].Type != qapi.BlockExportTypeVhostUserBlk {
		t.Errorf("%+v", list)
	}
	v.works(t, "block-export-del", `{"id":"vu"}`)
	v.event(t, "BLOCK_EXPORT_DELETED")
	v.works(t, "x-blockdev-set-iothread", `{"node-name":"f","iothread":"io0"}`)
	v.works(t, "x-blockdev-set-iothread", `{"node-name":"f","iothread":null}`)
	v.failing(t, "Cannot find iothread io1", "x-blockdev-set-iothread", `{"node-name":"f","iothread":"io1"}`)
	v.failing(t, "Failed to find node with node-name='x'", "x-blockdev-set-iothread", `{"node-name":"x","iothread":null}`)
	v.works(t, "nbd-server-remove", `{"name":"d0","mode":"hard"}`)
	v.event(t, "BLOCK_EXPORT_DELETED")
	v.works(t, "block-export-del", `{"id":"e0","mode":"hard"}`)
	v.event(t, "BLOCK_EXPORT_DELETED")
	v.works(t, "nbd-server-stop", `{}`)
	for _, line := range []string{"nbd_server_start -a -w unix:" + socket, "nbd_server_add -w f more", "nbd_server_remove more"} {
		if text := v.human(t, line); text != "" {
			t.Errorf("%s: %s", line, text)
		}
	}
	if out := tool(t, "nbdinfo", "--list", "nbd+unix://?socket="+socket); !strings.Contains(out, `export="d0"`) || strings.Contains(out, `export="more"`) {
		t.Error(out)
	}
	if text := v.human(t, "nbd_server_stop"); text != "" {
		t.Error(text)
	}
	v.works(t, "blockdev-del", `{"node-name":"f"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}
