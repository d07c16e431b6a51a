package qtest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// registers is a Space that is bytes, from base on, and notes how it is accessed.
type registers struct {
	base  uint64
	bytes [64]byte
	log   []string
}

func (r *registers) at(addr uint64, n int) []byte {
	if addr < r.base || addr-r.base+uint64(n) > uint64(len(r.bytes)) || addr+uint64(n) < addr {
		return nil
	}
	return r.bytes[addr-r.base:][:n]
}

func (r *registers) Read(addr uint64, data []byte) bool {
	r.log = append(r.log, fmt.Sprintf("r%d@%#x", len(data), addr))
	b := r.at(addr, len(data))
	for i := range data {
		data[i] = 0xff
	}
	return copy(data, b) > 0
}

func (r *registers) Write(addr uint64, data []byte) bool {
	r.log = append(r.log, fmt.Sprintf("w%d@%#x", len(data), addr))
	return copy(r.at(addr, len(data)), data) > 0
}

// ram is guest memory from 0 on.
type ram []byte

var errNoRAM = errors.New("no RAM")

func (r ram) ReadAt(p []byte, addr uint64) error {
	if addr > uint64(len(r)) || addr+uint64(len(p)) > uint64(len(r)) {
		return errNoRAM
	}
	copy(p, r[addr:])
	return nil
}

func (r ram) WriteAt(p []byte, addr uint64) error {
	if addr > uint64(len(r)) || addr+uint64(len(p)) > uint64(len(r)) {
		return errNoRAM
	}
	copy(r[addr:], p)
	return nil
}

// oneShot is a Clock with a timer.
type oneShot struct {
	now, due time.Duration // due is 0 for none
	fire     func()
}

func (c *oneShot) Elapsed() time.Duration          { return c.now }
func (c *oneShot) Deadline() (time.Duration, bool) { return c.due, c.due != 0 }
func (c *oneShot) Advance(to time.Duration) {
	c.now = max(c.now, to)
	if c.due != 0 && c.due <= c.now {
		c.due = 0
		c.fire()
	}
}

// pins is Interrupts with one device.
type pins struct {
	mu  sync.Mutex
	tap func(n int, level bool)
	set string
}

func (p *pins) Watch(path string, out bool, tap func(n int, level bool)) (func(), error) {
	if path != "ioapic" || out {
		return nil, ErrUnknownDevice
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tap = tap
	return func() {
		p.mu.Lock()
		p.tap = nil
		p.mu.Unlock()
	}, nil
}

func (p *pins) Set(path, list string, n int, level bool) error {
	if path != "ioapic" {
		return ErrUnknownDevice
	}
	p.set = fmt.Sprint(list, "/", n, level)
	return nil
}

func (p *pins) raise(n int, level bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tap != nil {
		p.tap(n, level)
	}
}

const pages = 4

// bench is a machine and an executor for it.
type bench struct {
	ports, mmio registers
	ram         ram
	clock       oneShot
	pins        pins
	machine     Machine
	messages    []string
	*executor
}

func newBench() *bench {
	b := &bench{mmio: registers{base: pages * pageSize}, ram: make(ram, pages*pageSize)}
	b.machine = Machine{
		Ports: &b.ports, MMIO: &b.mmio, RAM: b.ram, Clock: &b.clock, IRQ: &b.pins,
		Do: func(f func()) error { f(); return nil },
	}
	b.executor = newExecutor(&b.machine, func(s string) { b.messages = append(b.messages, s) })
	return b
}

func TestCommands(t *testing.T) {
	b := newBench()
	b.clock.due, b.clock.fire = 500, func() { b.pins.raise(8, true) }
	for _, c := range []struct{ line, want string }{
		{"outb 0x10 0x1ff", "OK"},
		{"inb 16", "OK 0x00ff"},
		{"outw 0x10 0x1234", "OK"},
		{"inb 0x11", "OK 0x0012"},
		{"outl 0x10 0xdeadbeef", "OK"},
		{"inl 020", "OK 0xdeadbeef"},
		{"inw 0xffff", "OK 0xffff"},
		{"inb 0x10000", "FAIL there is no port 0x10000"},
		{"outb x 1", "FAIL 'x' is no number"},
		{"outb 1", "FAIL 'outb' takes 2 arguments"},
		{"writeb 0x100 0x11", "OK"},
		{"writew 0x101 0x3322", "OK"},
		{"readl 0x100", "OK 0x0000000000332211"},
		{"writeq 0x100 0x8877665544332211", "OK"},
		{"readq 0x100", "OK 0x8877665544332211"},
		{"readw 0x106", "OK 0x0000000000008877"},
		{"readb 0x107", "OK 0x0000000000000088"},
		{"read 0x102 3", "OK 0x334455"},
		{"read 0x102 0", "FAIL nothing to read"},
		{"read 0 0x10000000", "FAIL 268435456 bytes are more than 8388608"},
		{"write 0x200 4 0xaabb", "OK"},
		{"read 0x1ff 6", "OK 0x00aabb000000"},
		{"write 0x200 1 0xAAbbcc", "OK"},
		{"read 0x200 2", "OK 0xaabb"},
		{"write 0x200 1 0x", "FAIL invalid argument size"},
		{"write 0x200 1 0xgg", "FAIL data: encoding/hex: invalid byte: U+0067 'g'"},
		{"b64write 0x300 5 aGVsbG8=", "OK"},
		{"b64read 0x300 5", "OK aGVsbG8="},
		{"b64read 0x300 0", "OK"},
		{"b64write 0x310 2 aGVsbG8=", "OK"},
		{"read 0x310 3", "OK 0x686500"},
		{"b64write 0x300 5 ???", "FAIL data: illegal base64 data at input byte 0"},
		{"memset 0x400 3 0x5a", "OK"},
		{"read 0x3ff 5", "OK 0x005a5a5a00"},
		{"memset 0x400 0 1", "OK"},
		{"endianness", "OK little"},
		{"module_load a b", "FAIL"},
		{"rtas x", "FAIL Unknown command 'rtas'"},
		{"", "FAIL Unknown command ''"},
		{"irq_intercept_out ioapic", "FAIL Unknown device"},
		{"irq_intercept_in nothing", "FAIL Unknown device"},
		{"irq_intercept_in ioapic", "OK"},
		{"irq_intercept_in ioapic", "OK"},
		{"irq_intercept_in pic", "FAIL IRQ intercept already enabled"},
		{"set_irq_in ioapic unnamed-gpio-in 3 -1", "OK"},
		{"set_irq_in pic x 3 1", "FAIL Unknown device"},
		{"set_irq_in ioapic x z 1", "FAIL 'z' is no number"},
		{"clock_step 100", "OK 100"},
		{"clock_step", "OK 500"},
		{"clock_step", "OK 500"},
		{"clock_step -5", "OK 500"},
		{"clock_set 700", "OK 700"},
		{"clock_set 600", "OK 700"},
		{"clock_step 0x7fffffffffffffff", "FAIL 9223372036854775807 ns from now are beyond the end of time"},
		{"clock_set soon", "FAIL 'soon' is no time in nanoseconds"},
	} {
		if got := b.execute(c.line); got != c.want {
			t.Errorf("%q: %q, wanted %q", c.line, got, c.want)
		}
	}
	if b.pins.set != "/3 true" {
		t.Errorf("set_irq_in did %q", b.pins.set)
	}
	if got := strings.Join(b.messages, ","); got != "IRQ raise 8" {
		t.Errorf("messages %q", got)
	}
}

// TestInterruptMessages are sent for changes only, as the client knows them.
func TestInterruptMessages(t *testing.T) {
	b := newBench()
	b.pins.raise(4, true)
	b.execute("irq_intercept_in ioapic")
	for _, level := range []bool{false, true, true, false} {
		b.pins.raise(4, level)
	}
	b.pins.raise(maxIRQs, true)
	b.pins.raise(-1, true)
	if got := strings.Join(b.messages, ","); got != "IRQ raise 4,IRQ lower 4" {
		t.Errorf("messages %q", got)
	}
	b.close()
	b.pins.raise(4, true)
	if len(b.messages) != 2 {
		t.Error("a message came after the end")
	}
}

// TestAccessSizes: devices see accesses as a bus has them.
func TestAccessSizes(t *testing.T) {
	const base = pages * pageSize
	for _, c := range []struct{ line, want string }{
		{"writeq 0x4000 1", "w8@0x4000"},
		{"readl 0x4002", "r4@0x4002"},
		{"read 0x4003 14", "r1@0x4003 r4@0x4004 r8@0x4008 r1@0x4010"},
		{"read 0x3ffe 3", "r1@0x4000"},
		{"read 0x4ffc 8", "r4@0x4ffc r4@0x5000"},
	} {
		b := newBench()
		b.execute(c.line)
		if got := strings.Join(b.mmio.log, " "); got != c.want {
			t.Errorf("%s does %q, wanted %q", c.line, got, c.want)
		}
	}
	b := newBench()
	b.execute("write 0x3ffe 6 0x010203040506")
	if !bytes.Equal(b.ram[base-2:], []byte{1, 2}) || binary.BigEndian.Uint32(b.mmio.bytes[:]) != 0x03040506 {
		t.Errorf("across the end of RAM: %x and %x", b.ram[base-2:], b.mmio.bytes[:4])
	}
}

// TestWithoutClock: a machine whose time goes by itself has no commands for it.
func TestWithoutClock(t *testing.T) {
	b := newBench()
	b.machine.Clock, b.machine.RAM = nil, nil
	b.executor = newExecutor(&b.machine, nil)
	if got := b.execute("clock_step 1"); got != "FAIL Unknown command 'clock_step'" {
		t.Error(got)
	}
	if got := b.execute("readb 0"); got != "OK 0x00000000000000ff" {
		t.Error(got)
	}
}

// safeLog is a log that several goroutines use.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const patience = 20 * time.Second

// served is a server on a socket.
type served struct {
	*bench
	*Server
	log  safeLog
	path string
	end  chan error
	stop func()
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{bench: newBench(), path: filepath.Join(t.TempDir(), "q"), end: make(chan error, 1)}
	s.Server = New(s.bench.machine, &s.log)
	l, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.end <- s.Serve(func() (io.ReadWriteCloser, error) { return l.Accept() }) }()
	s.stop = func() { l.Close(); _ = s.Server.Close() }
	t.Cleanup(func() {
		s.stop()
		select {
		case err := <-s.end:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Close does not end Serve")
		}
	})
	return s
}

func (s *served) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func say(t *testing.T, c net.Conn, r *bufio.Reader, command string, want ...string) {
	t.Helper()
	if _, err := io.WriteString(c, command); err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		if got, err := r.ReadString('\n'); err != nil || got != w+"\n" {
			t.Fatalf("%q: %q, %v; wanted %q", command, got, err, w)
		}
	}
}

func TestServe(t *testing.T) {
	s := serve(t)
	c, r := s.dial(t)
	say(t, c, r, "endianness\nirq_intercept_in ioapic\n", "OK little", "OK")
	s.clock.due, s.clock.fire = 10, func() { s.pins.raise(8, true) }
	say(t, c, r, "clock_st")
	say(t, c, r, "ep\n", "IRQ raise 8", "OK 10")
	go s.pins.raise(8, false)
	say(t, c, r, "", "IRQ lower 8")
	c.Close()
	c, r = s.dial(t)
	say(t, c, r, "inb 0\n", "OK 0x0000")
	if _, err := fmt.Fprintf(c, "b64write 0 1 %s\n", strings.Repeat("A", maxLine+1<<16)); err == nil {
		_, err = r.ReadString('\n')
		if err == nil {
			t.Error("a line without end is read on and on")
		}
	}
}

func TestLog(t *testing.T) {
	s := serve(t)
	c, r := s.dial(t)
	say(t, c, r, "irq_intercept_in ioapic\n", "OK")
	s.pins.raise(1, true)
	say(t, c, r, "outb 1 100%\n", "IRQ raise 1", "FAIL '100%' is no number")
	c.Close()
	s.stop()
	s.end <- <-s.end
	got := regexp.MustCompile(`[0-9]+\.[0-9]{6}`).ReplaceAllString(s.log.String(), "T")
	want := "[I T] OPENED\n[R +T] irq_intercept_in ioapic\n[S +T] OK\n[S +T] IRQ raise 1\n" +
		"[R +T] outb 1 100%\n[S +T] FAIL '100%' is no number\n[I +T] CLOSED\n"
	if got != want {
		t.Errorf("log:\n%s\nwanted:\n%s", got, want)
	}
}

// TestDeafClient: who does not read the messages loses the connection, and holds nobody up.
func TestDeafClient(t *testing.T) {
	s := serve(t)
	c, r := s.dial(t)
	say(t, c, r, "irq_intercept_in ioapic\n", "OK")
	for i := 0; i < 4*maxQueue/len("IRQ raise 5\n"); i++ {
		s.pins.raise(5, i%2 == 0)
	}
	if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, io.EOF) {
		t.Logf("ended by %v", err)
	}
	c, r = s.dial(t)
	say(t, c, r, "endianness\n", "OK little")
}

// FuzzExecute: whatever is sent has one line as its answer, and time does not go back.
func FuzzExecute(f *testing.F) {
	for _, s := range []string{
		"outb 0x70 0x0a\ninb 0x71", "write 0x3ffe 0x10 0x00112233\nread 0x3ffe 0x10", "b64write 0x100 5 aGVsbG8=\nb64read 0x100 5",
		"memset 0xfffffffffffffffe 8 1\nreadq 0xfffffffffffffffd", "clock_step\nclock_step 100\nclock_set 0x7fffffffffffffff\nclock_step 1",
		"irq_intercept_in ioapic\nset_irq_in ioapic a 1 1", "endianness\nmodule_load a b\nrtas",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		b := newBench()
		b.clock.due, b.clock.fire = 50, func() { b.pins.raise(8, true) }
		for line := range strings.SplitSeq(script, "\n") {
			before := b.clock.now
			answer := b.execute(line)
			if word, _, _ := strings.Cut(answer, " "); word != "OK" && word != "FAIL" || strings.Contains(answer, "\n") {
				t.Errorf("%q is answered %q", line, answer)
			}
			if b.clock.now < before {
				t.Errorf("%q moves time from %d to %d", line, before, b.clock.now)
			}
		}
	})
}
