//go:build !race

package vcpu

// The race detector makes everything slow, and some calls allocate.

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// outs returns a guest that makes n port writes to 0x10 and then one to 0x11.
func outs(n int) []byte {
	code := []byte{0xb9, 0, 0, 0, 0, // mov ecx, n
		0xe6, 0x10, // l: out 0x10, al
		0x49,       // dec ecx
		0x75, 0xfb, // jnz l
		0xe6, 0x11, // out 0x11, al
		0xf4, // hlt
	}
	binary.LittleEndian.PutUint32(code[1:], uint32(n))
	return code
}

// sinkhole is a device without memory.
type sinkhole struct{}

func (sinkhole) Read(uint64, []byte)  {}
func (sinkhole) Write(uint64, []byte) {}

// finish is a device that tells of a write.
type finish chan struct{}

func (finish) Read(uint64, []byte)    {}
func (f finish) Write(uint64, []byte) { f <- struct{}{} }

// prepare makes a box whose guest makes n port writes when resumed.
func prepare(t testing.TB, n int) (*box, *VCPU, finish) {
	b := newBox(t, outs(n)...)
	done := make(finish, 1)
	b.port(0x10, 1, sinkhole{})
	b.port(0x11, 1, done)
	return b, b.add(), done
}

func TestExitsAllocateNothing(t *testing.T) {
	const exits = 20000
	b, _, done := prepare(t, exits)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.resume()
	<-done
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > exits/100 {
		t.Errorf("%d allocations in %d exits", n, exits)
	}
}

// BenchmarkPortIO measures a port write that a device model handles.
func BenchmarkPortIO(b *testing.B) {
	box, _, done := prepare(b, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	box.resume()
	<-done
}

// BenchmarkPortIOInC is its yardstick: the same guest under the barest loop
// around KVM_RUN in C.
func BenchmarkPortIOInC(b *testing.B) {
	ns, err := bareLoop(b, b.N)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(ns/float64(b.N), "ns/op")
}

// bareLoop builds testdata/bareloop.c and returns the nanoseconds that it takes
// for n exits.
func bareLoop(t testing.TB, n int) (float64, error) {
	gcc := hvrun.Tool(t, "gcc")
	bin := filepath.Join(t.TempDir(), "bareloop")
	if out, err := exec.Command(gcc, "-O2", "-o", bin, "testdata/bareloop.c").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	out, err := exec.Command(bin, fmt.Sprint(n)).Output()
	if err != nil {
		return 0, fmt.Errorf("run the loop: %w", err)
	}
	var ns float64
	_, err = fmt.Sscan(strings.TrimSpace(string(out)), &ns)
	return ns, err
}
