// Package peer measures hv beside Debian's QEMU, in one run on one machine, and
// prints the figures that docs/numbers.md promises. It has benchmarks only:
//
//	go test -run '^$' -bench . -benchtime 1x ./test/peer
package peer

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

const qemu = "qemu-system-x86_64"

// monitors are the two programs, in the order in which they take turns.
func monitors(b *testing.B) []string { return []string{hvrun.Binary(b), qemu} }

// name is how a program is called in the figures.
func name(program string) string {
	if program == qemu {
		return "qemu"
	}
	return "hv"
}

// median returns the middle of the values.
func median[T float64 | time.Duration](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// idle returns the options of a VM that does nothing.
func idle(socket string) []string {
	return []string{
		"-machine", "q35,accel=kvm", "-m", "256", "-nodefaults", "-display", "none", "-S",
		"-qmp", "unix:" + socket + ",server=on,wait=off",
	}
}

// greet starts a VM and returns it once its greeting has been read, with the
// time that took and the processor time it used until then.
func greet(b *testing.B, program string) (*hvrun.Proc, time.Duration, time.Duration) {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "q")
	began := time.Now()
	p := hvrun.Start(b, program, idle(socket)...)
	conn := connect(b, socket)
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1024)); err != nil {
		b.Fatal(err)
	}
	return p, time.Since(began), cpuTime(b, p)
}

// connect dials until somebody listens.
func connect(b *testing.B, socket string) net.Conn {
	b.Helper()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for range 50000 {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn
		}
		<-tick.C
	}
	b.Fatalf("nobody listens on %s", socket)
	return nil
}

// cpuTime returns the processor time that a process has used, to the
// nanosecond, from its scheduler statistics.
func cpuTime(b *testing.B, p *hvrun.Proc) time.Duration {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.Cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	var sum int64
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		ns, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		sum += ns
	}
	return time.Duration(sum)
}

func BenchmarkStartToGreeting(b *testing.B) {
	const starts = 15
	wall, cpu := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range b.N {
		for range starts {
			for _, m := range monitors(b) {
				p, w, c := greet(b, m)
				stop(b, p)
				wall[m], cpu[m] = append(wall[m], w), append(cpu[m], c)
			}
		}
	}
	for _, m := range monitors(b) {
		report(b, m, "wall-ms", ms(median(wall[m])))
		report(b, m, "cpu-ms", ms(median(cpu[m])))
	}
	hv := monitors(b)[0]
	b.ReportMetric(float64(median(wall[hv]))/float64(median(wall[qemu])), "hv/qemu-wall")
	b.ReportMetric(float64(median(cpu[hv]))/float64(median(cpu[qemu])), "hv/qemu-cpu")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func report(b *testing.B, program, unit string, v float64) {
	b.ReportMetric(v, name(program)+"-"+unit)
}

func stop(b *testing.B, p *hvrun.Proc) {
	b.Helper()
	p.Kill(b)
}

// BenchmarkIdleMemory compares what an idle VM costs beyond its RAM: private pages of
// all mappings but the guest's.
func BenchmarkIdleMemory(b *testing.B) {
	for range b.N {
		for _, m := range monitors(b) {
			p := settled(b, m)
			dirty, clean := private(b, p)
			report(b, m, "private-dirty-KiB", dirty)
			report(b, m, "private-clean-KiB", clean)
			stop(b, p)
		}
	}
}

// settled starts a VM and returns it when it executes commands: all that belongs to the
// start is over.
func settled(b *testing.B, program string) *hvrun.Proc {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "q")
	p := hvrun.Start(b, program, idle(socket)...)
	c := &client{Conn: connect(b, socket), b: b}
	defer c.Close()
	c.r = bufio.NewReader(c)
	c.line()
	c.do([]byte(`{"execute": "qmp_capabilities"}`))
	c.do(queryStatus)
	return p
}

// guestRAM is what idle VMs are given, in KiB.
const guestRAM = 256 << 10

// private adds up the private pages of a process, in KiB; clean ones are those of files
// that nobody else has mapped at the moment.
func private(b *testing.B, p *hvrun.Proc) (dirty, clean float64) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", p.Cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	ram := false
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch {
		case f[0] == "Size:":
			ram = kib >= guestRAM
		case ram:
		case f[0] == "Private_Dirty:":
			dirty += kib
		case f[0] == "Private_Clean:":
			clean += kib
		}
	}
	return dirty, clean
}
