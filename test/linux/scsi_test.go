package linux

import (
	"crypto/md5"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/test/hvrun"
)

// units is the guest's part of TestSCSI. It goes from one thing to the next as it sees what
// the host does.
const units = `
until [ -b /dev/sda ] && [ -b /dev/sr0 ]; do sleep 0.1; done
echo 0 >/proc/sys/dev/cdrom/autoclose
echo disk=$(cat /sys/block/sda/size) $(cat /sys/block/sda/device/vendor /sys/block/sda/device/model) $(cat /sys/block/sda/queue/write_cache)
echo queues=$(ls /sys/block/sda/mq | wc -l)
dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
dd if=/tmp/data of=/dev/sda bs=64k conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
echo written=$(md5sum </tmp/data | cut -c-32) $(dd if=/dev/sda bs=1M count=8 2>/dev/null | md5sum | cut -c-32)
blkdiscard -o 1048576 -l 1048576 /dev/sda
echo 3 >/proc/sys/vm/drop_caches
echo discarded=$(dd if=/dev/sda bs=1M skip=1 count=1 2>/dev/null | md5sum | cut -c-32) $(dd if=/dev/zero bs=1M count=1 2>/dev/null | md5sum | cut -c-32)
echo cd=$(dd if=/dev/sr0 bs=2k 2>/dev/null | md5sum | cut -c-32)
until [ -b /dev/sdb ]; do sleep 0.1; done
echo plugged=$(cat /sys/block/sdb/size) $(cat /sys/block/sdb/device/vpd_pg80 | tail -c 4)
while [ -b /dev/sdb ]; do sleep 0.1; done
echo unplugged=1
until [ $(cat /sys/block/sda/size) != 131072 ]; do sleep 0.1; done
echo resized=$(cat /sys/block/sda/size)
old=$(dd if=/dev/sr0 bs=2k 2>/dev/null | md5sum)
ejectcd /dev/sr0
until new=$(dd if=/dev/sr0 bs=2k 2>/dev/null | md5sum) && [ -n "$new" ] && [ "$new" != "$old" ] && [ $(cat /sys/block/sr0/size) = 8192 ]; do sleep 0.2; done
echo changed=$(dd if=/dev/sr0 bs=2k 2>/dev/null | md5sum | cut -c-32)
`

// TestSCSI has Debian's drivers use a disk and a CD drive behind virtio-scsi.
func TestSCSI(t *testing.T) { surviving(t, func() { scsiUnits(t) }) }

// noise makes a file of random bytes and returns its path and sum.
func noise(t *testing.T, dir, name string, size int) (path, sum string) {
	t.Helper()
	b := make([]byte, size)
	_, _ = rand.Read(b)
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", md5.Sum(b))
}

func scsiUnits(t *testing.T) {
	dir := scratch(t)
	first, firstSum := noise(t, dir, "first.iso", 2<<20)
	second, secondSum := noise(t, dir, "second.iso", 4<<20)
	socket := dir + "/qmp"
	p := start(t, hvrun.Binary(t), join(machine(2, 512), kernel(units, "quiet"), []string{
		"-qmp", "unix:" + socket + ",server=on,wait=off", "-device", "virtio-scsi-pci,id=s",
		"-drive", "if=none,id=d,format=raw,discard=unmap,file=" + hvrun.Image(t, dir, 64), "-device", "scsi-hd,drive=d,id=disk",
		"-drive", "if=none,id=c,format=raw,media=cdrom,file=" + first, "-device", "scsi-cd,drive=c,id=cd",
		"-drive", "if=none,id=more,format=raw,file=" + hvrun.Image(t, dir, 16),
	})...)
	if got := field(t, p, "disk"); got != "131072 QEMU QEMU HARDDISK write back" {
		t.Errorf("the disk is %s", got)
	}
	if got := field(t, p, "queues"); got != "2" {
		t.Errorf("it has %s queues", got)
	}
	for _, key := range []string{"written", "discarded"} {
		if got := field(t, p, key); got[:32] != got[33:] {
			t.Errorf("%s: %s", key, got)
		}
	}
	if got := field(t, p, "cd"); got != firstSum {
		t.Errorf("the CD has %s, not %s", got, firstSum)
	}
	c := hvrun.Dial(t, p, socket)
	call(t, c, "device_add", `{"driver":"scsi-hd","id":"new","drive":"more","serial":"ser1","bus":"s.0","scsi-id":200,"lun":3}`)
	if got := field(t, p, "plugged"); got != "32768 ser1" {
		t.Errorf("the new disk is %s", got)
	}
	call(t, c, "device_del", `{"id":"new"}`)
	p.Expect(t, "unplugged=1")
	call(t, c, "block_resize", `{"device":"d","size":134217728}`)
	if got := field(t, p, "resized"); got != "262144" {
		t.Errorf("the disk now has %s sectors", got)
	}
	trayOpens(t, c)
	call(t, c, "blockdev-change-medium", fmt.Sprintf(`{"id":"cd","filename":%q,"format":"raw"}`, second))
	if got := field(t, p, "changed"); got != secondSum {
		t.Errorf("the new CD has %s, not %s", got, secondSum)
	}
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// trayOpens waits until the guest has opened its tray.
func trayOpens(t *testing.T, c *client.Client) {
	t.Helper()
	limit := time.After(hvrun.Patience)
	for {
		select {
		case e := <-c.Events():
			if e.Name == "DEVICE_TRAY_MOVED" && string(e.Data.Get("id").Text()) == "cd" {
				return
			}
		case <-limit:
			t.Fatal("the guest has not ejected its CD")
		}
	}
}
