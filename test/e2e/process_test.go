package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		v := start(t, bare(t, "print=up; spin", "-no-shutdown")...)
		v.Expect(t, "guest: up")
		if err := v.Cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		var data qapi.ShutdownEvent
		if err := data.DecodeQAPI(v.event(t, "SHUTDOWN").Data); err != nil || data.Guest || data.Reason != qapi.ShutdownCauseHostSignal {
			t.Errorf("%s: SHUTDOWN with %+v, %v", sig, data, err)
		}
		v.ends(t, 0)
	}
}

// TestRefusals checks that a command line that is wrong is one line of error, and
// leaves nothing behind.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for line, want := range map[string]string{
		"-mashine q35":                         "-mashine: invalid option (near: machine)",
		"-machine q36":                         "unsupported machine type",
		"-cpu Haswel":                          "near: Haswell",
		"-cpu host,+avx9":                      "CPU property 'avx9'",
		"-device virtio-blk-pci":               "drive property not set",
		"-device virtio-net-pci,netdev=x":      "can't find value 'x'",
		"-kernel /nonexistent":                 "/nonexistent",
		"-kernel /etc/passwd":                  "/etc/passwd",
		"-m 1M":                                "RAM",
		"-device pcie-root-port,id=a,bus=none": "Bus 'none' not found",
		"-device virtserialport":               "virtio-serial-bus",
		"-device virtio-rng-pci,addr=0x1f":     "not available",
		"-smp 100000":                          "vCPUs",
		"-drive file=/none,if=virtio":          "/none",
		"-object rng-random,id=r,filename=/none -device virtio-rng-pci,rng=r": "/none",
	} {
		args := append([]string{"-nodefaults", "-display", "none", "-qmp", "unix:" + filepath.Join(dir, "q") + ",server=on,wait=off"}, strings.Fields(line)...)
		cmd := exec.Command(hvrun.Binary(t), args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		last := strings.TrimSpace(stderr.String())
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(last, want) || !strings.Contains(last, "hv: ") {
			t.Errorf("%s: %v, %q", line, err, last)
		}
		if _, err := os.Stat(filepath.Join(dir, "q")); err == nil {
			t.Errorf("%s left a socket behind", line)
		}
	}
}

func TestHelp(t *testing.T) {
	for line, want := range map[string]string{
		"-version": "hv version", "-help": "-readconfig", "-machine help": "pc-q35-7.2", "-cpu help": "Skylake-Server",
		"-device help": `name "virtio-blk-pci"`, "-device virtio-net-pci,help": "rx_queue_size=<uint16>", "-object help": "memory-backend-memfd",
		"-netdev help": "tap", "-chardev help": "socket", "-drive format=help": "qcow2 quorum raw",
	} {
		out, err := exec.Command(hvrun.Binary(t), strings.Fields(line)...).Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

func TestOwnSocketAndReadConfig(t *testing.T) {
	name := fmt.Sprintf("e2e-%d", os.Getpid())
	conf := filepath.Join(t.TempDir(), "vm.conf")
	text := "[machine]\n  append = \"print=configured; idle\"\n[memory]\n  size = \"32M\"\n[smp-opts]\n  cpus = \"2\"\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := hvrun.Start(t, hvrun.Binary(t), "-name", name, "-display", "none", "-cpu", "host", "-serial", "stdio", "-readconfig", conf)
	v := &vm{p, hvrun.Dial(t, p, "/run/vm/"+name+".sock")}
	v.Expect(t, "guest: configured")
	v.do(t, "quit")
	v.ends(t, 0)
	if _, err := os.Stat("/run/vm/" + name + ".sock"); err == nil {
		t.Error("the socket is still there")
	}
}

func TestDaemonize(t *testing.T) {
	dir := t.TempDir()
	pidfile, socket := filepath.Join(dir, "pid"), filepath.Join(dir, "qmp")
	cmd := exec.Command(hvrun.Binary(t), "-nodefaults", "-display", "none", "-cpu", "host", "-m", "32", "-daemonize", "-pidfile", pidfile,
		"-qmp", "unix:"+socket+",server=on,wait=off")
	// Output waits for the end of standard error too: the daemon has let go of it.
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || syscall.Kill(pid, 0) != nil {
		t.Fatalf("no process %q", text)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	v := &vm{&hvrun.Proc{Cmd: cmd}, hvrun.Dial(t, hvrun.Start(t, "sleep", "300"), socket)}
	v.do(t, "quit")
	v.event(t, "SHUTDOWN")
	bad := exec.Command(hvrun.Binary(t), "-nodefaults", "-display", "none", "-daemonize", "-kernel", "/nonexistent")
	if out, err := bad.CombinedOutput(); err == nil || !strings.Contains(string(out), "/nonexistent") {
		t.Errorf("a daemon that cannot start: %v, %s", err, out)
	}
}

func TestSerialBackends(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	p := hvrun.Start(t, hvrun.Binary(t), "-nodefaults", "-display", "none", "-cpu", "host", "-m", "32", "-serial", "file:"+out, "-append", "print=to-file; poweroff")
	if p.Wait(t) != 0 {
		t.Error(p.Output())
	}
	if text, err := os.ReadFile(out); err != nil || !strings.Contains(string(text), "guest: to-file") {
		t.Errorf("%v: %s", err, text)
	}
	v := start(t, "-nodefaults", "-display", "none", "-cpu", "host", "-m", "32", "-serial", "pty", "-append", "shell")
	path := v.Expect(t, `redirected to (/dev/pts/\d+)`)[1]
	tty, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	if _, err := tty.WriteString("poweroff\r\n"); err != nil {
		t.Fatal(err)
	}
	v.ends(t, 0)
}

// TestInheritedFile boots from a disk that is a descriptor of -add-fd, with the names
// that tools see.
func TestInheritedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte("inherited disk  "), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	v := startWith(t, []*os.File{f}, append(bare(t, "print=up; spin"), "-smp", "2", "-name", "guest=e2e,process=vm-e2e,debug-threads=on",
		"-add-fd", "fd=3,set=7", "-drive", "file=/dev/fdset/7,format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d")...)
	v.Expect(t, "guest: up")
	names := map[string]int{}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", v.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		names[strings.TrimSpace(string(text))]++
	}
	if names["vm-e2e"] == 0 || names["CPU 0/KVM"] != 1 || names["CPU 1/KVM"] != 1 {
		t.Errorf("threads are called %v", names)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}
