package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

// load is what the guest does with its disk.
type load struct {
	name, what string
	n          int
}

var (
	reads = []load{
		{"read 4 KiB, depth 1", "op=read bs=4096 depth=1", 10000}, {"read 4 KiB, depth 32", "op=read bs=4096 depth=32", 50000},
		{"read 1 MiB in sequence", "op=read bs=1M rand=0 depth=4", 8000},
	}
	writes = []load{
		{"write 4 KiB, depth 1", "op=write bs=4096 depth=1", 10000}, {"write 4 KiB, depth 32", "op=write bs=4096 depth=32", 50000},
		{"write 1 MiB in sequence", "op=write bs=1M rand=0 depth=4", 4000},
	}
	allocating = []load{
		{"write 4 KiB, depth 1", "op=write bs=4096 depth=1 span=2G", 3000}, {"write 4 KiB, depth 32", "op=write bs=4096 depth=32 seed=7 span=2G", 6000},
		{"write 1 MiB in sequence", "op=write bs=1M rand=0 depth=4 span=1G", 500},
	}
)

// blkRounds is how often each works on each image.
const blkRounds = 3

// overlays is how many images lie over the one with the data, in a chain.
const overlays = 10

// disks are the images that the guest has.
var disks = []struct {
	name, format string
	make         func(b *testing.B, dir string) string
	loads        []load
}{
	{"raw", "raw", func(b *testing.B, dir string) string { return filled(b, dir, "raw", 0) }, append(reads[:3:3], writes...)},
	{"qcow2", "qcow2", func(b *testing.B, dir string) string { return filled(b, dir, "qcow2", 0) }, append(reads[:3:3], writes...)},
	{"qcow2 under 10 overlays", "qcow2", func(b *testing.B, dir string) string { return filled(b, dir, "qcow2", overlays) }, reads},
	{"empty qcow2", "qcow2", func(b *testing.B, dir string) string { return empty(b, dir, "64G") }, allocating},
}

// BenchmarkBlk is requests of the guest to a disk, with an I/O thread and io_uring on both sides.
func BenchmarkBlk(b *testing.B) {
	for _, where := range []struct{ name, dir string }{{"tmpfs", "/dev/shm"}, {"disk", b.TempDir()}} {
		b.Run(where.name, func(b *testing.B) {
			t := table{peer: "qemu"}
			for range b.N {
				for _, d := range disks {
					turns(blkRounds, [2]string(monitors(b)), func(program string) { t.boot(b, program, d.name, d.format, d.make(b, where.dir), d.loads) })
				}
			}
			t.report(b)
			for _, l := range reads[:2] {
				flat, chain := t.row("qcow2, "+l.name), t.row("qcow2 under 10 overlays, "+l.name)
				b.Logf("%s: a chain takes %.2f times as long as one image", l.name, median(flat.rates["hv"])/median(chain.rates["hv"]))
			}
		})
	}
}

var iops = regexp.MustCompile(`errors=(\d+) .*\biops=(\d+)`)

// boot has a guest work on a disk under a monitor.
func (t *table) boot(b *testing.B, program, disk, format, image string, loads []load) {
	b.Helper()
	defer os.RemoveAll(filepath.Dir(image))
	var commands []string
	for _, l := range loads {
		commands = append(commands, fmt.Sprintf("blk.bench %s n=%d", l.what, l.n))
	}
	p := hvrun.Start(b, program, "-machine", "q35,accel=kvm", "-m", "64", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", guestFile(b), "-append", strings.Join(commands, "; ")+"; poweroff",
		"-object", "iothread,id=io", "-drive", "file="+image+",format="+format+",if=none,id=d,aio=io_uring", "-device", "virtio-blk-pci,drive=d,iothread=io")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if _, err := p.WaitContext(ctx); err != nil {
		b.Fatal(err)
	}
	lines := iops.FindAllStringSubmatch(p.Output(), -1)
	if len(lines) != len(loads) {
		b.Fatalf("%d of %d loads: %s", len(lines), len(loads), p.Output())
	}
	for i, l := range loads {
		rate, err := strconv.ParseFloat(lines[i][2], 64)
		if err != nil || lines[i][1] != "0" {
			b.Fatalf("%s: %s", l.name, p.Output())
		}
		t.add(disk+", "+l.name, name(program), rate)
	}
}

func run(b *testing.B, tool string, args ...string) {
	b.Helper()
	if out, err := exec.Command(hvrun.Tool(b, tool), args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
}

// filled makes an image of 64 MiB of which all is allocated, under n empty ones.
func filled(b *testing.B, dir, format string, n int) string {
	b.Helper()
	dir = scratch(b, dir)
	top := filepath.Join(dir, "0")
	run(b, "qemu-img", "create", "-q", "-f", format, top, "64M")
	run(b, "qemu-io", "-f", format, "-c", "write -q -P 7 0 64M", top)
	for i := range n {
		next := filepath.Join(dir, strconv.Itoa(i+1))
		run(b, "qemu-img", "create", "-q", "-f", format, "-b", top, "-F", format, next)
		top = next
	}
	return top
}

// empty makes an image without clusters.
func empty(b *testing.B, dir, size string) string {
	b.Helper()
	path := filepath.Join(scratch(b, dir), "empty")
	run(b, "qemu-img", "create", "-q", "-f", "qcow2", path, size)
	return path
}
