package peer

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"hv/test/hvrun"
)

// guestFile writes the embedded guest out, for QEMU.
func guestFile(b *testing.B) string {
	b.Helper()
	return filepath.Join(hvrun.Root(b), "testdata/guest/guest.elf")
}

// boot starts a monitor with the guest, and open files from descriptor 3 on.
func boot(b *testing.B, files []*os.File, program, commands string, devices ...string) *hvrun.Proc {
	b.Helper()
	args := append([]string{
		"-machine", "q35,accel=kvm", "-m", "64", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", guestFile(b), "-append", commands,
	}, devices...)
	return hvrun.StartWith(b, files, program, args...)
}

// printed waits for the number that the guest prints after key=.
func printed(b *testing.B, p *hvrun.Proc, key string) float64 {
	b.Helper()
	v, err := strconv.ParseFloat(p.Expect(b, `\b`+key+`=(\d+)\s`)[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// rounds is how often the monitors take turns; the median counts.
const rounds = 5

// compare measures a figure under both monitors in turn and reports the medians and
// their ratio.
func compare(b *testing.B, unit string, measure func(program string) float64) {
	b.Helper()
	for range b.N {
		all := map[string][]float64{}
		for range rounds {
			for _, m := range monitors(b) {
				all[m] = append(all[m], measure(m))
			}
		}
		ours, theirs := median(all[monitors(b)[0]]), median(all[qemu])
		b.ReportMetric(ours, "hv-"+unit)
		b.ReportMetric(theirs, "qemu-"+unit)
		b.ReportMetric(ours/theirs, "hv/qemu")
	}
}
