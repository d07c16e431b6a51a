package linux

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// inventory is what a guest finds; the last line says that all was printed.
const inventory = `
echo cpus=$(grep -c ^processor /proc/cpuinfo)
echo mem=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
echo disks=$(for d in /sys/block/vd*; do echo ${d##*/}:$(cat $d/size):$(cat $d/serial); done)
echo nics=$(cat /sys/class/net/eth*/address)
echo ports=$(cat /sys/class/virtio-ports/*/name 2>/dev/null)
echo hvc=$(ls /dev/hvc0)
echo rng=$(cat /sys/class/misc/hw_random/rng_current)
echo clock=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
echo date=$(date +%s)
dd if=/dev/vda bs=4k count=64 iflag=direct of=/tmp/a 2>/dev/null && echo read=ok
echo hello >/dev/hvc0
`

// config is what one guest boots with: each kind of RAM and of kernel file once at least.
type config struct {
	cpus, mib int
	backend   string // the options of its -object, but for id and size
	boot      func([]string) []string
}

func bzImage(options []string) []string { return options }

// configs pairs every number of processors with every size of memory in a soak, and takes
// each of them once otherwise.
func configs(dir string) []config {
	all := []config{
		{1, 256, "memory-backend-ram,prealloc=on", bzImage},
		{2, 2048, "memory-backend-memfd,share=on", elf},
		{8, 6144, "memory-backend-file,mem-path=" + dir + "/ram,share=on,discard-data=on", bzImage},
	}
	if !hvrun.Soak() {
		return all
	}
	var pairs []config
	for _, c := range all {
		for _, m := range all {
			pairs = append(pairs, config{c.cpus, m.mib, m.backend, c.boot})
		}
	}
	return pairs
}

func TestBoots(t *testing.T) {
	tap(t, "hvt0")
	tap(t, "hvt1")
	dir := scratch(t)
	for _, c := range configs(dir) {
		t.Run(fmt.Sprintf("cpus=%d,mem=%d", c.cpus, c.mib), func(t *testing.T) { surviving(t, func() { boots(t, c) }) })
	}
	if st, err := os.Stat(dir + "/ram"); err != nil || st.Size() != 6144<<20 {
		t.Errorf("the RAM's file: %v", err)
	}
}

func boots(t *testing.T, s config) {
	a, b := hvrun.Image(t, scratch(t), 64), hvrun.Image(t, scratch(t), 96)
	p := start(t, hvrun.Binary(t), join(machine(s.cpus, s.mib), s.boot(kernel(inventory, "net.ifnames=0")), []string{
		"-machine", "memory-backend=m", "-object", fmt.Sprintf("%s,id=m,size=%dM", s.backend, s.mib),
		"-drive", "file=" + a + ",format=raw,if=none,id=a", "-device", "virtio-blk-pci,drive=a,serial=first",
		"-drive", "file=" + b + ",format=raw,if=none,id=b", "-device", "virtio-blk-pci,drive=b,serial=second",
		"-netdev", "tap,id=n0,ifname=hvt0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01",
		"-netdev", "tap,id=n1,ifname=hvt1,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n1,mac=52:54:00:00:00:02",
		"-device", "virtio-serial-pci", "-chardev", "file,id=c0,path=" + scratch(t) + "/hvc0", "-device", "virtconsole,chardev=c0",
		"-chardev", "null,id=c1", "-device", "virtserialport,chardev=c1,name=org.example.port",
		"-object", "rng-random,id=r,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r",
		"-device", "virtio-balloon-pci",
	})...)
	p.Expect(t, `script ended with 0`)
	for key, want := range map[string]string{
		"cpus": strconv.Itoa(s.cpus), "disks": "vda:131072:first vdb:196608:second",
		"nics": "52:54:00:00:00:01 52:54:00:00:00:02", "ports": "org.example.port", "hvc": "/dev/hvc0",
		"read": "ok", "rng": "virtio_rng.0", "clock": "kvm-clock",
	} {
		if got := field(t, p, key); got != want {
			t.Errorf("%s is %q in the guest, not %q", key, got, want)
		}
	}
	kib, err := strconv.Atoi(field(t, p, "mem"))
	if err != nil || kib < s.mib*1024*3/4 || kib > s.mib*1024 {
		t.Errorf("guest has %d KiB of %d MiB (%v)", kib, s.mib, err)
	}
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d after the guest's power-off", status)
	}
}

// TestDmesgLikeQEMU compares what the kernel complains about.
func TestDmesgLikeQEMU(t *testing.T) {
	img := hvrun.Image(t, scratch(t), 64)
	tap(t, "hvt0")
	devices := []string{
		"-drive", "file=" + img + ",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d",
		"-netdev", "tap,id=n,ifname=hvt0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n,romfile=",
		"-device", "virtio-serial-pci", "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci",
		"-device", "pcie-root-port,id=rp1,chassis=1,slot=1",
	}
	complaints := func(program string, devices []string) map[string]string {
		p := start(t, program, join(machine(2, 1024), kernel("dmesg -r | grep '^<[0-4]>' | sed 's/^/complaint=/'; echo all=done"), devices)...)
		p.Expect(t, `(?m)^all=done`)
		p.Wait(t)
		found := map[string]string{}
		for _, line := range strings.Split(p.Output(), "\n") {
			if c, ok := strings.CutPrefix(strings.TrimSpace(line), "complaint="); ok && !slow.MatchString(c) {
				found[normal(c)] = c
			}
		}
		return found
	}
	var theirs, ours map[string]string
	surviving(t, func() { theirs = complaints(qemu, devices) })
	var mine []string
	for _, d := range devices {
		mine = append(mine, strings.Replace(d, ",romfile=", "", 1))
	}
	surviving(t, func() { ours = complaints(hvrun.Binary(t), mine) })
	for n, line := range ours {
		if _, ok := theirs[n]; !ok {
			t.Errorf("only under hv: %s", line)
		}
	}
	t.Logf("%d complaints under hv, %d under QEMU", len(ours), len(theirs))
}

var (
	stamp  = regexp.MustCompile(`^<\d>\[ *\d+\.\d+\] `)
	number = regexp.MustCompile(`0x[0-9a-f]+|[0-9a-f]{2,}|[0-9]`)
	// slow tells of time that the bed's processor took, under either program on one boot and not on the next.
	slow = regexp.MustCompile(`hrtimer: interrupt took`)
	// dump is the registers, code and machine name that a warning comes with.
	dump = regexp.MustCompile(`^(R[A-Z0-9]{1,2}|[CDEFGS]S|CR[0-9]|Code|PKRU|Hardware name|CPU): .*`)
)

// normal strips what differs from boot to boot: time stamps, numbers, registers.
func normal(line string) string {
	return number.ReplaceAllString(dump.ReplaceAllString(stamp.ReplaceAllString(line, ""), "$1"), "N")
}
