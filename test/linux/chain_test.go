package linux

import (
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/test/hvrun"
)

// verified is the guest's part of TestChain: it writes and verifies until the disk has its
// last size, once more then, and says what the disk holds.
const verified = `
until [ -b /dev/vda ]; do sleep 0.1; done
cd /tmp
verify() {
	fio --name=v --filename=/dev/vda --rw=randwrite --bsrange=4k-64k --size=4m --offset=$(($n % 4 * 5))m --ioengine=libaio --iodepth=8 --direct=1 --thread \
		--verify=crc32c --verify_fatal=1 --verify_backlog=64 --do_verify=1 --verify_state_save=0 --randrepeat=0 --fsync=100 --output-format=terse >/tmp/out 2>&1 || echo fio=failed $(tail -n 3 /tmp/out)
	n=$((n + 1))
}
n=0
echo started=1
until [ $(cat /sys/block/vda/size) = LAST ]; do verify; done
verify
echo rounds=$n
echo sum=$(dd if=/dev/vda bs=1M 2>/dev/null | md5sum | cut -c-32)
`

// TestChain has fio verify a disk while the graph below it changes: overlays, one over the
// other, filters that come and go, other options, limits and sizes.
func TestChain(t *testing.T) { surviving(t, func() { chain(t) }) }

// overlays is a disk that gets one image after another.
type overlays struct {
	t    *testing.T
	c    *client.Client
	dir  string
	top  int
	size int64
}

const mib = 1 << 20

func chain(t *testing.T) {
	depth := hvrun.Count(12, 200)
	o := &overlays{t: t, dir: scratch(t), size: 32 * mib}
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", o.image(0), fmt.Sprint(o.size))
	last := o.size + int64(depth/4+1)*mib
	options := kernel(strings.ReplaceAll(verified, "LAST", fmt.Sprint(last/512)), "quiet")
	options[3] = assets.fio
	socket := o.dir + "/qmp"
	p := start(t, hvrun.Binary(t), join(machine(2, 1024), options, []string{
		"-qmp", "unix:" + socket + ",server=on,wait=off", "-object", "throttle-group,id=g", "-object", "iothread,id=io",
		"-blockdev", fmt.Sprintf(`{"driver":"qcow2","node-name":"n0","discard":"unmap","file":{"driver":"file","node-name":"f0","filename":%q}}`, o.image(0)),
		"-blockdev", `{"driver":"throttle","node-name":"limits","throttle-group":"g","file":"n0"}`,
		"-device", "virtio-blk-pci,drive=limits,id=disk,num-queues=2,iothread=io",
	})...)
	p.Expect(t, "started=1")
	began := time.Now()
	o.c = hvrun.Dial(t, p, socket)
	for o.top < depth {
		o.add()
		o.disturb()
	}
	t.Logf("%d changes in %v", depth, time.Since(began))
	o.do("qom-set", `{"path":"/objects/g","property":"limits","value":{}}`)
	o.do("block_set_io_throttle", `{"id":"disk","bps":0,"bps_rd":0,"bps_wr":0,"iops":0,"iops_rd":0,"iops_wr":0}`)
	o.resize(last)
	rounds, sum := field(t, p, "rounds"), field(t, p, "sum")
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	t.Logf("%s rounds of fio over %d images", rounds, depth+1)
	if got := p.Output(); strings.Contains(got, "fio=failed") {
		t.Error(field(t, p, "fio"))
	}
	o.check(sum)
	t.Logf("all done after %v", time.Since(began))
}

func (o *overlays) image(i int) string { return filepath.Join(o.dir, fmt.Sprintf("%d.qcow2", i)) }

func (o *overlays) do(name, format string, args ...any) {
	o.t.Helper()
	call(o.t, o.c, name, fmt.Sprintf(format, args...))
}

// add puts an image over the others, in one of the two ways that there are.
func (o *overlays) add() {
	o.t.Helper()
	old, path := o.top, o.image(o.top+1)
	o.top++
	if o.top%2 == 0 {
		o.do("blockdev-snapshot-sync", `{"node-name":"n%d","snapshot-file":%q,"snapshot-node-name":"n%d"}`, old, path, o.top)
		return
	}
	run(o.t, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", o.image(old), "-F", "qcow2", path, fmt.Sprint(o.size))
	o.do("blockdev-add", `{"driver":"file","node-name":"f%d","filename":%q}`, o.top, path)
	o.do("blockdev-add", `{"driver":"qcow2","node-name":"n%d","file":"f%d","backing":null,"discard":"unmap"}`, o.top, o.top)
	o.do("blockdev-snapshot", `{"node":"n%d","overlay":"n%d"}`, old, o.top)
}

// disturb changes what is about the newest image.
func (o *overlays) disturb() {
	o.t.Helper()
	n := o.top
	if n%2 == 1 {
		o.do("blockdev-reopen", `{"options":[{"driver":"qcow2","node-name":"n%d","file":"f%d","backing":"n%d","discard":"ignore","l2-cache-size":%d,"lazy-refcounts":%t}]}`,
			n, n, n-1, 65536*(n%4+1), n%4 == 1)
	}
	if n%3 == 0 {
		o.do("blockdev-add", `{"driver":"copy-on-read","node-name":"cor","file":"n%d"}`, n)
		o.do("blockdev-reopen", `{"options":[{"driver":"throttle","node-name":"limits","throttle-group":"g","file":"cor"}]}`)
		o.do("blockdev-add", `{"driver":"null-co","node-name":"extra","size":1048576}`)
		o.do("blockdev-del", `{"node-name":"extra"}`)
		o.do("blockdev-reopen", `{"options":[{"driver":"throttle","node-name":"limits","throttle-group":"g","file":"n%d"}]}`, n)
		o.do("blockdev-del", `{"node-name":"cor"}`)
	}
	if n%4 == 0 {
		o.do("qom-set", `{"path":"/objects/g","property":"limits","value":{"iops-total":%d}}`, 500*(n%3+1))
	}
	if n%5 == 0 {
		o.do("block_set_io_throttle", `{"id":"disk","bps":%d,"bps_rd":0,"bps_wr":0,"iops":0,"iops_rd":0,"iops_wr":0}`, n%3*20*mib)
	}
	if n%4 == 3 {
		o.resize(o.size + mib)
	}
}

func (o *overlays) resize(size int64) {
	o.t.Helper()
	o.size = size
	o.do("block_resize", `{"node-name":"limits","size":%d}`, size)
}

// check has all images be good, and hold together what the guest has seen last.
func (o *overlays) check(sum string) {
	o.t.Helper()
	for i := range o.top + 1 {
		// Those below it are not opened again and again.
		run(o.t, "qemu-img", "check", "-q", fmt.Sprintf(`json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":%q}}`, o.image(i)))
	}
	flat := filepath.Join(o.dir, "flat")
	run(o.t, "qemu-img", "convert", "-O", "raw", o.image(o.top), flat)
	f, err := os.Open(flat)
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	h := md5.New()
	if _, err := io.Copy(h, f); err != nil {
		o.t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != sum {
		o.t.Errorf("the images hold %s, the guest saw %s", got, sum)
	}
}
