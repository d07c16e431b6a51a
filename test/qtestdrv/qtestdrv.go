// Package qtestdrv drives a machine that runs under qtest, for tests: its ports, memory,
// PCI functions and modern virtio devices, in place of a guest.
//
// A Driver belongs to one test and its goroutine; what fails ends the test. It speaks the
// client's side of the protocol that hv/hypervisor/qtest serves, and QEMU too. It depends
// on test/hvrun.
package qtestdrv

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

// Driver drives one machine.
type Driver struct {
	t     testing.TB
	conn  net.Conn
	in    *bufio.Reader
	lines map[int]bool // interrupts that are raised
}

// Start starts a program under qtest and returns the driver and the process. The
// machine ends with the test.
func Start(t testing.TB, program string, args ...string) (*Driver, *hvrun.Proc) {
	t.Helper()
	return start(t, program, append([]string{"-accel", "qtest"}, args...)...)
}

// StartPeer is Start of Debian's QEMU, which has no accelerator for qtest: its processors stand
// still.
func StartPeer(t testing.TB, args ...string) (*Driver, *hvrun.Proc) {
	t.Helper()
	return start(t, hvrun.Tool(t, "qemu-system-x86_64"), append([]string{"-accel", "tcg", "-S"}, args...)...)
}

func start(t testing.TB, program string, args ...string) (*Driver, *hvrun.Proc) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qtest")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := hvrun.Start(t, program, append([]string{"-qtest", "unix:" + path, "-qtest-log", "none", "-display", "none"}, args...)...)
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(hvrun.Patience)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &Driver{t: t, conn: conn, in: bufio.NewReader(conn), lines: map[int]bool{}}, p
}

// Try sends a command and returns the answer, "OK ..." as a rule.
func (d *Driver) Try(format string, args ...any) string {
	d.t.Helper()
	if err := d.conn.SetDeadline(time.Now().Add(hvrun.Patience)); err != nil {
		d.t.Fatal(err)
	}
	command := fmt.Sprintf(format, args...)
	if _, err := fmt.Fprintln(d.conn, command); err != nil {
		d.t.Fatal(err)
	}
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			d.t.Fatalf("%.60s: %v", command, err)
		}
		if !d.interrupt(line) {
			return strings.TrimSuffix(line, "\n")
		}
	}
}

// interrupt takes a line if it is the message of an interrupt.
func (d *Driver) interrupt(line string) bool {
	var n int
	if _, err := fmt.Sscanf(line, "IRQ raise %d\n", &n); err == nil {
		d.lines[n] = true
		return true
	}
	if _, err := fmt.Sscanf(line, "IRQ lower %d\n", &n); err == nil {
		d.lines[n] = false
		return true
	}
	return false
}

// Do sends a command that has to work and returns what follows the OK.
func (d *Driver) Do(format string, args ...any) string {
	d.t.Helper()
	answer := d.Try(format, args...)
	rest, ok := strings.CutPrefix(answer, "OK")
	if !ok {
		d.t.Fatalf("%.60s: %s", fmt.Sprintf(format, args...), answer)
	}
	return strings.TrimPrefix(rest, " ")
}

func (d *Driver) number(format string, args ...any) uint64 {
	d.t.Helper()
	answer := d.Do(format, args...)
	v, err := strconv.ParseUint(answer, 0, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// letters are the commands' endings for the sizes of accesses.
var letters = map[int]string{1: "b", 2: "w", 4: "l", 8: "q"}

// In reads a port of 1, 2 or 4 bytes.
func (d *Driver) In(port uint16, size int) uint32 {
	d.t.Helper()
	return uint32(d.number("in%s %#x", letters[size], port))
}

// Out writes one.
func (d *Driver) Out(port uint16, size int, v uint32) {
	d.t.Helper()
	d.Do("out%s %#x %#x", letters[size], port, v)
}

// Load reads 1, 2, 4 or 8 bytes of memory, RAM or a device.
func (d *Driver) Load(addr uint64, size int) uint64 {
	d.t.Helper()
	return d.number("read%s %#x", letters[size], addr)
}

// Store writes them.
func (d *Driver) Store(addr uint64, size int, v uint64) {
	d.t.Helper()
	d.Do("write%s %#x %#x", letters[size], addr, v)
}

// Read reads n bytes of RAM.
func (d *Driver) Read(addr uint64, n int) []byte {
	d.t.Helper()
	b, err := base64.StdEncoding.DecodeString(d.Do("b64read %#x %d", addr, n))
	if err != nil || len(b) != n {
		d.t.Fatalf("%d bytes at %#x: %d, %v", n, addr, len(b), err)
	}
	return b
}

// Write writes RAM.
func (d *Driver) Write(addr uint64, b []byte) {
	d.t.Helper()
	d.Do("b64write %#x %d %s", addr, len(b), base64.StdEncoding.EncodeToString(b))
}

// Step moves the machine's clock and returns what it shows, from its start.
func (d *Driver) Step(by time.Duration) time.Duration {
	d.t.Helper()
	return time.Duration(d.number("clock_step %d", by))
}

// StepNext moves the clock to its next timer.
func (d *Driver) StepNext() time.Duration {
	d.t.Helper()
	return time.Duration(d.number("clock_step"))
}

// Intercept has the levels of the I/O APIC's inputs sent.
func (d *Driver) Intercept() {
	d.t.Helper()
	d.Do("irq_intercept_in ioapic")
}

// Raised returns the level of an input, as of the last answer.
func (d *Driver) Raised(n int) bool { return d.lines[n] }

// Await returns when a condition that the machine brings about holds.
func (d *Driver) Await(what string, done func() bool) {
	d.t.Helper()
	for limit := time.Now().Add(hvrun.Patience); !done(); {
		if time.Now().After(limit) {
			d.t.Fatalf("no %s", what)
		}
	}
}

// Function is a PCI function on bus 0.
type Function struct {
	d   *Driver
	dev uint32 // device and function
}

// Function returns the function in a slot.
func (d *Driver) Function(slot, fn int) Function { return Function{d, uint32(slot<<3 | fn)} }

// Ports of configuration mechanism #1.
const (
	configAddress = 0xcf8
	configData    = 0xcfc
)

// Config reads configuration space.
func (f Function) Config(reg, size int) uint32 {
	f.d.t.Helper()
	f.d.Out(configAddress, 4, 1<<31|f.dev<<8|uint32(reg)&^3)
	return f.d.In(configData+uint16(reg&3), size)
}

// SetConfig writes it.
func (f Function) SetConfig(reg, size int, v uint32) {
	f.d.t.Helper()
	f.d.Out(configAddress, 4, 1<<31|f.dev<<8|uint32(reg)&^3)
	f.d.Out(configData+uint16(reg&3), size, v)
}

// Registers of a function's header, and what its command register enables.
const (
	regCommand   = 0x04
	regBAR       = 0x10
	regCaps      = 0x34
	memoryMaster = 6
)

// Map places a memory BAR, of 64 bits if it is one, and enables it. It returns its size.
func (f Function) Map(bar int, addr uint64) uint64 {
	f.d.t.Helper()
	reg := regBAR + 4*bar
	f.SetConfig(reg, 4, ^uint32(0))
	mask := f.Config(reg, 4)
	f.SetConfig(reg, 4, uint32(addr))
	if mask&6 == 4 {
		f.SetConfig(reg+4, 4, uint32(addr>>32))
	}
	f.SetConfig(regCommand, 2, memoryMaster)
	return uint64(^(mask &^ 15)) + 1
}

// Capabilities returns where the capabilities with an id are.
func (f Function) Capabilities(id byte) []int {
	f.d.t.Helper()
	var found []int
	for at, n := int(f.Config(regCaps, 1)), 0; at != 0 && n < 64; at, n = int(f.Config(at+1, 1)), n+1 {
		if byte(f.Config(at, 1)) == id {
			found = append(found, at)
		}
	}
	return found
}

// le is the byte order of all that devices see.
var le = binary.LittleEndian
