// Package linux boots stock Debian kernels and a stock Debian image under hv,
// beside QEMU where they are compared. It runs in the testbed: the test binary
// starts itself again there.
package linux

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// assets are made on this machine and seen in the bed under the same paths.
var assets = struct{ dir, kernel, vmlinux, initrd, fio, net, image string }{}

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("HV_TESTBED") != "" {
		locate(os.Getenv("HV_ASSETS"))
		if err := mountDebugfs(); err != nil {
			fmt.Fprintln(os.Stderr, "debugfs:", err)
			os.Exit(1)
		}
		go sayAlive()
		os.Exit(m.Run())
	}
	status, err := inBed()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
	os.Exit(status)
}

func locate(dir string) {
	assets.dir = dir
	assets.kernel = os.Getenv("HV_GUEST_KERNEL")
	assets.vmlinux = filepath.Join(dir, "vmlinux")
	assets.initrd = filepath.Join(dir, "initrd")
	assets.fio = filepath.Join(dir, "initrd-fio")
	assets.net = filepath.Join(dir, "initrd-net")
	assets.image = filepath.Join(dir, "debian.img")
}

// inBed makes the guests' files and runs this very test binary in the bed.
func inBed() (int, error) {
	dir, err := filepath.Abs("../out")
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	bed, err := filepath.Abs("../testbed/testbed")
	if err != nil {
		return 0, err
	}
	locate(dir)
	hello, eject := filepath.Join(dir, "vsockhello"), filepath.Join(dir, "ejectcd")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/", "./vsockhello", "./ejectcd", "./netguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("programs for guests: %w\n%s", err, out)
	}
	for _, e := range elsewhere {
		build := exec.Command("go", "test", "-c", "-o", testProgram(dir, e.pkg), e.pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("tests of %s: %w\n%s", e.pkg, err, out)
		}
	}
	for _, args := range [][]string{
		{"guest-kernel", assets.vmlinux},
		{"guest-initrd", "--modules", "virtio_mem virtio_scsi sd_mod sr_mod", "--add", hello + ":/bin/vsockhello", "--add", eject + ":/bin/ejectcd", assets.initrd},
		{"guest-initrd", "--add", "fio", assets.fio},
		{"guest-initrd", "--add", filepath.Join(dir, "netguest") + ":/bin/netguest", "--add", "ip", "--add", "iperf3", assets.net},
		{"image", "--kernel", assets.image},
	} {
		if out, err := exec.Command(bed, args...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	limit := "3000" // for a slow machine; here it takes a fifth of it
	if os.Getenv("HV_SOAK") != "" {
		limit = "14400"
	}
	// Processors that wait by polling need no interrupt to wake: fewer guests are lost.
	args := []string{"run", "--mem", "8192", "--scratch", "16", "--append", " idle=poll", "--timeout", limit, "--env", "HV_ASSETS=" + dir, "--", self}
	out := &passes{out: os.Stdout}
	if flag.Lookup("test.bench").Value.String() == "" {
		args = append(args, "-test.v") // what passed is known by it
	}
	args = append(args, os.Args[1:]...)
	for try := 1; ; try++ {
		status, err := runBed(out, bed, append(args, out.skip()...)...)
		if err != nil || status != bedFailed || try == beds {
			return status, err
		}
		fmt.Fprintln(os.Stderr, "the bed's own kernel failed, which is the emulator's fault (see lost_test.go); what has not passed is run again")
	}
}
