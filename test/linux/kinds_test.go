package linux

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"hv/test/hvrun"
)

// TestMicroVM boots the minimal machine, which has disks, consoles and power too.
func TestMicroVM(t *testing.T) {
	surviving(t, func() {
		args := machine(2, 512)
		for i := range args {
			if args[i] == "q35" {
				args[i] = "microvm"
			}
		}
		p := start(t, hvrun.Binary(t), join(args, kernel("echo disk=$(cat /sys/block/vda/size) cpus=$(nproc)"), []string{
			"-drive", "file=" + hvrun.Image(t, scratch(t), 8) + ",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d",
		})...)
		if got := field(t, p, "disk"); got != "16384 cpus=2" {
			t.Errorf("the guest sees disk %s", got)
		}
		if status := p.Wait(t); status != 0 {
			t.Errorf("exit status %d", status)
		}
	})
}

// TestVsock has a guest talk to its host.
func TestVsock(t *testing.T) {
	const cid, port = 42, 7000
	l, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	if err := unix.Bind(l, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, attempts)
	go func() {
		for {
			fd, from, err := unix.Accept(l)
			if err != nil {
				return
			}
			b := make([]byte, 64)
			n, _ := unix.Read(fd, b)
			heard <- fmt.Sprintf("%s from %d", b[:max(n, 0)], from.(*unix.SockaddrVM).CID)
			_, _ = unix.Write(fd, []byte("welcome"))
			unix.Close(fd)
		}
	}()
	surviving(t, func() {
		p := start(t, hvrun.Binary(t), join(machine(1, 512), kernel(fmt.Sprintf("/bin/vsockhello %d", port)), []string{
			"-device", fmt.Sprintf("vhost-vsock-pci,guest-cid=%d", cid),
		})...)
		if got := field(t, p, "vsock"); got != "welcome" {
			t.Errorf("the guest heard %q", got)
		}
		p.Wait(t)
	})
	if got := <-heard; got != fmt.Sprintf("hello from %d", cid) {
		t.Errorf("the host heard %q", got)
	}
}
