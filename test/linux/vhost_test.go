package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// pinging says which pings of the host's were answered, for as long as the guest lives. Its NIC may come
// and go.
const pinging = `
i=0
while :; do
	ip addr add 10.79.0.2/24 dev eth0 2>/dev/null; ip link set eth0 up 2>/dev/null
	ping -c 1 -W 2 10.79.0.1 >/dev/null 2>&1 && echo pong=$i
	i=$((i+1))
	[ $i -gt 3 ] && sleep 0.2
done
`

// TestVhostNet has the host's kernel move a stock guest's packets, while the VM is paused, its cable drawn,
// the guest reset, and the NIC taken away and given back.
func TestVhostNet(t *testing.T) {
	for name, queues := range map[string]int{"one queue": 1, "two queues": 2} {
		t.Run(name, func(t *testing.T) { surviving(t, func() { vhostNet(t, queues) }) })
	}
}

func vhostNet(t *testing.T, queues int) {
	socket := scratch(t) + "/qmp"
	nic := `"id":"nic0","netdev":"n0","bus":"rp0","mq":` + fmt.Sprint(queues > 1)
	p := start(t, hvrun.Binary(t), join(machine(2, 512), kernel(pinging, "net.ifnames=0", "quiet"), []string{
		"-qmp", "unix:" + socket + ",server=on,wait=off", "-device", "pcie-root-port,id=rp0,slot=1,chassis=1",
		"-netdev", fmt.Sprintf("tap,id=n0,ifname=hvvn0,script=no,downscript=no,vhost=on,vhostforce=on,queues=%d", queues),
		"-device", `{"driver":"virtio-net-pci",` + nic + `}`,
	})...)
	p.Expect(t, "hv guest: ") // by then there is the tap
	run(t, "ip", "addr", "add", "10.79.0.1/24", "dev", "hvvn0")
	run(t, "ip", "link", "set", "hvvn0", "up")
	pong := func(n int) {
		t.Helper()
		from := len(p.Output())
		for range n {
			p.ExpectAfter(t, from, `pong=\d+\r?\n`)
			from = len(p.Output())
		}
	}
	pong(2)
	if n := vhostThreads(t, p.Cmd.Process.Pid); n != queues {
		t.Errorf("the kernel has %d workers for the guest", n)
	}
	c := hvrun.Dial(t, p, socket)
	execute(t, c, "stop")
	execute(t, c, "cont")
	pong(2)
	call(t, c, "set_link", `{"name":"nic0","up":false}`)
	call(t, c, "set_link", `{"name":"nic0","up":true}`)
	pong(2)
	before := descriptors(t, p.Cmd.Process.Pid)
	from := len(p.Output())
	execute(t, c, "system_reset")
	p.ExpectAfter(t, from, `pong=[0-9]\r?\n`) // it counts from 0 again
	pong(2)
	remove(t, c, "nic0")
	awaitDeleted(t, p, c, map[string]string{"nic0": ""})
	call(t, c, "device_add", `{"driver":"virtio-net-pci",`+nic+`}`)
	pong(2)
	if after := descriptors(t, p.Cmd.Process.Pid); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	execute(t, c, "quit")
	p.Wait(t)
}

// vhostThreads counts the kernel's workers for a process. Each is called after the thread that
// opened its device.
func vhostThreads(t *testing.T, pid int) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		b, _ := os.ReadFile(path)
		owner, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "vhost-")
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%s", pid, owner)); ok && err == nil {
			n++
		}
	}
	return n
}
