package qtest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// command is one command of the protocol.
type command struct {
	args int // the least that it takes
	run  func(e *executor, args []string) (string, error)
}

var commands = map[string]command{
	"outb": {2, out(1)}, "outw": {2, out(2)}, "outl": {2, out(4)},
	"inb": {1, in(1)}, "inw": {1, in(2)}, "inl": {1, in(4)},
	"writeb": {2, store(1)}, "writew": {2, store(2)}, "writel": {2, store(4)}, "writeq": {2, store(8)},
	"readb": {1, load(1)}, "readw": {1, load(2)}, "readl": {1, load(4)}, "readq": {1, load(8)},
	"read":              {2, (*executor).read},
	"write":             {3, (*executor).write},
	"b64read":           {2, (*executor).readBase64},
	"b64write":          {3, (*executor).writeBase64},
	"memset":            {3, (*executor).memset},
	"irq_intercept_in":  {1, intercept(false)},
	"irq_intercept_out": {1, intercept(true)},
	"set_irq_in":        {4, (*executor).setIRQ},
	"endianness":        {0, func(*executor, []string) (string, error) { return "little", nil }},
	// There are no modules to load.
	"module_load": {2, func(*executor, []string) (string, error) { return "", errors.New("") }},
}

// timed are the commands of a machine whose clock the client moves.
var timed = map[string]command{
	"clock_step": {0, (*executor).clockStep},
	"clock_set":  {1, (*executor).clockSet},
}

// executor carries commands out for one connection.
type executor struct {
	m       *Machine
	memory  memory
	message func(string) // takes what goes to the client before the answer
	levels  [maxIRQs]bool
	watched string // path of the device whose interrupts are watched
	cancel  func() // ends that
}

func newExecutor(m *Machine, message func(string)) *executor {
	return &executor{m: m, memory: memory{m.RAM, m.MMIO}, message: message}
}

// close ends what the connection watches.
func (e *executor) close() {
	if e.cancel != nil {
		e.cancel()
	}
}

// execute runs one line and returns the answer, without its end of line.
func (e *executor) execute(line string) string {
	words := strings.Split(line, " ")
	c, ok := commands[words[0]]
	if !ok && e.m.Clock != nil {
		c, ok = timed[words[0]]
	}
	if !ok {
		return fmt.Sprintf("FAIL Unknown command '%s'", words[0])
	}
	args := words[1:]
	if len(args) < c.args {
		return fmt.Sprintf("FAIL '%s' takes %d arguments", words[0], c.args)
	}
	answer, err := c.run(e, args)
	if e.m.Clock != nil {
		e.m.Clock.Advance(e.m.Clock.Elapsed()) // what the command made due
	}
	if err != nil {
		return strings.TrimSpace("FAIL " + err.Error())
	}
	return strings.TrimSpace("OK " + answer)
}

// number reads an unsigned number in C's notation.
func number(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("'%s' is no number", s)
	}
	return v, nil
}

// numbers reads the first two arguments.
func numbers(args []string) (a, b uint64, err error) {
	if a, err = number(args[0]); err == nil {
		b, err = number(args[1])
	}
	return a, b, err
}

func port(addr uint64) error {
	if addr > 0xffff {
		return fmt.Errorf("there is no port %#x", addr)
	}
	return nil
}

// little returns the n low bytes of v.
func little(v uint64, n int) []byte { return binary.LittleEndian.AppendUint64(nil, v)[:n] }

func out(n int) func(*executor, []string) (string, error) {
	return func(e *executor, args []string) (string, error) {
		addr, v, err := numbers(args)
		if err == nil {
			err = port(addr)
		}
		if err != nil {
			return "", err
		}
		e.m.Ports.Write(addr, little(v, n))
		return "", nil
	}
}

func in(n int) func(*executor, []string) (string, error) {
	return func(e *executor, args []string) (string, error) {
		addr, err := number(args[0])
		if err == nil {
			err = port(addr)
		}
		if err != nil {
			return "", err
		}
		var b [8]byte
		e.m.Ports.Read(addr, b[:n])
		return fmt.Sprintf("%#04x", binary.LittleEndian.Uint64(b[:])), nil
	}
}

func store(n int) func(*executor, []string) (string, error) {
	return func(e *executor, args []string) (string, error) {
		addr, v, err := numbers(args)
		if err == nil {
			e.memory.write(addr, little(v, n))
		}
		return "", err
	}
}

func load(n int) func(*executor, []string) (string, error) {
	return func(e *executor, args []string) (string, error) {
		addr, err := number(args[0])
		if err != nil {
			return "", err
		}
		var b [8]byte
		e.memory.read(addr, b[:n])
		return fmt.Sprintf("0x%016x", binary.LittleEndian.Uint64(b[:])), nil
	}
}

// span reads an address and a length.
func span(args []string) (addr, n uint64, err error) {
	addr, n, err = numbers(args)
	if err == nil && n > maxTransfer {
		err = fmt.Errorf("%d bytes are more than %d", n, maxTransfer)
	}
	return addr, n, err
}

// fetch reads the memory that the arguments name.
func (e *executor) fetch(args []string) ([]byte, error) {
	addr, n, err := span(args)
	if err != nil {
		return nil, err
	}
	data := make([]byte, n)
	e.memory.read(addr, data)
	return data, nil
}

func (e *executor) read(args []string) (string, error) {
	data, err := e.fetch(args)
	if err == nil && len(data) == 0 {
		err = errors.New("nothing to read")
	}
	return "0x" + hex.EncodeToString(data), err
}

func (e *executor) readBase64(args []string) (string, error) {
	data, err := e.fetch(args)
	return base64.StdEncoding.EncodeToString(data), err
}

// write takes hexadecimal digits; what they leave out is zero.
func (e *executor) write(args []string) (string, error) {
	addr, n, err := span(args)
	if err != nil {
		return "", err
	}
	digits, ok := strings.CutPrefix(args[2], "0x")
	if !ok || digits == "" {
		return "", errors.New("invalid argument size")
	}
	data := make([]byte, n)
	digits = digits[:min(len(digits)&^1, 2*int(n))]
	if _, err := hex.Decode(data, []byte(digits)); err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	e.memory.write(addr, data)
	return "", nil
}

// writeBase64 writes what was sent, and no more of it than was announced.
func (e *executor) writeBase64(args []string) (string, error) {
	addr, n, err := span(args)
	if err != nil {
		return "", err
	}
	data, err := base64.StdEncoding.DecodeString(args[2])
	if err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	e.memory.write(addr, data[:min(len(data), int(n))])
	return "", nil
}

func (e *executor) memset(args []string) (string, error) {
	addr, n, err := span(args)
	if err != nil {
		return "", err
	}
	v, err := number(args[2])
	if err != nil {
		return "", err
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(v)
	}
	e.memory.write(addr, data)
	return "", nil
}

// intercept watches the interrupts of one device; QEMU, too, knows of one only.
func intercept(out bool) func(*executor, []string) (string, error) {
	return func(e *executor, args []string) (string, error) {
		path := args[0]
		switch e.watched {
		case "":
			cancel, err := e.m.IRQ.Watch(path, out, e.interrupt)
			if err != nil {
				return "", err
			}
			e.watched, e.cancel = path, cancel
		case path:
		default:
			return "", errors.New("IRQ intercept already enabled")
		}
		return "", nil
	}
}

// interrupt is a change of a watched interrupt. The device's lock is held.
func (e *executor) interrupt(n int, level bool) {
	if n < 0 || n >= maxIRQs || e.levels[n] == level {
		return
	}
	e.levels[n] = level
	word := map[bool]string{false: "lower", true: "raise"}[level]
	e.message(fmt.Sprintf("IRQ %s %d", word, n))
}

func (e *executor) setIRQ(args []string) (string, error) {
	n, err := strconv.ParseInt(args[2], 0, 32)
	if err != nil {
		return "", fmt.Errorf("'%s' is no number", args[2])
	}
	level, err := strconv.ParseInt(args[3], 0, 32)
	if err != nil {
		return "", fmt.Errorf("'%s' is no number", args[3])
	}
	list := args[1]
	if list == "unnamed-gpio-in" {
		list = ""
	}
	return "", e.m.IRQ.Set(args[0], list, int(n), level != 0)
}

// clockStep moves the clock by its argument, or to the next timer.
func (e *executor) clockStep(args []string) (string, error) {
	c := e.m.Clock
	to, _ := c.Deadline()
	if len(args) > 0 {
		ns, err := duration(args[0])
		if err != nil {
			return "", err
		}
		if to = c.Elapsed() + ns; to < c.Elapsed() && ns > 0 {
			return "", fmt.Errorf("%d ns from now are beyond the end of time", ns)
		}
	}
	return e.advance(to)
}

func (e *executor) clockSet(args []string) (string, error) {
	to, err := duration(args[0])
	if err != nil {
		return "", err
	}
	return e.advance(to)
}

func (e *executor) advance(to time.Duration) (string, error) {
	e.m.Clock.Advance(to)
	return strconv.FormatInt(e.m.Clock.Elapsed().Nanoseconds(), 10), nil
}

func duration(s string) (time.Duration, error) {
	ns, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("'%s' is no time in nanoseconds", s)
	}
	return time.Duration(ns), nil
}
