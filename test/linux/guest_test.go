package linux

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// qemu is the peer, with the same syntax.
const qemu = "qemu-system-x86_64"

// scratch returns a folder on the bed's disk, gone with the test.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/scratch", "hv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// tap makes a tap device that lives as long as the test.
func tap(t *testing.T, name string) {
	t.Helper()
	run(t, "ip", "tuntap", "add", name, "mode", "tap", "vnet_hdr")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	run(t, "ip", "link", "set", name, "up")
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// machine returns the options that both monitors start a bare q35 with.
func machine(cpus, mib int) []string {
	return []string{
		"-nodefaults", "-display", "none", "-machine", "q35", "-accel", "kvm", "-cpu", "host",
		"-smp", fmt.Sprint(cpus), "-m", fmt.Sprint(mib), "-serial", "stdio",
	}
}

// kernel returns the options that boot the cloud kernel into the small
// initramfs and run a script there.
func kernel(script string, more ...string) []string {
	cmdline := "console=ttyS0 panic=-1 " + strings.Join(more, " ") +
		" hv.run=" + base64.StdEncoding.EncodeToString([]byte(script))
	return []string{"-kernel", assets.kernel, "-initrd", assets.initrd, "-append", cmdline}
}

// elf has such options boot the same kernel from an ELF file.
func elf(options []string) []string {
	options[1] = assets.vmlinux
	return options
}

func join(parts ...[]string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// field returns what the guest printed after KEY=. The kernel's own messages share the
// line at times.
func field(t *testing.T, p *hvrun.Proc, key string) string {
	t.Helper()
	return strings.TrimSpace(p.Expect(t, `(?m)^`+key+`=(.*?)(?:\[ *\d+\.\d+\] .*)?\r?\n`)[1])
}
