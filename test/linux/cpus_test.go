package linux

import (
	"fmt"
	"testing"

	"hv/test/hvrun"
)

// watchCPUs is the guest's part of TestCPUHotplug: it takes processors into use, and tells
// which it has whenever that changes.
const watchCPUs = `
while :; do
	for c in /sys/devices/system/cpu/cpu[1-9]*/online; do [ "$(cat $c 2>/dev/null)" = 0 ] && echo 1 >$c; done
	n=$(cat /sys/devices/system/cpu/online)
	[ "$n" = "$last" ] || echo cpus=$n.
	last=$n
	sleep 0.2
done
`

// TestCPUHotplug has processors come and go under a guest that runs on them.
func TestCPUHotplug(t *testing.T) { surviving(t, func() { cpuHotplug(t) }) }

func cpuHotplug(t *testing.T) {
	socket := scratch(t) + "/qmp"
	p := start(t, hvrun.Binary(t), join(machine(1, 512), kernel(watchCPUs, "quiet"), []string{
		"-smp", "maxcpus=3,sockets=3,cores=1,threads=1", "-qmp", "unix:" + socket + ",server=on,wait=off",
	})...)
	p.Expect(t, `cpus=0\.`)
	c := hvrun.Dial(t, p, socket)
	for range hvrun.Count(2, 20) {
		from := len(p.Output())
		for i := 1; i <= 2; i++ {
			call(t, c, "device_add", fmt.Sprintf(`{"driver":"host-x86_64-cpu","id":"cpu%d","socket-id":%d,"core-id":0,"thread-id":0}`, i, i))
			p.ExpectAfter(t, from, fmt.Sprintf(`cpus=0-%d\.`, i))
		}
		from = len(p.Output())
		for i := 2; i >= 1; i-- {
			id := fmt.Sprintf("cpu%d", i)
			remove(t, c, id)
			awaitDeleted(t, p, c, map[string]string{id: ""})
		}
		p.ExpectAfter(t, from, `cpus=0\.`)
	}
	execute(t, c, "quit")
	p.Wait(t)
}
