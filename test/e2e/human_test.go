package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

// human runs a line of the human monitor through QMP.
func (v *vm) human(t testing.TB, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	var text string
	if err := v.c.Execute(ctx, "human-monitor-command", map[string]string{"command-line": line}, &text); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return text
}

func TestHumanMonitorCommand(t *testing.T) {
	v := start(t, bare(t, "print=up; idle", "-smp", "2", "-name", "human", "-device", "pcie-root-port,id=rp", "-device", "virtio-rng-pci,id=r0,bus=rp")...)
	v.Expect(t, "guest: up")
	for line, want := range map[string]string{
		"info status": `^VM status: running\r\n$`, "info name": `^human\r\n$`, "info kvm": `^kvm support: enabled\r\n$`,
		"info cpus":      `^\* CPU #0: thread_id=\d+\r\n  CPU #1: thread_id=\d+\r\n$`,
		"info registers": `^\r\nCPU#0\r\nRAX=[0-9a-f]{16} `, "info registers 1": `^\r\nCPU#1\r\n`,
		"info mem": `^0{16}-[0-9a-f]{16} [0-9a-f]{16} urw\r\n`, "p/x $cs": `^0x[0-9a-f]+\r\n$`,
		"x/3i $rip": `^(0x[0-9a-f]{8}:  ([0-9a-f]{2} )+ +\S.*\r\n){3}$`, "x/2xg $rsp": `^[0-9a-f]{16}: 0x[0-9a-f]{16} 0x[0-9a-f]{16}\r\n$`,
		"xp/2xb 0x100000": `^0000000000100000: 0x[0-9a-f]{2} 0x[0-9a-f]{2}\r\n$`, "xp 0xfffffffff0000": `Cannot access memory\r\n$`,
		"sum 0 4096": `^\d{5}\r\n$`, "gva2gpa 0x100000": `^gpa: 0x100000\r\n$`,
		"info qtree":      `(?s)dev: pcie-root-port, id "rp".*bus: rp.*dev: virtio-rng-pci, id "r0".*max-bytes = `,
		"device_add help": `name "virtio-rng-pci", bus PCI`, "device_add virtio-rng-pci,help": `(?m)^  max-bytes=<uint64>`,
		"info mtree": `(?s)address-space: memory.*ram.*address-space: I/O.*pci-conf`, "info qdm": `name "virtio-rng-pci", bus PCI`, "info network": `^$`,
		"info qom-tree /machine/peripheral": `(?s)^/peripheral \(container\)\r\n  /r0 \(virtio-rng-pci\).*  /rp \(pcie-root-port\)`,
		"help info status":                  `^info status  -- `, "nothing": `^unknown command: 'nothing'\r\n$`, "info pci": `(?s)id "rp".*id "r0"`,
	} {
		if got := v.human(t, line); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s prints\n%.2000s\nnot %s", line, got, want)
		}
	}
	v.human(t, "stop")
	v.event(t, "STOP")
	if got := v.human(t, "info status"); got != "VM status: paused\r\n" {
		t.Errorf("after stop: %q", got)
	}
	v.human(t, "q")
	v.ends(t, 0)
}

func TestHumanMonitorOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "human")
	v := start(t, bare(t, "print=up; idle", "-monitor", "unix:"+path+",server=on,wait=off")...)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(hvrun.Patience)); err != nil {
		t.Fatal(err)
	}
	seen, buf := "", make([]byte, 4096)
	for _, step := range []struct{ keys, want string }{
		{"", "QEMU 7.2.0 monitor - type 'help' for more information\r\n(qemu) "}, {"info nam\t\r", "info name \r\n"}, {"system_res\t\r", "\r\n(qemu) "}, {"quit\n", "quit\r\n"},
	} {
		if _, err := fmt.Fprint(c, step.keys); err != nil {
			t.Fatal(err)
		}
		for !strings.Contains(seen, step.want) {
			n, err := c.Read(buf)
			seen += string(buf[:n])
			if err != nil {
				t.Fatalf("%v after %q, without %q", err, seen, step.want)
			}
		}
		seen = seen[strings.Index(seen, step.want)+len(step.want):]
	}
	v.ends(t, 0)
}

// hvctl runs the operator's tool and returns what it prints and its exit status.
func hvctl(t *testing.T, args ...string) (string, int) {
	t.Helper()
	path := filepath.Join(filepath.Dir(hvrun.Binary(t)), "hvctl")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hvrun.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestHvctl(t *testing.T) {
	name := fmt.Sprintf("hvctl-test-%d", os.Getpid())
	p := hvrun.Start(t, hvrun.Binary(t), "-name", name, "-display", "none", "-cpu", "host", "-m", "64", "-serial", "stdio", "-monitor", "none", "-append", "print=up; idle")
	p.Expect(t, "guest: up")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"status", name}, 0, `^running\n$`},
		{[]string{"list"}, 0, `(?m)^` + name + ` +running +/run/vm/`},
		{[]string{"stop", name}, 0, `^$`},
		{[]string{"status", name}, 0, `^paused\n$`},
		{[]string{"qmp", name, "query-name"}, 0, `"name": "` + name + `"`},
		{[]string{"qmp", name, "qom-get", "path=/machine", "property=type"}, 0, `^pc-q35-7.2-machine\n$`},
		{[]string{"qmp", name, "nothing"}, 1, `^hvctl: The command nothing has not been found\n$`},
		{[]string{"hmp", name, "info", "status"}, 0, `^VM status: paused\n$`},
		{[]string{"hmp", name, "device_del", "nothing"}, 1, `^Error: Device 'nothing' not found\n$`},
		{[]string{"bad"}, 2, `there is no command`},
		{[]string{"quit", name}, 0, `^$`},
	} {
		out, status := hvctl(t, c.args...)
		if status != c.status || !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("hvctl %q: %d\n%s\nnot %d %s", c.args, status, out, c.status, c.want)
		}
	}
	if status := p.Wait(t); status != 0 {
		t.Errorf("hv ends with %d", status)
	}
	if out, status := hvctl(t, "status", name); status != 1 {
		t.Errorf("of a VM that is gone: %d %s", status, out)
	}
}
