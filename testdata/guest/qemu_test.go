package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

// run boots the guest under QEMU's emulator with a debug exit device, and
// returns what it printed and the code that it left with.
func run(t *testing.T, commands string, options ...string) (string, int) {
	t.Helper()
	qemu := hvrun.Tool(t, "qemu-system-x86_64")
	kernel := filepath.Join(t.TempDir(), "guest.elf")
	if err := os.WriteFile(kernel, ELF, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append([]string{"-M", "q35", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0x501", "-kernel", kernel, "-append", commands}, options...)
	out, err := exec.CommandContext(ctx, qemu, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("qemu: %v", err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q did not end:\n%s", commands, out)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode() >> 1 // the device exits with code<<1|1
	}
	return strings.ReplaceAll(string(out), "\r", ""), code
}

// want fails the test for each pattern that no line matches.
func want(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)^guest: ` + p + `$`).MatchString(out) {
			t.Errorf("no line %q in:\n%s", p, out)
		}
	}
}

func disk(t *testing.T, size int64) (string, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path, []string{"-drive", "if=none,id=d,format=raw,file=" + path, "-device", "virtio-blk-pci,drive=d,packed=on,serial=disk-0"}
}

func TestCommandLine(t *testing.T) {
	out, code := run(t, "print=hello world;; print a=b spin ms=1 nonsense=1; bogus; print; exit=5")
	want(t, out, "hello world", "a=b", "spin ms=1", "error unknown command bogus", " *")
	if code != 5 {
		t.Errorf("exit code %d", code)
	}
	if out, code := run(t, "mem.module; exit"); code != 1 {
		t.Errorf("exit code %d after a failure:\n%s", code, out)
	}
}

func TestMachine(t *testing.T) {
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := run(t, "pci; acpi; cpuid leaf=0; mem.map; mem.pattern size=4M; mem.pattern addr=5G size=4M; mem.module; ioexit n=10; poweroff",
		"-initrd", initrd, "-m", "4096")
	want(t, out, `pci 00:00\.0 8086:29c0 class=060000`, `acpi table=FACP .* checksum=0`, `cpuid leaf=0x0 .*`, `mem\.map addr=0x100000 .* type=1`,
		`mem\.pattern addr=0x140000000 size=4194304 seed=1 bad=0 .*`, `mem\.module addr=0x.* size=5 fnv=0xa430d84680aabd0b`, `ioexit op=out .*`)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestEnds(t *testing.T) {
	// With -no-reboot QEMU leaves at a reset, and by its action at a panic.
	for commands, line := range map[string]string{"reset": `boot .*`, "triple": `boot .*`, "panic; fault": `boot .*`} {
		out, code := run(t, commands, "-device", "pvpanic", "-action", "panic=shutdown")
		want(t, out, line)
		if code != 0 || strings.Contains(out, "error") {
			t.Errorf("%s: exit code %d:\n%s", commands, code, out)
		}
	}
}

func TestBlk(t *testing.T) {
	_, options := disk(t, 8<<20)
	for _, ring := range []string{"", "packed=1", "indirect=1 irq=1", "packed=1 indirect=1 irq=1", "event=0 irq=1", "qsize=8 depth=64"} {
		out, code := run(t, fmt.Sprintf("blk.info %[1]s; blk.verify size=1M %[1]s; blk.bench n=500 depth=8 %[1]s; blk.bench op=write n=100 %[1]s; "+
			"blk.write sector=9 seed=3 %[1]s; blk.read sector=9 %[1]s; blk.zeroes sector=8 size=4K %[1]s; blk.read sector=9 %[1]s; "+
			"blk.discard sector=8 %[1]s; blk.flush %[1]s; exit", ring), options...)
		want(t, out, `blk\.info dev=0 capacity=16384 .* serial="disk-0" status=0`, `blk\.verify .* bad=0`, `blk\.bench dev=0 op=read bs=4096 .* errors=0 .*`,
			`blk\.bench dev=0 op=write .* errors=0 .*`, `blk\.write dev=0 sector=9 .* status=0`, `blk\.read dev=0 sector=9 .* sum=0x0 .* status=0`,
			`blk\.flush dev=0 status=0`)
		if code != 0 {
			t.Errorf("%q: exit code %d:\n%s", ring, code, out)
		}
	}
}

// TestVmem plugs and unplugs memory of QEMU's device.
func TestVmem(t *testing.T) {
	out, code := run(t, "vmem; vmem size=4M packed=1; vmem size=10M irq=1; vmem unplugall=1 size=0; exit", "-m", "32,maxmem=1G",
		"-object", "memory-backend-ram,id=m,size=256M", "-device", "virtio-mem-pci,memdev=m,requested-size=16M,block-size=2M,packed=on")
	want(t, out, `vmem addr=0x100000000 region=268435456 usable=268435456 requested=16777216 plugged=16777216 plugs=8 unplugs=0 answer=0 bad=0`,
		`vmem .* plugged=4194304 plugs=0 unplugs=6 answer=0 bad=0`, `vmem .* plugged=10485760 plugs=3 unplugs=0 answer=0 bad=0`,
		`vmem .* plugged=0 plugs=0 unplugs=0 answer=0 bad=0`)
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// TestVerifyFinds makes sure that what is wrong on a disk is found.
func TestVerifyFinds(t *testing.T) {
	path, options := disk(t, 4<<20)
	if out, code := run(t, "blk.torture n=1; exit", options...); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := run(t, "blk.torture n=3 packed=1; exit", options...)
	want(t, out, `blk\.torture start dev=0 sectors=2040 flushed=1 newest=1 bad=0`, `blk\.torture dev=0 gen=4`, `blk\.torture end dev=0 gen=4 bad=0`)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line, spoil := range map[string]func(b []byte){
		`error blk torn sector=100 .*`:               func(b []byte) { b[100*512+77] ^= 1 },
		`error blk torn sector=200 .*`:               func(b []byte) { copy(b[200*512+256:201*512], old[200*512+256:]) },
		`error blk lost sector=300 .* gen=1 .*`:      func(b []byte) { copy(b[300*512:301*512], old[300*512:]) },
		`error blk misplaced sector=400 says=401 .*`: func(b []byte) { copy(b[400*512:401*512], good[401*512:]) },
	} {
		bad := bytes.Clone(good)
		spoil(bad)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := run(t, "blk.torture n=1; exit", options...)
		want(t, out, line, `blk\.torture end dev=0 gen=4 bad=1`)
		if code != 1 {
			t.Errorf("exit code %d", code)
		}
	}
}

// TestMisbehaviour tries kinds that QEMU survives.
func TestMisbehaviour(t *testing.T) {
	_, options := disk(t, 1<<20)
	out, code := run(t, "badring kind=head_out_of_range; badring kind=loop_of_two; badring kind=huge_length; badring kind=size_ffff; "+
		"badring packed=1 kind=header_writable; wildregs n=3000 seed=7; blk.verify; exit", append(options, "-d", "guest_errors", "-D", os.DevNull)...)
	want(t, out, `badring .* name=head_out_of_range .* needs_reset=1 .* recovered=1`, `badring .* name=size_ffff .* recovered=1`,
		`wildregs seed=7 n=3000 .* broken=0`, `blk\.verify .* bad=0`)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
}
