package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

func verifies(t *testing.T, sh *shell, dev int, more string) {
	t.Helper()
	want := fmt.Sprintf("guest: blk.verify dev=%d sector=0 size=1048576 seed=1 bad=0", dev)
	if line := sh.does(t, fmt.Sprintf("blk.verify dev=%d size=1M%s", dev, more)); line != want {
		t.Errorf("%s", line)
	}
}

// TestIOThreads has one thread serve two disks of the guest, straight to the file and
// through the graph, over all that can come in between.
func TestIOThreads(t *testing.T) {
	dir := t.TempDir()
	a, b := hvrun.Image(t, dir, 8), hvrun.Image(t, dir, 8)
	v, sh := startShell(t, "-object", "iothread,id=io0,poll-max-ns=0,thread-pool-min=2", "-object", `{"qom-type":"iothread","id":"io1","poll-max-ns":100000,"poll-grow":4,"poll-shrink":2,"aio-max-batch":3}`,
		"-device", "pcie-root-port,id=rp0,slot=1",
		"-blockdev", "driver=raw,node-name=a,file.driver=file,file.filename="+a, "-blockdev", "driver=raw,node-name=b,detect-zeroes=on,file.driver=file,file.filename="+b,
		"-device", "virtio-blk-pci,drive=a,id=da,iothread=io0,num-queues=2", "-device", "virtio-blk-pci,drive=b,id=db,iothread=io0")
	list := ask(t, v, qapi.CmdQueryIothreads, qapi.Empty{})
	if len(list) != 2 || list[0].Id != "io0" || list[0].PollMaxNs != 0 || list[1].PollMaxNs != 100000 || list[1].PollGrow != 4 || list[1].PollShrink != 2 || list[1].AioMaxBatch != 3 {
		t.Errorf("%+v", list)
	}
	for _, i := range list {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", v.Cmd.Process.Pid, i.ThreadId)); err != nil {
			t.Error(err)
		}
	}
	v.failing(t, "object 'io0' is in use, can not be deleted", "object-del", `{"id":"io0"}`)
	verifies(t, sh, 0, "")
	verifies(t, sh, 1, " depth=32")
	verifies(t, sh, 0, " queue=1")
	v.works(t, "block-dirty-bitmap-add", `{"node":"a","name":"m"}`)
	sh.types(t, "blk.bench dev=0 op=write depth=16 n=20000 span=512K")
	for range 20 {
		v.do(t, "stop")
		v.do(t, "cont")
	}
	v.works(t, "qom-set", `{"path":"/objects/io0","property":"poll-max-ns","value":50000}`)
	v.failing(t, "poll-max-ns value must be in range", "qom-set", `{"path":"/objects/io0","property":"poll-max-ns","value":-1}`)
	sh.expect(t, "guest: blk.bench")
	if m := bitmaps(t, v, "a"); m["m"].Count != 512<<10 {
		t.Errorf("%+v", m)
	}
	v.works(t, "block_resize", `{"node-name":"a","size":16777216}`)
	sh.does(t, "blk.write sector=32760 size=4096")
	v.works(t, "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","id":"dc","drive":"`+addNull(t, v)+`","iothread":"io1"}`)
	v.works(t, "device_del", `{"id":"dc"}`)
	v.deleted(t, "/machine/peripheral/dc/virtio-backend")
	v.deleted(t, "/machine/peripheral/dc")
	v.works(t, "object-del", `{"id":"io1"}`)
	v.do(t, "system_reset")
	sh.expect(t, "guest: shell")
	verifies(t, sh, 1, "")
	v.works(t, "object-add", `{"qom-type":"iothread","id":"io2"}`)
	if list := ask(t, v, qapi.CmdQueryIothreads, qapi.Empty{}); len(list) != 2 || list[1].Id != "io2" || list[1].PollMaxNs != 32768 || list[0].PollMaxNs != 50000 {
		t.Errorf("%+v", list)
	}
	v.failing(t, "bad thread-pool-min/thread-pool-max values", "object-add", `{"qom-type":"iothread","id":"io3","thread-pool-max":0}`)
	v.failing(t, "Device 'none' not found", "device_add", `{"driver":"virtio-blk-pci","bus":"rp0","drive":"null","iothread":"none"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}

// addNull makes a node without a medium and returns its name.
func addNull(t *testing.T, v *vm) string {
	t.Helper()
	v.works(t, "blockdev-add", `{"driver":"null-co","node-name":"null"}`)
	return "null"
}

// TestThreadsMeet keeps disks of different I/O threads from coming to use the same node.
func TestThreadsMeet(t *testing.T) {
	dir := t.TempDir()
	var args []string
	for _, name := range []string{"a", "b", "c"} {
		path := dir + "/" + name
		if out, err := exec.Command(hvrun.Tool(t, "qemu-img"), "create", "-q", "-f", "qcow2", path, "1M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		args = append(args, "-blockdev", "driver=qcow2,node-name="+name+",read-only="+map[bool]string{true: "on", false: "off"}[name == "b"]+",file.driver=file,file.node-name=f"+name+",file.filename="+path)
	}
	v := start(t, bare(t, "spin", append(args, "-object", "iothread,id=io0", "-object", "iothread,id=io1",
		"-device", "virtio-scsi-pci,id=s0,iothread=io0", "-device", "virtio-scsi-pci,id=s1,iothread=io1",
		"-device", "scsi-hd,bus=s0.0,drive=a,share-rw=on", "-device", "scsi-hd,bus=s1.0,drive=b,share-rw=on")...)...)
	with := func(backing string) string {
		return `{"options":[{"driver":"qcow2","node-name":"a","file":"fa","backing":` + backing + `}]}`
	}
	v.failing(t, "Cannot change iothread of active block backend", "blockdev-reopen", with(`"b"`))
	v.works(t, "blockdev-reopen", with(`"c"`))
	v.works(t, "blockdev-reopen", with("null"))
	v.do(t, "quit")
	v.ends(t, 0)
}
