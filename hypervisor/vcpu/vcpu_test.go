package vcpu

import (
	"sync/atomic"
	"testing"
	"time"

	"hv/devices/bus"
	"hv/hypervisor/kvm"
	"hv/hypervisor/kvm/kvmtest"
	"hv/hypervisor/mem"
)

const (
	ramSize  = 1 << 20
	codeBase = 0x1000
	apCode   = 0x8000 // where SIPI vector 8 starts a processor
	patience = 20 * time.Second
)

// box is a VM with a little RAM, whose vCPUs start at codeBase in flat 32-bit
// mode.
type box struct {
	t     testing.TB
	vm    *kvm.VM
	ram   *mem.Memory
	ports bus.Space
	mmio  bus.Space
	sink  *recorder
	group *Group
	cpuid []kvm.CPUIDEntry2
}

// recorder is a Sink, and remembers what it has room for.
type recorder struct {
	shutdown chan int
	events   chan uint32
	failed   chan *InternalError
}

func (r *recorder) Shutdown(cpu int)                 { offer(r.shutdown, cpu) }
func (r *recorder) SystemEvent(_ int, typ uint32)    { offer(r.events, typ) }
func (r *recorder) Failed(_ int, err *InternalError) { offer(r.failed, err) }

func offer[T any](ch chan T, v T) {
	select {
	case ch <- v:
	default:
	}
}

func newBox(t testing.TB, code ...byte) *box {
	t.Helper()
	sys := kvmtest.Open(t)
	var err error
	b := &box{t: t, sink: &recorder{make(chan int, 16), make(chan uint32, 16), make(chan *InternalError, 16)}}
	if b.cpuid, err = sys.SupportedCPUID(); err != nil {
		t.Fatal(err)
	}
	if b.vm, err = sys.CreateVM(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.vm.Close() })
	if err := b.vm.CreateIRQChip(); err != nil {
		t.Fatal(err)
	}
	b.addRAM()
	b.write(codeBase, code...)
	if b.group, err = NewGroup(b.vm); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.group.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *box) addRAM() {
	b.t.Helper()
	back, err := mem.Allocate(mem.BackendConfig{ID: "test", Size: ramSize})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { back.Close() })
	if b.ram, err = mem.New(mem.Region{Data: back.Data, FD: -1}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.vm.MapRAM(0, back.Data, false); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) write(addr uint64, code ...byte) {
	b.t.Helper()
	if err := b.ram.WriteAt(code, addr); err != nil {
		b.t.Fatal(err)
	}
}

// make makes the vCPU with an index.
func (b *box) make(id int) *VCPU {
	b.t.Helper()
	cpuid := append([]kvm.CPUIDEntry2(nil), b.cpuid...)
	for i := range cpuid {
		switch e := &cpuid[i]; e.Function {
		case 1:
			e.Ebx = e.Ebx&0x00ff_ffff | uint32(id)<<24
		case 0xb, 0x1f:
			e.Edx = uint32(id)
		}
	}
	c, err := New(b.vm, Config{Index: id, APICID: id, CPUID: cpuid}, Spaces{&b.ports, &b.mmio, b.ram}, b.sink)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// add makes a vCPU that waits paused at entry(c).
func (b *box) add() *VCPU {
	b.t.Helper()
	c := b.make(len(b.group.VCPUs()))
	b.group.Add(c)
	if err := c.Reset(flatEntry(c)); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// flatEntry starts the first processor at codeBase.
func flatEntry(c *VCPU) Entry {
	if c.Index() != 0 {
		return Entry{Mode: ModeWaitForSIPI}
	}
	return Entry{Mode: ModeProtected, RIP: codeBase, RSP: 0x7000, RBX: 0xb00}
}

// port maps f as the device at a port.
func (b *box) port(port uint64, size uint64, h bus.Handler) {
	b.t.Helper()
	if err := b.ports.Map(port, size, "test", h); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) resume() {
	b.t.Helper()
	if err := b.group.Resume(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) pause() {
	b.t.Helper()
	if err := b.group.Pause(); err != nil {
		b.t.Fatal(err)
	}
}

// await takes what comes from ch, or fails.
func await[T any](b *box, what string, ch <-chan T) T {
	b.t.Helper()
	select {
	case v := <-ch:
		return v
	case err := <-b.sink.failed:
		b.t.Fatalf("waiting for %s: %s", what, err.Dump())
	case <-time.After(patience):
		b.t.Fatalf("no %s after %v", what, patience)
	}
	panic("not reached")
}

// access is one that a device saw.
type access struct {
	off  uint64
	data string
}

// device answers reads with bytes in order and passes writes on.
type device struct {
	writes chan access
	next   byte
}

func newDevice() *device { return &device{writes: make(chan access, 64)} }

func (d *device) Read(_ uint64, data []byte) {
	for i := range data {
		data[i] = d.next
		d.next++
	}
}
func (d *device) Write(off uint64, data []byte) { d.writes <- access{off, string(data)} }

// counter counts writes.
type counter struct{ n atomic.Int64 }

func (c *counter) Read(uint64, []byte)  {}
func (c *counter) Write(uint64, []byte) { c.n.Add(1) }

// waitFor waits for n more writes.
func (c *counter) waitFor(b *box, n int64) {
	b.t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(50*time.Microsecond)
	defer tick.Stop()
	for want := c.n.Load() + n; c.n.Load() < want; {
		select {
		case <-tick.C:
		case err := <-b.sink.failed:
			b.t.Fatal(err.Dump())
		case <-deadline:
			b.t.Fatal("the guest stands still")
		}
	}
}

// spin is a guest that does nothing but port output.
var spin = []byte{
	0xe6, 0x10, // l: out 0x10, al
	0xeb, 0xfc, // jmp l
}

// sleep is a guest that says so and halts for good.
var sleep = []byte{
	0xe6, 0x10, // out 0x10, al
	0xfa,       // cli
	0xf4,       // l: hlt
	0xeb, 0xfd, // jmp l
}

func TestPortIO(t *testing.T) {
	b := newBox(t,
		0xb0, 0x41, // mov al, 'A'
		0xe6, 0x10, // out 0x10, al
		0xe5, 0x12, // in eax, 0x12
		0xe7, 0x14, // out 0x14, eax
		0xe4, 0x99, // in al, 0x99: nobody
		0xe6, 0x10, // out 0x10, al
		0xf4, // hlt
	)
	d := newDevice()
	d.next = 1
	b.port(0x10, 8, d)
	b.add()
	b.resume()
	for _, want := range []access{{0, "A"}, {4, "\x01\x02\x03\x04"}, {0, "\xff"}} {
		if got := await(b, "write", d.writes); got != want {
			t.Errorf("%#v, want %#v", got, want)
		}
	}
}

func TestStringIO(t *testing.T) {
	b := newBox(t,
		0xbe, 0x00, 0x20, 0x00, 0x00, // mov esi, 0x2000
		0xb9, 0x03, 0x00, 0x00, 0x00, // mov ecx, 3
		0xba, 0x10, 0x00, 0x00, 0x00, // mov edx, 0x10
		0xf3, 0x66, 0x6f, // rep outsw
		0xbf, 0x00, 0x30, 0x00, 0x00, // mov edi, 0x3000
		0xb9, 0x05, 0x00, 0x00, 0x00, // mov ecx, 5
		0xf3, 0x6c, // rep insb
		0xb0, 0x21, // mov al, '!'
		0xee, // out dx, al
		0xf4, // hlt
	)
	d := newDevice()
	d.next = 'a'
	b.port(0x10, 8, d)
	b.write(0x2000, []byte("123456")...)
	b.add()
	b.resume()
	for _, want := range []string{"12", "34", "56", "!"} {
		if got := await(b, "write", d.writes); got.data != want {
			t.Errorf("%q, want %q", got.data, want)
		}
	}
	var p [5]byte
	if err := b.ram.ReadAt(p[:], 0x3000); err != nil || string(p[:]) != "abcde" {
		t.Errorf("read %q, %v", p, err)
	}
}

func TestMMIOComesInPowersOfTwo(t *testing.T) {
	b := newBox(t,
		0xc7, 0x05, 0xfd, 0x0f, 0x00, 0xd0, 0x44, 0x33, 0x22, 0x11, // mov dword [0xd0000ffd], 0x11223344
		0xa1, 0x08, 0x00, 0x00, 0xd0, // mov eax, [0xd0000008]
		0xa3, 0x10, 0x00, 0x00, 0xd0, // mov [0xd0000010], eax
		0xf4, // hlt
	)
	d := newDevice()
	d.next = 0x80
	if err := b.mmio.Map(0xd000_0000, 0x2000, "test", d); err != nil {
		t.Fatal(err)
	}
	b.add()
	b.resume()
	for _, want := range []access{{0xffd, "\x44\x33"}, {0xfff, "\x22"}, {0x1000, "\x11"}, {0x10, "\x80\x81\x82\x83"}} {
		if got := await(b, "write", d.writes); got != want {
			t.Errorf("%#v, want %#v", got, want)
		}
	}
}

func TestFloorPow2(t *testing.T) {
	for n, want := range []int{1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 4, 8: 8} {
		if n > 0 && floorPow2(n) != want {
			t.Errorf("%d: %d", n, floorPow2(n))
		}
	}
}

func TestNewReportsWhatFails(t *testing.T) {
	b := newBox(t)
	b.add()
	if _, err := New(b.vm, Config{}, Spaces{}, b.sink); err == nil {
		t.Error("two vCPUs with one APIC ID")
	}
	if _, err := New(b.vm, Config{APICID: 5, MCECap: 255}, Spaces{}, b.sink); err == nil {
		t.Error("255 machine-check banks were accepted")
	}
}
