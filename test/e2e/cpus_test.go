package e2e

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

const roomForFour = "2,maxcpus=4,sockets=2,cores=2"

// paths returns the QOM paths of the vCPUs by index.
func (v *vm) paths(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, c := range ask(t, v, qapi.CmdQueryCpusFast, qapi.Empty{}) {
		out = append(out, fmt.Sprintf("%d %s", c.CpuIndex, c.QomPath))
	}
	return out
}

// TestAddCPUs adds vCPUs before the start and while the guest runs, and keeps them over a
// reset.
func TestAddCPUs(t *testing.T) {
	v := start(t, bare(t, "print=up; spin", "-smp", roomForFour, "-S", "-device", "host-x86_64-cpu,id=early,socket-id=1,core-id=1,thread-id=0")...)
	first := []string{"0 /machine/unattached/device[0]", "1 /machine/unattached/device[1]", "3 /machine/peripheral/early"}
	if got := v.paths(t); !slices.Equal(got, first) {
		t.Errorf("%q", got)
	}
	at := func(socket, core int) string {
		return fmt.Sprintf(`{"driver":"host-x86_64-cpu","id":"c","socket-id":%d,"core-id":%d,"thread-id":0}`, socket, core)
	}
	v.failing(t, "expected cpu type: 'host-x86_64-cpu', actual 'qemu64-x86_64-cpu'", "device_add", `{"driver":"qemu64-x86_64-cpu","socket-id":1,"core-id":0,"thread-id":0}`)
	v.failing(t, "invalid node-id, must be 0", "device_add", `{"driver":"host-x86_64-cpu","socket-id":1,"core-id":0,"thread-id":0,"node-id":1}`)
	v.failing(t, "CPU core-id is not set", "device_add", `{"driver":"host-x86_64-cpu","socket-id":1}`)
	v.failing(t, "Invalid CPU socket-id: 2 must be in range 0:1", "device_add", at(2, 0))
	v.failing(t, "CPU[0] with APIC ID 0 exists", "device_add", at(0, 0))
	v.failing(t, "CPU[3] with APIC ID 3 exists", "device_add", at(1, 1))
	v.do(t, "cont")
	v.Expect(t, "up")
	v.works(t, "device_add", at(1, 0))
	v.failing(t, "exists", "device_add", strings.Replace(at(1, 0), `"c"`, `"d"`, 1))
	if got := v.paths(t); !slices.Equal(got, append(first, "2 /machine/peripheral/c")) {
		t.Errorf("%q", got)
	}
	v.works(t, "device_del", `{"id":"c"}`)
	v.failing(t, "already in the process of unplug", "device_del", `{"id":"c"}`)
	v.do(t, "stop")
	v.do(t, "system_reset")
	v.event(t, "RESET")
	v.do(t, "cont")
	if got := len(v.paths(t)); got != 4 {
		t.Errorf("%d vCPUs after a reset", got)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

func TestFixedCPUs(t *testing.T) {
	v := start(t, bare(t, "", "-machine", "microvm", "-smp", roomForFour)...)
	v.failing(t, "can not be hotplugged on this machine", "device_add", `{"driver":"host-x86_64-cpu","socket-id":1,"core-id":0,"thread-id":0}`)
	v.failing(t, "'query-hotpluggable-cpus' is not enabled", "query-hotpluggable-cpus", "{}")
	v.works(t, "query-acpi-ospm-status", "{}")
	v.do(t, "quit")
	v.ends(t, 0)
}

// guestPorts writes the machine's ports as a guest would, over qtest.
type guestPorts struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func (g *guestPorts) do(format string, a ...any) string {
	g.t.Helper()
	fmt.Fprintf(g.Conn, format+"\n", a...)
	for {
		s, err := g.in.ReadString('\n')
		if err != nil {
			g.t.Fatal(err)
		}
		if !strings.HasPrefix(s, "IRQ") {
			return strings.TrimSpace(s)
		}
	}
}

// TestRemoveCPU has a guest, by its ports, be told of a vCPU, say what came of it, and let
// the vCPU go; another comes in its place.
func TestRemoveCPU(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "qtest")
	v := start(t, "-machine", "q35,accel=qtest", "-nodefaults", "-display", "none", "-m", "64", "-smp", roomForFour, "-qtest", "unix:"+socket+",server=on,wait=off")
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g := &guestPorts{t, conn, bufio.NewReader(conn)}
	const selector, flags, command, data = 0xcd8, 0xcdc, 0xcdd, 0xce0
	expect := func(flagged string) {
		t.Helper()
		g.do("outl %#x 0", selector)
		g.do("outb %#x 0", command)
		if n, f := g.do("inl %#x", data), g.do("inb %#x", flags); n != "OK 0x0002" || f != "OK "+flagged {
			t.Errorf("processor %s has flags %s, want %s", n, f, flagged)
		}
	}
	for _, id := range []string{"a", "b"} {
		v.works(t, "device_add", `{"driver":"qemu64-x86_64-cpu","id":"`+id+`","socket-id":1,"core-id":0,"thread-id":0}`)
		expect("0x0003")
		g.do("outb %#x 2", flags)
		g.do("outb %#x 1", command)
		g.do("outl %#x 1", data)
		g.do("outb %#x 2", command)
		g.do("outl %#x 0", data)
		if e := v.event(t, qapi.EventAcpiDeviceOst.Name).Data.Get("info"); string(e.Get("device").Text()) != id || string(e.Get("slot").Text()) != "2" {
			t.Error("ACPI_DEVICE_OST is of another processor")
		}
		if s := ask(t, v, qapi.CmdQueryAcpiOspmStatus, qapi.Empty{}); len(s) != 4 || s[2].Source != 1 || s[2].Device == nil {
			t.Errorf("%+v", s)
		}
		v.works(t, "device_del", `{"id":"`+id+`"}`)
		expect("0x0005")
		g.do("outb %#x 4", flags)
		g.do("outb %#x 8", flags)
		v.deleted(t, "/machine/peripheral/"+id)
		if got := v.paths(t); len(got) != 2 {
			t.Errorf("%q", got)
		}
	}
	v.do(t, "quit")
	v.ends(t, 0)
}
