package linux

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/test/hvrun"
)

// inside is what the image does on its first boot, before its agent is asked to reboot it,
// and on its second, when it waits for the power button.
const inside = `
if [ -e /root/second ]; then
	echo units=$(systemctl is-system-running) failed=$(systemctl list-units --failed --no-legend | wc -l)
	echo second=ready
	while :; do sleep 1000; done
fi
for i in $(seq 100); do [ "$(systemctl is-active multi-user.target)" = active ] && break; sleep 1; done
echo target=$(systemctl is-active multi-user.target)
ip addr add 10.77.0.2/24 dev $(ls /sys/class/net | grep ^en | head -1)
ip link set $(ls /sys/class/net | grep ^en | head -1) up
fio --name=v --filename=/dev/disk/by-id/virtio-fiodisk --rw=randrw --bs=4k-64k --size=48m --ioengine=libaio --iodepth=16 --direct=1 \
	--verify=crc32c --verify_backlog=256 --time_based --runtime=$SECS --output-format=terse >/dev/null 2>/root/fio.err
echo fio=$? $(cat /root/fio.err | tail -1)
iperf3 -c 10.77.0.1 -t $SECS -f m >/root/iperf 2>&1
echo iperf=$? $(grep receiver /root/iperf)
touch /root/second; sync
echo first=done
sleep 1000
`

// TestDebianImage takes a whole Debian through its life: boot to multi-user
// under systemd, disk and network load, its agent's answers, a reboot, the power button.
func TestDebianImage(t *testing.T) {
	tap(t, "hvt0")
	run(t, "ip", "addr", "add", "10.77.0.1/24", "dev", "hvt0")
	surviving(t, func() {
		defer iperfServer(t, "10.77.0.1")()
		debianImage(t)
	})
}

func debianImage(t *testing.T) {
	dir := scratch(t)
	image := filepath.Join(dir, "root.img")
	run(t, "cp", "--sparse=always", assets.image, image)
	script := strings.ReplaceAll(inside, "$SECS", fmt.Sprint(hvrun.Count(8, 60)))
	socket, agent := filepath.Join(dir, "qmp"), filepath.Join(dir, "agent")
	p := start(t, hvrun.Binary(t), join(machine(2, 1024), []string{
		"-kernel", assets.image + ".vmlinuz", "-initrd", assets.image + ".initrd",
		"-append", "root=LABEL=hv-root ro console=ttyS0 quiet hv.run=" + base64.StdEncoding.EncodeToString([]byte(script)),
		"-drive", "file=" + image + ",format=raw,if=none,id=root", "-device", "virtio-blk-pci,drive=root,num-queues=2",
		"-drive", "file=" + hvrun.Image(t, scratch(t), 64) + ",format=raw,if=none,id=fio", "-device", "virtio-blk-pci,drive=fio,serial=fiodisk",
		"-netdev", "tap,id=n0,ifname=hvt0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0",
		"-device", "virtio-balloon-pci", "-device", "virtio-rng-pci",
		"-chardev", "socket,id=agent,path=" + agent + ",server=on,wait=off",
		"-device", "virtio-serial-pci", "-device", "virtserialport,id=port,chardev=agent,name=org.qemu.guest_agent.0",
		"-qmp", "unix:" + socket + ",server=on,wait=off",
	})...)
	c := hvrun.Dial(t, p, socket)
	awaitAgent(t, p, c)
	for _, want := range []string{"target=active", "fio=0", "iperf=0", "first=done"} {
		p.Expect(t, want)
	}
	askAgent(t, agent)
	p.Expect(t, "second=ready")
	if strings.Contains(p.Output(), "failed=0") == false {
		t.Errorf("units failed in the guest: %s", field(t, p, "units"))
	}

	events := c.Events()
	execute(t, c, "system_powerdown")
	want := map[string]bool{"POWERDOWN": true, "SHUTDOWN": true}
	for len(want) > 0 {
		select {
		case e := <-events:
			delete(want, e.Name)
		case <-time.After(hvrun.Patience):
			t.Fatalf("no %v after system_powerdown", want)
		}
	}
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func execute(t *testing.T, c *client.Client, name string) {
	t.Helper()
	if err := c.Execute(context.Background(), name, nil, nil); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
