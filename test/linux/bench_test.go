package linux

import (
	"testing"
	"time"

	"hv/test/hvrun"
)

// BenchmarkBootToInit measures the time from the start of a monitor to the first line
// of init, with the same kernel, initramfs and command line: the bzImage, which says all on
// the serial port or is quiet, and the same kernel as an ELF file, which need not unpack
// itself first.
func BenchmarkBootToInit(b *testing.B) {
	for name, args := range map[string][]string{
		"bzImage": kernel("true"), "bzImage-quiet": kernel("true", "quiet"), "ELF-quiet": elf(kernel("true", "quiet")),
	} {
		b.Run(name, func(b *testing.B) { bootToInit(b, args) })
	}
}

func bootToInit(b *testing.B, boot []string) {
	const rounds = 3
	programs := []string{hvrun.Binary(b), qemu}
	for range b.N {
		times := map[string][]time.Duration{}
		for range rounds {
			for _, program := range programs {
				surviving(b, func() {
					began := time.Now()
					p := start(b, program, join(machine(1, 512), boot)...)
					p.Expect(b, "hv guest: Linux")
					times[program] = append(times[program], time.Since(began))
					p.Wait(b)
				})
			}
		}
		var m [2]float64
		for i, program := range programs {
			m[i] = median(times[program]).Seconds()
		}
		b.ReportMetric(m[0], "hv-s")
		b.ReportMetric(m[1], "qemu-s")
		b.ReportMetric(m[0]/m[1], "hv/qemu")
	}
}
