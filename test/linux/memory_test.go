package linux

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// memory prints how much there is whenever that changed, and ends with the device's word.
const memory = `
ls -d /sys/bus/virtio/drivers/virtio_mem/virtio* >/dev/null && echo driver=ok
last=
while :; do
	now=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
	[ "$now" = "$last" ] || echo total=$now
	last=$now
	sleep 1
done
`

// TestMemoryGrowsAndShrinks has the guest plug and unplug memory as it is asked to.
func TestMemoryGrowsAndShrinks(t *testing.T) {
	surviving(t, func() { growsAndShrinks(t) })
}

func growsAndShrinks(t *testing.T) {
	const base, mib = 512, 1 << 20
	socket := filepath.Join(scratch(t), "qmp")
	p := start(t, hvrun.Binary(t), join(machine(1, base), kernel(memory, "memhp_default_state=online_movable"), []string{
		"-m", fmt.Sprintf("%d,slots=2,maxmem=4G", base), "-object", "memory-backend-memfd,id=m,size=2G",
		"-device", "virtio-mem-pci,id=vm,memdev=m", "-qmp", "unix:" + socket + ",server=on,wait=off",
	})...)
	p.Expect(t, `driver=ok`)
	c := hvrun.Dial(t, p, socket)
	first, err := strconv.Atoi(field(t, p, "total"))
	if err != nil {
		t.Fatal(err)
	}
	for _, requested := range []int{256, 384, 128, 0} {
		from := len(p.Output())
		request(t, c, requested*mib)
		plugged(t, p, c, requested*mib)
		p.ExpectAfter(t, from, fmt.Sprintf(`(?m)^total=%d\r?\n`, first+requested*1024))
	}
	execute(t, c, "quit")
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// request sets requested-size.
func request(t *testing.T, c *client.Client, size int) {
	t.Helper()
	args := fmt.Sprintf(`{"path":"vm","property":"requested-size","value":%d}`, size)
	if err := c.Execute(context.Background(), "qom-set", json.RawMessage(args), nil); err != nil {
		t.Fatal(err)
	}
}

// plugged waits until the device tells that so much is plugged.
func plugged(t *testing.T, p *hvrun.Proc, c *client.Client, size int) {
	t.Helper()
	limit := time.After(hvrun.Patience)
	for {
		select {
		case e := <-c.Events():
			if n, _ := e.Data.Get("size").Int64(); e.Name == qapi.EventMemoryDeviceSizeChange.Name && int(n) == size {
				return
			}
		case <-limit:
			t.Fatalf("%d bytes were not plugged:\n%s", size, p.Output())
		}
	}
}
