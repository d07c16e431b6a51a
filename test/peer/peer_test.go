// Package peer measures hv beside Debian's QEMU, in one run on one machine, and
// prints the figures that docs/numbers.md promises. It has benchmarks only:
//
//	go test -run '^$' -bench . -benchtime 1x ./test/peer
package peer

import (
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

func name(program string) string { return filepath.Base(strings.TrimPrefix(program, "qemu-system-")) }

// median returns the middle of the values.
func median[T float64 | time.Duration](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// idle returns the options of a VM that does nothing.
func idle(socket string) []string {
	return []string{
		"-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none", "-S",
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
	const rounds = 15
	wall, cpu := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range b.N {
		for range rounds {
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
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func report(b *testing.B, program, unit string, v float64) {
	b.ReportMetric(v, name(program)+"-"+unit)
}

func stop(b *testing.B, p *hvrun.Proc) {
	b.Helper()
	if err := p.Cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	<-p.Ended()
}

// BenchmarkIdleMemory compares private memory that is not guest RAM. With -S no
// page of the guest's has been touched but those that the monitor wrote.
func BenchmarkIdleMemory(b *testing.B) {
	for range b.N {
		for _, m := range monitors(b) {
			p, _, _ := greet(b, m)
			report(b, m, "private-KiB", privateKiB(b, p))
			stop(b, p)
		}
	}
}

func privateKiB(b *testing.B, p *hvrun.Proc) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.Cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	var sum float64
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[0], "Private_") {
			kib, _ := strconv.ParseFloat(f[1], 64)
			sum += kib
		}
	}
	return sum
}
