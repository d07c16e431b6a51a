package linux

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/test/hvrun"
)

// watch is the guest's part of TestHotplug: it tells how many PCI devices and ports it has
// whenever that changes, and when that has not for long, which tasks wait for what, which
// timers there are and which interrupts come.
const watch = `
while :; do
	n=$(ls /sys/bus/pci/devices | wc -l)/$(ls /sys/class/virtio-ports 2>/dev/null | wc -l)
	same=$((same + 1))
	[ "$n" = "$last" ] || { echo seen=$n.; same=0; }
	[ $same = 500 ] && { echo 8 >/proc/sys/kernel/printk; cat /proc/interrupts; echo w >/proc/sysrq-trigger; echo q >/proc/sysrq-trigger; }
	[ $same = 550 ] && cat /proc/interrupts
	last=$n
	sleep 0.2
done
`

const (
	// slots is how many devices of a kind come and go at once.
	slots = 3
	// perGuest is how many rounds one guest is asked for: what is leaked shows in as many, and a
	// guest that the bed loses costs no more.
	perGuest = 40
)

// TestHotplug adds and removes devices of every kind under a guest that has drivers for
// them, and looks for what they leave behind.
func TestHotplug(t *testing.T) {
	for i := range slots {
		tap(t, fmt.Sprintf("hvh%d", i))
	}
	rounds := hvrun.Count(2, 167)
	for rounds > 0 {
		left := min(rounds, perGuest)
		rounds -= left
		// What a guest has done before the bed lost it counts.
		surviving(t, func() { hotplug(t, &left) })
		t.Logf("%d rounds to go", rounds)
	}
}

// hotplug counts the rounds down, and looks for leaks once none is left.
func hotplug(t *testing.T, rounds *int) {
	socket := scratch(t) + "/qmp"
	args := join(machine(2, 768), kernel(watch, "quiet"), []string{"-qmp", "unix:" + socket + ",server=on,wait=off", "-device", "virtio-serial-pci,id=cold"})
	devices := map[string]string{}
	for i := range slots {
		args = append(args, "-chardev", fmt.Sprintf("null,id=c%d", i),
			"-blockdev", fmt.Sprintf("driver=raw,node-name=d%d,file.driver=file,file.filename=%s,discard=unmap", i, hvrun.Image(t, scratch(t), 8)),
			"-netdev", fmt.Sprintf("tap,id=n%d,ifname=hvh%d,script=no,downscript=no", i, i))
		for k, props := range []string{
			fmt.Sprintf(`"driver":"virtio-blk-pci","drive":"d%d"`, i), fmt.Sprintf(`"driver":"virtio-net-pci","netdev":"n%d"`, i), `"driver":"virtio-rng-pci"`,
			`"driver":"virtio-serial-pci"`, fmt.Sprintf(`"driver":"vhost-vsock-pci","guest-cid":%d`, 50+i),
		} {
			port := fmt.Sprintf("rp%d", len(devices))
			args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=%s,slot=%d,chassis=%d", port, len(devices)+1, len(devices)+1))
			devices[fmt.Sprintf("dev%d-%d", k, i)] = fmt.Sprintf(`%s,"bus":"%s"`, props, port)
		}
	}
	inSlots := len(devices)
	for i := range slots {
		devices[fmt.Sprintf("port%d", i)] = fmt.Sprintf(`"driver":"virtserialport","bus":"cold.0","chardev":"c%d","name":"p%d"`, i, i)
	}
	p := start(t, hvrun.Binary(t), args...)
	var base int
	if _, err := fmt.Sscan(p.Expect(t, `seen=(\d+)/0\.`)[1], &base); err != nil {
		t.Fatal(err)
	}
	c := hvrun.Dial(t, p, socket)
	before := 0
	for ; *rounds > 0; *rounds-- {
		from := len(p.Output())
		for id, props := range devices {
			call(t, c, "device_add", fmt.Sprintf(`{"id":"%s",%s}`, id, props))
		}
		p.ExpectAfter(t, from, fmt.Sprintf(`seen=%d/%d\.`, base+inSlots, slots))
		from = len(p.Output())
		for id := range devices {
			remove(t, c, id)
		}
		awaitDeleted(t, p, c, devices)
		p.ExpectAfter(t, from, fmt.Sprintf(`seen=%d/0\.`, base))
		if before == 0 {
			before = descriptors(t, p.Cmd.Process.Pid)
		}
	}
	if after := descriptors(t, p.Cmd.Process.Pid); after != before {
		t.Errorf("%d descriptors after the first round, %d after the last", before, after)
	}
	execute(t, c, "quit")
	p.Wait(t)
}

// remove asks for a device's removal, again for as long as the guest is busy with the slot.
// A guest that is slower than its own button's timer (5 s) turns a slot off and on again,
// by which the device is gone, here as with QEMU.
func remove(t *testing.T, c *client.Client, id string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(hvrun.Patience)
	for {
		err := c.Execute(t.Context(), "device_del", map[string]string{"id": id}, nil)
		if err == nil || !strings.Contains(err.Error(), "guest is busy") {
			switch {
			case err == nil:
			case strings.Contains(err.Error(), "not found"):
				t.Logf("the guest has let go of %s by itself", id)
			default:
				t.Fatalf("device_del %s: %v", id, err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(err)
		}
	}
}

// awaitDeleted waits until devices with these ids are gone.
func awaitDeleted(t *testing.T, p *hvrun.Proc, c *client.Client, devices map[string]string) {
	t.Helper()
	limit := time.After(hvrun.Patience)
	look := time.NewTicker(2 * time.Second)
	defer look.Stop()
	left := maps.Clone(devices)
	for len(left) > 0 {
		select {
		case e := <-c.Events():
			if e.Name == "DEVICE_DELETED" {
				delete(left, string(e.Data.Get("device").Text()))
			}
		case <-look.C:
			p.Watch()
		case <-limit:
			for id := range left {
				// What a port answers tells whether its power indicator blinks.
				t.Logf("%s again: %v", id, c.Execute(t.Context(), "device_del", map[string]string{"id": id}, nil))
			}
			for cpu := range 2 {
				var text string
				args := map[string]any{"command-line": "info registers", "cpu-index": cpu}
				err := c.Execute(t.Context(), "human-monitor-command", args, &text)
				t.Logf("CPU %d (%v): %s", cpu, err, text)
			}
			t.Fatalf("the guest has not let go of %d devices", len(left))
		}
	}
}

// descriptors counts what a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// call runs a command with arguments in JSON.
func call(t *testing.T, c *client.Client, name, args string) {
	t.Helper()
	if err := c.Execute(t.Context(), name, json.RawMessage(args), nil); err != nil {
		t.Fatalf("%s %s: %v", name, args, err)
	}
}
