package e2e

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"hv/test/hvrun"
)

// TestManyVMs runs many VMs at once; all answer, all stop cleanly.
func TestManyVMs(t *testing.T) {
	n := hvrun.Count(24, 200)
	vms := make([]*vm, n)
	for i := range vms {
		vms[i] = start(t, "-nodefaults", "-display", "none", "-cpu", "host", "-m", "16", "-append", "idle", "-name", fmt.Sprintf("many-%d", i))
	}
	var wg sync.WaitGroup
	for _, v := range vms {
		wg.Go(func() {
			for _, c := range []string{"query-status", "stop", "cont", "query-cpus-fast", "quit"} {
				if err := v.try(c); err != nil {
					t.Errorf("%s: %v", c, err)
				}
			}
		})
	}
	wg.Wait()
	for _, v := range vms {
		v.ends(t, 0)
	}
}

// TestHammer pauses, resumes and resets a guest that writes to its disk, at random.
// The guest itself checks at each start that no sector is torn and none is older than
// what it flushed.
func TestHammer(t *testing.T) {
	disk := hvrun.Image(t, t.TempDir(), 8)
	v := start(t, bare(t, "blk.torture size=1M depth=16 every=1", withDisk(disk)...)...)
	v.Expect(t, "blk.torture")
	counted := make(chan map[string]int)
	go func() {
		seen := map[string]int{}
		for e := range v.c.Events() {
			seen[e.Name]++
		}
		counted <- seen
	}()
	rng := rand.New(rand.NewPCG(7, 7))
	n := hvrun.Count(300, 10000)
	resets, from := 0, 0
	for range n {
		if rng.IntN(20) != 0 {
			v.do(t, "stop")
			v.do(t, "cont")
			continue
		}
		// A reset hits the guest in the middle of its writes, so it must have begun.
		v.ExpectAfter(t, from, `blk.torture dev=0 gen=\d+`)
		from = len(v.Output())
		v.do(t, "system_reset")
		resets++
	}
	v.do(t, "query-status")
	v.do(t, "quit")
	v.ends(t, 0)
	checkTorture(t, v.Output())
	if seen := <-counted; seen["STOP"] != n-resets || seen["RESUME"] != n-resets || seen["RESET"] != resets {
		t.Errorf("%d stops and %d resets were announced as %v", n-resets, resets, seen)
	}
	t.Logf("%d commands, %d resets", n, resets)

	// What the disk holds at the end is checked by a new guest.
	p := hvrun.Start(t, hvrun.Binary(t), bare(t, "blk.torture size=1M n=1; poweroff", withDisk(disk)...)...)
	p.Wait(t)
	checkTorture(t, p.Output())
}

var generation = regexp.MustCompile(`gen=(\d+)`)

// checkTorture looks for sectors that the guest found wrong, and for records of what was
// flushed that went missing.
func checkTorture(t *testing.T, out string) {
	t.Helper()
	last := 0
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "guest: error") || regexp.MustCompile(`bad=[1-9]`).MatchString(line) {
			t.Error(line)
		}
		if strings.Contains(line, "flushed=0 ") && last > 1 {
			t.Errorf("after generation %d: %s", last, line)
		}
		if m := generation.FindStringSubmatch(line); m != nil {
			last, _ = strconv.Atoi(m[1])
		}
	}
	if last == 0 {
		t.Error("the guest wrote nothing")
	}
}

// TestHostileGuest has the guest misuse its devices in all ways it knows; hv stays
// alive and the device comes back after a reset.
func TestHostileGuest(t *testing.T) {
	seeds := hvrun.Count(2, 50)
	for _, rings := range []string{"packed=0", "packed=1"} {
		args := bare(t, "badring kind=all "+rings+" ms=10; poweroff", "-drive", "file="+hvrun.Image(t, t.TempDir(), 8)+",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d,packed=on")
		v := start(t, args...)
		v.ends(t, 0)
		if strings.Contains(v.Output(), "panic:") || !strings.Contains(v.Output(), "badring") {
			t.Error(v.Output())
		}
	}
	for seed := range seeds {
		v := start(t, bare(t, fmt.Sprintf("wildregs seed=%d n=5000 bars=1; print=survived; poweroff", seed+1), append(withDisk(hvrun.Image(t, t.TempDir(), 8)),
			"-no-reboot", "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci", "-device", "virtio-serial-pci", "-device", "pcie-root-port,id=p")...)...)
		// Wild accesses may well reset the machine; what may not happen is that hv
		// dies or hangs.
		v.ends(t, 0)
		if strings.Contains(v.Output(), "panic:") {
			t.Errorf("seed %d: %s", seed, v.Output())
		}
	}
}

// TestDataPaths drives every device with its own checks.
func TestDataPaths(t *testing.T) {
	for name, commands := range map[string]string{
		"split":    "blk.verify size=4M depth=32",
		"packed":   "blk.verify size=4M depth=32 packed=1",
		"indirect": "blk.verify size=2M indirect=1",
		"msi-x":    "blk.verify size=1M irq=1",
		"zeroes":   "blk.write sector=8; blk.zeroes sector=8 size=4096; blk.discard sector=64 size=4096; blk.flush",
		"rng":      "rng n=4096",
		"memory":   "mem.pattern size=16M",
		"queues":   "blk.verify size=1M queue=1",
	} {
		t.Run(name, func(t *testing.T) {
			p := hvrun.Start(t, hvrun.Binary(t), bare(t, commands+"; poweroff", "-drive", "file="+hvrun.Image(t, t.TempDir(), 16)+",format=raw,if=none,id=d",
				"-device", "virtio-blk-pci,drive=d,packed=on,num-queues=2", "-device", "virtio-rng-pci")...)
			if p.Wait(t) != 0 || strings.Contains(p.Output(), "guest: error") || regexp.MustCompile(`bad=[1-9]`).MatchString(p.Output()) {
				t.Errorf("%s", p.Output())
			}
		})
	}
}
