package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"hv/qmp/qapi"
)

// tightDisk returns an image of 8 MiB on a file system with room for 1, and what makes that more.
func tightDisk(t *testing.T) (image string, enlarge func()) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1M"); err != nil {
		t.Fatalf("a small file system: %v; run as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	image = filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 8<<20); err != nil {
		t.Fatal(err)
	}
	return image, func() {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=16M"); err != nil {
			t.Fatal(err)
		}
	}
}

func ioStatus(t *testing.T, v *vm) qapi.BlockDeviceIoStatus {
	t.Helper()
	for _, b := range ask(t, v, qapi.CmdQueryBlock, qapi.Empty{}) {
		if b.IoStatus != nil {
			return *b.IoStatus
		}
	}
	return ""
}

// TestDiskFull has the host's file system be full while the guest writes: the VM stops, and
// once there is room goes on as if nothing had happened.
func TestDiskFull(t *testing.T) {
	for name, option := range map[string]string{"direct": "off", "graph": "on"} {
		t.Run(name, func(t *testing.T) {
			image, enlarge := tightDisk(t)
			v, sh := startShell(t, "-blockdev", "driver=raw,node-name=n,detect-zeroes="+option+",file.driver=file,file.filename="+image,
				"-device", "virtio-blk-pci,drive=n,id=d")
			sh.types(t, "blk.verify size=4M")
			var e qapi.BlockIoErrorEvent
			if err := e.DecodeQAPI(v.event(t, "BLOCK_IO_ERROR").Data); err != nil {
				t.Fatal(err)
			}
			if e.Device != "" || *e.NodeName != "n" || e.Operation != "write" || e.Action != "stop" || !*e.Nospace || e.Reason != "No space left on device" {
				t.Errorf("%+v", e)
			}
			v.event(t, "STOP")
			if s := v.status(t); s != qapi.RunStateIoError {
				t.Errorf("state %s", s)
			}
			if s := ioStatus(t, v); s != qapi.BlockDeviceIoStatusNospace {
				t.Errorf("io-status %s", s)
			}
			v.do(t, "cont") // in vain
			v.event(t, "RESUME")
			v.event(t, "BLOCK_IO_ERROR")
			v.event(t, "STOP")
			enlarge()
			v.do(t, "cont")
			if line := sh.expect(t, "guest: blk.verify"); line != "guest: blk.verify dev=0 sector=0 size=4194304 seed=1 bad=0" {
				t.Errorf("%s", line)
			}
			if s := ioStatus(t, v); s != qapi.BlockDeviceIoStatusOk {
				t.Errorf("io-status %s", s)
			}
			v.do(t, "quit")
			v.ends(t, 0)
		})
	}
}

// TestDiskErrorsReported has the guest see errors, or not, and the VM go on.
func TestDiskErrorsReported(t *testing.T) {
	for policy, status := range map[string]string{"report": "1", "ignore": "0"} {
		image, _ := tightDisk(t)
		v, sh := startShell(t, "-blockdev", "driver=raw,node-name=n,file.driver=file,file.filename="+image,
			"-device", "virtio-blk-pci,drive=n,id=d,werror="+policy)
		sh.does(t, "blk.write sector=0 size=512K")
		sh.does(t, "blk.write sector=2048 size=2M expect="+status)
		v.event(t, "BLOCK_IO_ERROR")
		if s := v.status(t); s != qapi.RunStateRunning {
			t.Errorf("state %s", s)
		}
		if s := ioStatus(t, v); s != "" {
			t.Errorf("io-status %s", s)
		}
		v.do(t, "quit")
		v.ends(t, 0)
	}
}
