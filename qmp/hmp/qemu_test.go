package hmp

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
)

// remote calls the commands of a VM in another process.
type remote struct {
	c     *client.Client
	names []string
}

func (r *remote) Call(ctx context.Context, command string, args any) (json.RawMessage, error) {
	var out json.RawMessage
	err := r.c.Execute(ctx, command, args, &out)
	return out, err
}

func (r *remote) Has(command string) bool { return slices.Contains(r.names, command) }

// qemu starts a QEMU to compare with.
func qemu(t *testing.T) *remote {
	t.Helper()
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatalf("%v: run `make deps` to install what the tests need", err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-nodefaults", "-M", "q35,memory-backend=m", "-accel", "tcg", "-S", "-display", "none", "-m", "64", "-name", "peer", "-smp", "2,maxcpus=4",
		"-chardev", "socket,id=q,fd=3", "-mon", "chardev=q,mode=control",
		"-object", "memory-backend-ram,id=m,size=64M", "-object", "iothread,id=io0", "-chardev", "ringbuf,id=ring", "-chardev", "null,id=nothing",
		"-drive", "file="+image+",format=raw,if=none,id=d0", "-device", "virtio-blk-pci,drive=d0,id=disk",
		"-blockdev", "node-name=spare,driver=null-co,size=1048576", "-device", "vmgenid,guid=324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87",
		"-device", "pcie-root-port,id=rp", "-device", "virtio-balloon-pci", "-netdev", "hubport,id=n0,hubid=0", "-device", "virtio-net-pci,netdev=n0,id=nic")
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.New(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r := &remote{c: c}
	var list []struct{ Name string }
	if err := c.Execute(ctx, "query-commands", nil, &list); err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		r.names = append(r.names, n.Name)
	}
	return r
}

// TestAgainstQEMU runs command lines here, on top of QEMU's QMP, and in QEMU itself,
// and compares what is printed. @ stands for something that differs.
func TestAgainstQEMU(t *testing.T) {
	r := qemu(t)
	m := New(r)
	for _, line := range []string{
		"info version", "info status", "info name", "info uuid", "info kvm", "info cpus", "info chardev", "info balloon", "info iothreads", "info mice",
		"info dump", "info vm-generation-id", "info hotpluggable-cpus", "info roms", "info numa", "info ramblock", "info irq", "info usb",
		"info pci", "info qom-tree", "info qom-tree /objects", "info qom-tree /nothing",
		"info memory_size_summary", "info memory-devices", "info memdev",
		"info block", "info block d0", "info block spare", "info block nothing", "info block -n", "info block -v d0", "info block -v",
		"info blockstats", "info block-jobs",
		"info migrate_capabilities", "info migrate_parameters",
		"info virtio", "info virtio-status /machine/peripheral/disk/virtio-backend", "info virtio-queue-status /machine/peripheral/disk/virtio-backend 0",
		"info virtio-status /nothing", "info stats vm", "info stats nothing", "info stats vm * nothing",
		"print 1+2*3", "p/x 0x10|1", "p/o 8", "p/u -1", "p/d -1", "p/c 65", "p/c 10", "p/x 0", "p 1/0", "p (1", "p 'a'", "p 08", "p ~0", "p 1 2", "p 4-2&2", "p 7%4", "p", "p 0x",
		"p 18446744073709551616", "p/z 1", "p $", "p/xb 1",
		"", "   ", "nothing", "info nothing", "  info  nothing ", "stop", "info status", "stop now", "cpu 1", "cpu 7", "cpu", "cpu x", "cpu 0x100000000",
		"device_del", "device_del nothing", "device_add", "device_add nothing", "device_add nothing,id=x", "device_add \"unterminated",
		"device_add virtio-rng-pci,help", "device_add nothing,help",
		"object_add", "object_add nothing,id=x", "object_del nothing",
		"object_add {\"qom-type\":\"iothread\",\"id\":\"io@\"}", "info iothreads", "object_del io@",
		"object_add iothread,id=io2@,poll-max-ns=1000", "info iothreads", "object_del io2@", "object_add memory-backend-ram,id=m2@,size=1M,share=on", "object_del m2@",
		"netdev_add nothing,id=x", "netdev_add hubport,id=n1@", "netdev_add hubport,id=n1@,hubid=1", "netdev_del n1@", "netdev_del n1@",
		"chardev-add nothing,id=x", "chardev-add null", "chardev-add null,id=c1@", "info chardev", "chardev-remove c1@", "chardev-remove c1@", "chardev-send-break ring",
		"chardev-add ringbuf,id=c2@,size=4k", "ringbuf_write c2@ hello", "ringbuf_write c2@ \"wo\\\\rld\\n\"", "ringbuf_read c2@ 100", "ringbuf_read nothing 1", "chardev-remove c2@",
		"chardev-add file,id=c3@,path=/dev/null", "chardev-remove c3@",
		"set_link nic off", "set_link nic maybe", "set_link nic", "set_link nothing on", "balloon -1", "balloon 32",
		"qom-list", "qom-list /objects", "qom-list /nothing", "qom-get /objects/io0 poll-max-ns", "qom-get /objects/io0 nothing",
		"qom-set /objects/io0 poll-max-ns 5", "qom-get /objects/io0 poll-max-ns", "qom-set -j /objects/io0 poll-max-ns 6", "qom-get /objects/io0 poll-max-ns",
		"qom-get /machine type", "qom-get /machine graphics",
		"block_resize d0 2", "block_resize d0 2097152b", "block_resize d0 1.5G", "block_resize d0 x", "block_resize", "info block -v d0", "eject nothing", "eject -f", "eject -x d0",
		"change nothing /dev/null", "block_job_cancel d0", "block_job_pause d0", "drive_mirror d0", "snapshot_blkdev d0", "block_set_io_throttle disk 0 0 0 0 0 0",
		"block_set_io_throttle d0 1000 0 0 0 0 0", "info block d0", "nbd_server_start -w x", "nbd_server_stop", "nbd_server_add d0",
		"migrate_set_capability xbzrle on", "migrate_set_parameter downtime-limit 100", "migrate_set_parameter max-bandwidth 2", "info migrate_parameters",
		"migrate_set_parameter cpu-throttle-tailslow on", "info migrate_capabilities", "migrate_cancel", "migrate_incoming x",
		"watchdog_action pause", "nmi", "system_wakeup", "closefd nothing",
		"dump-guest-memory -z -l /dev/null", "memsave 0 1", "pmemsave 0 16 /dev/null", "memsave 0 x /dev/null",
		"info status extra", "system_reset", "info history", "announce_self",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var want string
		if err := r.c.Execute(ctx, "human-monitor-command", map[string]any{"command-line": strings.ReplaceAll(line, "@", "-theirs")}, &want); err != nil {
			t.Fatal(err)
		}
		got, err := m.Execute(ctx, strings.ReplaceAll(line, "@", "-ours"), nil)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		same := strings.NewReplacer("(null)", "", "-theirs", "-ours")
		got, want = same.Replace(got), same.Replace(want)
		ours, theirs := strings.Split(got, "\r\n"), strings.Split(want, "\r\n")
		for len(ours) > 1 && len(theirs) > 1 && ours[0] == theirs[0] {
			ours, theirs = ours[1:], theirs[1:]
		}
		if !slices.Equal(ours, theirs) {
			t.Errorf("%q: prints\n%q\nnot\n%q", line, ours, theirs)
		}
	}
}
