package linux

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

// TestGuestAgent has QEMU's own client speak to the agent of a Debian guest: about the
// guest, its file systems and its end.
func TestGuestAgent(t *testing.T) { surviving(t, func() { guestAgent(t) }) }

func guestAgent(t *testing.T) {
	dir := scratch(t)
	image := filepath.Join(dir, "root.img")
	run(t, "cp", "--sparse=always", assets.image, image)
	socket, agent := filepath.Join(dir, "qmp"), filepath.Join(dir, "agent")
	p := start(t, hvrun.Binary(t), join(machine(1, 1024), []string{
		"-kernel", assets.image + ".vmlinuz", "-initrd", assets.image + ".initrd",
		"-append", "root=LABEL=hv-root ro console=ttyS0 quiet hv.run=" + base64.StdEncoding.EncodeToString([]byte("sleep 1000\n")),
		"-drive", "file=" + image + ",format=raw,if=none,id=root", "-device", "virtio-blk-pci,drive=root",
		"-chardev", "socket,id=agent,path=" + agent + ",server=on,wait=off",
		"-device", "virtio-serial-pci", "-device", "virtserialport,id=port,chardev=agent,name=org.qemu.guest_agent.0",
		"-qmp", "unix:" + socket + ",server=on,wait=off",
	})...)
	c := hvrun.Dial(t, p, socket)
	limit := time.After(hvrun.Patience)
	for open := false; !open; {
		select {
		case e := <-c.Events():
			open = e.Name == "VSERPORT_CHANGE" && string(e.Data.Get("id").Text()) == "port" && e.Data.Get("open").Bool()
		case <-p.Ended():
			t.Fatalf("hv ended: %s", p.Output())
		case <-limit:
			t.Fatal("the guest has not opened its agent's port")
		}
	}
	ask := func(want string, args ...string) {
		t.Helper()
		out, err := hvrun.Python(t, filepath.Join(hvrun.Source(t), "scripts/qmp/qemu-ga-client"), append([]string{"--address", agent}, args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("qemu-ga-client %v: %v, without %q:\n%s", args, err, want, out)
		}
	}
	ask("", "ping", "20")
	ask("guest-fsfreeze-freeze", "info")
	ask("thawed", "fsfreeze", "status")
	ask("frozen", "fsfreeze", "freeze")
	ask("frozen", "fsfreeze", "status")
	ask("thawed", "fsfreeze", "thaw")
	ask("root:", "cat", "/etc/passwd")
	ask("", "powerdown")
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}
