package linux

import (
	"slices"
	"testing"
	"time"

	"hv/test/hvrun"
)

// BenchmarkBootToInit measures the time from the start of a monitor to the first line
// of init, with the same kernel and initramfs.
func BenchmarkBootToInit(b *testing.B) {
	const rounds = 3
	programs := []string{hvrun.Binary(b), qemu}
	for range b.N {
		times := map[string][]time.Duration{}
		for range rounds {
			for _, program := range programs {
				surviving(b, func() {
					began := time.Now()
					p := start(b, program, join(machine(1, 512), kernel("true"))...)
					p.Expect(b, "hv guest: Linux")
					times[program] = append(times[program], time.Since(began))
					p.Wait(b)
				})
			}
		}
		var m [2]float64
		for i, program := range programs {
			slices.Sort(times[program])
			m[i] = times[program][rounds/2].Seconds()
		}
		b.ReportMetric(m[0], "hv-s")
		b.ReportMetric(m[1], "qemu-s")
		b.ReportMetric(m[0]/m[1], "hv/qemu")
	}
}
