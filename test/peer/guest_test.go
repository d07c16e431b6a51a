package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"hv/test/hvrun"
)

// guestFile writes the embedded guest out, for QEMU.
func guestFile(b *testing.B) string {
	b.Helper()
	return filepath.Join(hvrun.Root(b), "testdata/guest/guest.elf")
}

// figure boots the guest with commands under a monitor and returns the number that it prints
// after key=.
func figure(b *testing.B, program, commands, key string, devices ...string) float64 {
	b.Helper()
	p := boot(b, nil, program, commands+"; poweroff", devices...)
	defer func() { <-p.Ended() }()
	return printed(b, p, key)
}

// boot starts a monitor with the guest, and open files from descriptor 3 on.
func boot(b *testing.B, files []*os.File, program, commands string, devices ...string) *hvrun.Proc {
	b.Helper()
	args := append([]string{
		"-machine", "q35,accel=kvm", "-m", "64", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", guestFile(b), "-append", commands,
	}, devices...)
	return hvrun.StartWith(b, files, program, args...)
}

// printed waits for the number that the guest prints after key=.
func printed(b *testing.B, p *hvrun.Proc, key string) float64 {
	b.Helper()
	v, err := strconv.ParseFloat(p.Expect(b, `\b`+key+`=(\d+)\s`)[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// rounds is how often the monitors take turns; the median counts.
const rounds = 5

// compare measures a figure under both monitors in turn and reports the medians and
// their ratio.
func compare(b *testing.B, unit string, measure func(program string) float64) {
	b.Helper()
	for range b.N {
		all := map[string][]float64{}
		for range rounds {
			for _, m := range monitors(b) {
				all[m] = append(all[m], measure(m))
			}
		}
		ours, theirs := median(all[monitors(b)[0]]), median(all[qemu])
		b.ReportMetric(ours, "hv-"+unit)
		b.ReportMetric(theirs, "qemu-"+unit)
		b.ReportMetric(ours/theirs, "hv/qemu")
	}
}

// load is what the guest does with its disk.
type load struct {
	name, what string
	n          int
}

var loads = []load{
	{"read/depth=1", "op=read bs=4096 depth=1", 20000}, {"read/depth=32", "op=read bs=4096 depth=32", 100000},
	{"write/depth=1", "op=write bs=4096 depth=1", 20000}, {"write/depth=32", "op=write bs=4096 depth=32", 100000},
	{"sequential-read", "op=read bs=1M rand=0 depth=4", 2000}, {"sequential-write", "op=write bs=1M rand=0 depth=4", 1000},
}

// BenchmarkBlk is requests of the guest to a disk whose data is all there, with an I/O thread and
// io_uring on both sides.
func BenchmarkBlk(b *testing.B) {
	for _, where := range []struct{ name, dir string }{{"tmpfs", "/dev/shm"}, {"disk", b.TempDir()}} {
		for _, format := range []string{"raw", "qcow2"} {
			for _, l := range loads {
				b.Run(where.name+"/"+format+"/"+l.name, func(b *testing.B) { blk(b, where.dir, format, l) })
			}
		}
	}
}

// fullImage makes an image of 64 MiB of which all is allocated.
func fullImage(b *testing.B, dir, format string) string {
	b.Helper()
	f, err := os.CreateTemp(dir, "hv-bench")
	if err != nil {
		b.Fatal(err)
	}
	f.Close()
	b.Cleanup(func() { os.Remove(f.Name()) })
	hvrun.Tool(b, "qemu-img")
	for _, c := range [][]string{
		{"qemu-img", "create", "-q", "-f", format, f.Name(), "64M"}, {"qemu-io", "-f", format, "-c", "write -q -P 7 0 64M", f.Name()},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	return f.Name()
}

func blk(b *testing.B, dir, format string, l load) {
	image := fullImage(b, dir, format)
	commands := fmt.Sprintf("blk.bench %s n=%d", l.what, l.n)
	compare(b, "iops", func(program string) float64 {
		return figure(b, program, commands, "iops", "-object", "iothread,id=io", "-drive", "file="+image+",format="+format+",if=none,id=d,aio=io_uring",
			"-device", "virtio-blk-pci,drive=d,iothread=io")
	})
}
