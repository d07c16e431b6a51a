package vpci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/devices/irq/irqtest"
	"hv/devices/pci"
	"hv/devices/virtio"
	"hv/hypervisor/mem"
)

// toy is a device with two queues that remembers its life.
type toy struct {
	mu      sync.Mutex
	life    []string
	r       virtio.Resources
	refuse  error
	config  [16]byte
	resets  map[int]int
	started map[int]*virtio.Queue
	needs   uint64 // features that it does not work without
	limits  uint64 // features that it cannot do now
}

func (d *toy) note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life = append(d.life, s)
}

func (d *toy) Type() virtio.DeviceID                   { return virtio.IDBlock }
func (d *toy) Features() uint64                        { return 1 << 9 }
func (d *toy) Accepts(features uint64) bool            { return features&d.needs == d.needs }
func (d *toy) Limit(features uint64) uint64            { return features &^ d.limits }
func (d *toy) Rewire(i, fd int)                        { d.note(fmt.Sprintf("rewire %d to %d", i, fd)) }
func (d *toy) QueueSizes() []uint16                    { return []uint16{64, 128} }
func (d *toy) ReadConfig(off uint64, data []byte)      { clear(data); copy(data, d.config[min(off, 16):]) }
func (d *toy) WriteConfig(off uint64, data []byte)     { copy(d.config[min(off, 16):], data) }
func (d *toy) Reset()                                  { d.note("reset") }
func (d *toy) Close() error                            { d.note("close"); return nil }
func (d *toy) Pause()                                  { d.note("pause") }
func (d *toy) Resume()                                 { d.note("resume") }
func (d *toy) ResetQueue(i int)                        { d.resets[i]++ }
func (d *toy) StartQueue(i int, q *virtio.Queue) error { d.started[i] = q; return d.refuse }
func (d *toy) Activate(r virtio.Resources) error {
	d.note("activate")
	d.r = r
	return d.refuse
}

func (d *toy) lived(want ...string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.life = nil }()
	return slices.Equal(d.life, want)
}

// bells remembers doorbells.
type bells map[uint64]int

func (b bells) AddDoorbell(addr uint64, _, fd int) error { b[addr] = fd; return nil }
func (b bells) RemoveDoorbell(addr uint64, _, _ int) error {
	delete(b, addr)
	return nil
}

type rig struct {
	*Transport
	dev   *toy
	irq   irqtest.Controller
	bells bells
	mem   *mem.Memory
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	ram, err := mem.New(mem.Region{Data: make([]byte, 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dev: &toy{resets: map[int]int{}, started: map[int]*virtio.Queue{}}, bells: bells{}, mem: ram}
	r.Transport, err = New(Config{Device: r.dev, Mem: ram, IRQ: &r.irq, Bells: r.bells, Options: o, Express: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func defaults() Options { return Options{EventIdx: true, Indirect: true, QueueReset: true} }

func (r *rig) w(off uint64, size int, v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	r.writeCommon(off, b[:size])
}

func (r *rig) r(off uint64, size int) uint64 {
	var b [8]byte
	r.readCommon(off, b[:size])
	return binary.LittleEndian.Uint64(b[:])
}

// negotiate accepts features as a driver does.
func (r *rig) negotiate(features uint64) bool {
	r.w(regStatus, 1, uint64(virtio.StatusAcknowledge|virtio.StatusDriver))
	for sel := range uint64(2) {
		r.w(regDrvSel, 4, sel)
		r.w(regDrvFeature, 4, features>>(32*sel))
	}
	r.w(regStatus, 1, uint64(virtio.StatusAcknowledge|virtio.StatusDriver|virtio.StatusFeaturesOK))
	return r.r(regStatus, 1)&uint64(virtio.StatusFeaturesOK) != 0
}

func (r *rig) offers() uint64 {
	r.w(regFeatureSel, 4, 0)
	low := r.r(regFeature, 4)
	r.w(regFeatureSel, 4, 1)
	return low | r.r(regFeature, 4)<<32
}

// setup places queue i and enables it.
func (r *rig) setup(i, size uint64) {
	r.w(regQueueSel, 2, i)
	r.w(regQueueSize, 2, size)
	base := 0x10000 * (i + 1)
	for j, reg := range []uint64{regQueueDesc, regQueueDriver, regQueueDevice} {
		r.w(reg, 4, base+0x4000*uint64(j))
		r.w(reg+4, 4, 0)
	}
	r.w(regQueueEnable, 2, 1)
}

func (r *rig) start(t testing.TB, features uint64) {
	t.Helper()
	if !r.negotiate(features) {
		t.Fatal("features were refused")
	}
	r.setup(0, 64)
	r.setup(1, 32)
	r.w(regStatus, 1, uint64(virtio.StatusAcknowledge|virtio.StatusDriver|virtio.StatusFeaturesOK|virtio.StatusDriverOK))
}

func TestInitialisation(t *testing.T) {
	r := newRig(t, defaults())
	all := uint64(1<<9 | virtio.FeatureVersion1 | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc | virtio.FeatureRingReset)
	if got := r.offers(); got != all {
		t.Errorf("offers %#x, not %#x", got, all)
	}
	if r.negotiate(all | 1<<50) {
		t.Error("a feature that was not offered is accepted")
	}
	if r.w(regStatus, 1, 0); r.negotiate(1 << 9) {
		t.Error("a driver without VERSION_1 is accepted")
	}
	r.dev.needs = 1 << 9
	if r.w(regStatus, 1, 0); r.negotiate(virtio.FeatureVersion1) {
		t.Error("a driver without a feature that the device needs is accepted")
	}
	r.w(regStatus, 1, 0)
	r.dev.lived()
	r.start(t, all)
	if !r.dev.lived("activate") || r.dev.r.Features != all || r.dev.r.Queues[1].Config().Size != 32 || r.dev.r.Queues[0].Config().Desc != 0x10000 {
		t.Errorf("activated with %+v", r.dev.r)
	}
	r.w(regDrvSel, 4, 0)
	r.w(regDrvFeature, 4, 0)
	if r.r(regDrvFeature, 4) == 0 {
		t.Error("features change after FEATURES_OK")
	}
	if r.w(regStatus, 1, 0); !r.dev.lived("reset") || r.r(regStatus, 1) != 0 || r.r(regQueueEnable, 2) != 0 || r.r(regQueueSize, 2) != 64 {
		t.Error("reset state")
	}
}

// TestQueueRegisters: what the driver may write, and when.
func TestQueueRegisters(t *testing.T) {
	r := newRig(t, defaults())
	if r.r(regNumQueues, 2) != 2 {
		t.Error("number of queues")
	}
	r.w(regQueueSel, 2, 1)
	for v, want := range map[uint64]uint64{256: 128, 128: 128} {
		if r.w(regQueueSize, 2, v); r.r(regQueueSize, 2) != want {
			t.Errorf("size %d reads %d", v, r.r(regQueueSize, 2))
		}
	}
	r.w(regQueueDesc, 8, 0x1122334455667788)
	r.w(regQueueDesc+4, 4, 0xaabbccdd)
	if got := r.r(regQueueDesc, 8); got != 0xaabbccdd55667788 {
		t.Errorf("address %#x", got)
	}
	r.w(regQueueVector, 2, 2)
	r.w(regConfVector, 2, 3)
	if r.r(regQueueVector, 2) != 2 || r.r(regConfVector, 2) != noVector {
		t.Error("vectors: one that is there must stick, one that is not must not")
	}
	r.w(regQueueEnable, 2, 1)
	r.w(regQueueSize, 2, 2)
	r.w(regQueueDesc, 4, 0)
	if r.r(regQueueSize, 2) != 128 || r.r(regQueueDesc, 4) != 0x55667788 {
		t.Error("an enabled queue was changed")
	}
	r.w(regQueueSel, 2, 9)
	r.w(regQueueEnable, 2, 1)
	r.w(regQueueReset, 2, 1)
	r.w(regQueueDesc, 8, 1)
	if r.r(regQueueSize, 2) != 0 || r.r(regQueueSel, 2) != 9 {
		t.Error("a queue that is not there")
	}
}

func TestBadQueueBreaks(t *testing.T) {
	r := newRig(t, defaults())
	r.negotiate(virtio.FeatureVersion1)
	r.w(regQueueSel, 2, 0)
	r.w(regQueueDesc, 8, 1<<40)
	r.w(regQueueEnable, 2, 1)
	r.w(regStatus, 1, 15)
	if r.Broken() == nil || r.r(regStatus, 1)&uint64(virtio.StatusNeedsReset) == 0 || r.r(regGeneration, 1) != 1 {
		t.Error("a ring outside of RAM did not break the device")
	}
	if r.w(regStatus, 1, 0); r.Broken() != nil {
		t.Error("a reset does not repair it")
	}
	r.dev.refuse = errors.New("no")
	r.start(t, virtio.FeatureVersion1)
	if !errors.Is(r.Broken(), r.dev.refuse) {
		t.Errorf("broken: %v", r.Broken())
	}
}

func TestQueueReset(t *testing.T) {
	r := newRig(t, defaults())
	r.start(t, virtio.FeatureVersion1|virtio.FeatureRingReset)
	r.w(regQueueSel, 2, 1)
	r.w(regQueueReset, 2, 1)
	if r.dev.resets[1] != 1 || r.r(regQueueEnable, 2) != 0 || r.r(regQueueReset, 2) != 0 {
		t.Error("the queue was not reset")
	}
	r.setup(1, 16)
	if q := r.dev.started[1]; q == nil || q.Config().Size != 16 {
		t.Error("the queue was not started again")
	}
	r.w(regStatus, 1, 0)
	r.start(t, virtio.FeatureVersion1)
	r.w(regQueueReset, 2, 1)
	if r.dev.resets[1] != 1 {
		t.Error("a queue was reset that nobody negotiated")
	}
}

func TestPauses(t *testing.T) {
	r := newRig(t, defaults())
	r.Pause()
	r.Resume()
	if !r.dev.lived() {
		t.Error("an idle device was paused")
	}
	r.Pause()
	r.start(t, virtio.FeatureVersion1)
	r.Resume()
	r.Pause()
	if !r.dev.lived("activate", "pause", "resume", "pause") {
		t.Error("a device that starts while the VM is stopped must stand still")
	}
}

// TestInterrupts by line and ISR, which MSI-X replaces.
func TestInterrupts(t *testing.T) {
	r := newRig(t, defaults())
	r.start(t, virtio.FeatureVersion1)
	r.dev.r.Queues[0].Interrupt()
	if v := r.readISR(); v != 1 {
		t.Errorf("ISR %d", v)
	}
	r.ConfigChanged()
	r.dev.r.Queues[1].Interrupt()
	var b [4]byte
	if r.readISRs(0, b[:]); b[0] != 3 {
		t.Errorf("ISR %d", b[0])
	}
	if r.readISRs(0, b[:]); b[0] != 0 || r.r(regGeneration, 1) != 1 {
		t.Error("the ISR is not cleared by reading")
	}
}

// TestRewire: the device is told of what raises interrupts now, once for each change.
func TestRewire(t *testing.T) {
	r := newRig(t, defaults())
	const first = 1000
	r.irq.FirstFD = first
	x, err := New(Config{Device: r.dev, Mem: r.mem, IRQ: &r.irq, Bells: r.bells, Options: defaults()})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	r.Transport = x
	at := msixCap(r.fn)
	control := func(v uint16) { r.fn.WriteConfig(at+2, binary.LittleEndian.AppendUint16(nil, v)) }
	vector := func(q, v uint64) { r.w(regQueueSel, 2, q); r.w(regQueueVector, 2, v) }
	r.dev.limits = 1 << 9
	if r.offers()&(1<<9) != 0 {
		t.Error("a feature is offered that the device cannot do")
	}
	r.start(t, virtio.FeatureVersion1)
	if !r.dev.lived("activate") || r.dev.r.Queues[0].InterruptFD != -1 {
		t.Errorf("%v, descriptor %d", r.dev.life, r.dev.r.Queues[0].InterruptFD)
	}
	at0 := first + 3 // after the three of the other transport
	vector(1, 2)
	control(1 << 15)
	vector(0, 1)
	vector(0, 1)
	vector(0, noVector)
	control(0)
	want := []string{fmt.Sprintf("rewire 1 to %d", at0+2), fmt.Sprintf("rewire 0 to %d", at0+1), "rewire 0 to -1", "rewire 1 to -1"}
	if got := slices.Clone(r.dev.life); !r.dev.lived(want...) {
		t.Errorf("%v, not %v", got, want)
	}
	r.reset()
	vector(1, 2)
	control(1 << 15)
	r.dev.lived()
	r.start(t, virtio.FeatureVersion1)
	if fd := r.dev.r.Queues[1].InterruptFD; fd != at0+2 || !r.dev.lived("activate") {
		t.Errorf("after a reset: %d", fd)
	}
}

// msixCap returns where the function has its capability of MSI-X.
func msixCap(f *pci.Function) int {
	var b [2]byte
	f.ReadConfig(0x34, b[:1])
	for at := int(b[0]); at != 0; at = int(b[1]) {
		if f.ReadConfig(at, b[:]); b[0] == pci.CapMSIX {
			return at
		}
	}
	return 0
}

// TestDoorbells follow the BAR and the queues; without one, a write does the same.
func TestDoorbells(t *testing.T) {
	r := newRig(t, defaults())
	r.start(t, virtio.FeatureVersion1)
	if len(r.bells) != 0 {
		t.Error("doorbells without a BAR")
	}
	r.mapped(0xe0000000, true)
	if r.bells[0xe0003000] != r.queues[0].kick || r.bells[0xe0003004] != r.queues[1].kick {
		t.Errorf("doorbells %v", r.bells)
	}
	r.w(regStatus, 1, 0)
	if len(r.bells) != 0 {
		t.Error("doorbells after a reset")
	}
	r.setup(1, 32)
	if len(r.bells) != 1 {
		t.Errorf("doorbells %v", r.bells)
	}
	r.mapped(0, false)
	if len(r.bells) != 0 {
		t.Error("doorbells of a BAR that is gone")
	}
	r.notify(1)
	r.notify(99)
	var b [8]byte
	if n, err := unix.Read(r.queues[1].kick, b[:]); n != 8 || err != nil {
		t.Error("a write did not notify")
	}
}

// TestConfigWindow reaches the BAR through configuration space.
func TestConfigWindow(t *testing.T) {
	r := newRig(t, defaults())
	copy(r.dev.config[:], "configuration")
	at := r.window4(t)
	set := func(bar byte, off, size uint32) {
		r.fn.WriteConfig(at+4, []byte{bar})
		r.fn.WriteConfig(at+8, binary.LittleEndian.AppendUint32(nil, off))
		r.fn.WriteConfig(at+12, binary.LittleEndian.AppendUint32(nil, size))
	}
	var b [4]byte
	set(modernBAR, deviceOff+1, 4)
	if r.fn.ReadConfig(at+16, b[:]); string(b[:]) != "onfi" {
		t.Errorf("read %q", b)
	}
	r.fn.WriteConfig(at+16, []byte("ABCD"))
	if string(r.dev.config[:6]) != "cABCDg" {
		t.Errorf("wrote %q", r.dev.config)
	}
	set(0, deviceOff, 4)
	r.fn.WriteConfig(at+16, []byte("none"))
	set(modernBAR, barSize-2, 4)
	r.fn.WriteConfig(at+16, []byte("none"))
	set(modernBAR, notifyOff, 2)
	r.fn.WriteConfig(at+16, []byte{0, 0})
	set(modernBAR, isrOff, 1)
	r.fn.ReadConfig(at+16, b[:1])
	if string(r.dev.config[:6]) != "cABCDg" {
		t.Error("a window that is none was written through")
	}
}

// window4 finds the capability of type 5.
func (r *rig) window4(t *testing.T) int {
	t.Helper()
	var b [4]byte
	r.fn.ReadConfig(0x34, b[:1])
	for at := int(b[0]); at != 0; {
		r.fn.ReadConfig(at, b[:])
		if b[0] == 9 && b[3] == capPCI {
			return at
		}
		at = int(b[1])
	}
	t.Fatal("no capability for access through configuration space")
	return 0
}

func TestOptions(t *testing.T) {
	dev := &toy{}
	if _, err := New(Config{Device: dev, Options: Options{DisableModern: true}}); err == nil {
		t.Error("a transitional device was made")
	}
	r := newRig(t, Options{Vectors: 200, Packed: true})
	if r.offers() != 1<<9|virtio.FeatureVersion1|virtio.FeatureRingPacked || r.msix.Len() != 200 {
		t.Errorf("offers %#x, %d vectors", r.offers(), r.msix.Len())
	}
	r.start(t, virtio.FeatureVersion1|virtio.FeatureRingPacked)
	if !r.dev.r.Queues[0].Config().Packed {
		t.Error("not packed")
	}
}

// FuzzRegisters does accesses of any kind, in any order.
func FuzzRegisters(f *testing.F) {
	f.Add([]byte{regStatus, 1, 3, regStatus, 1, 11, regQueueEnable, 2, 1, regStatus, 1, 15, regStatus, 1, 0})
	f.Add([]byte{regQueueSel, 2, 1, regQueueReset, 2, 1, regQueueSize, 2, 3, regQueueDesc, 8, 255})
	f.Fuzz(func(t *testing.T, program []byte) {
		r := newRig(t, defaults())
		rng := rand.New(rand.NewPCG(1, uint64(len(program))))
		for ; len(program) >= 3; program = program[3:] {
			off, size, v := uint64(program[0])%80, int(program[1])%8+1, uint64(program[2])
			if rng.IntN(8) == 0 {
				v = rng.Uint64()
			}
			r.w(off, size, v)
			r.r(off, size)
			h, rel := r.partAt(uint64(program[0]) << 6 & (barSize - 1))
			var b [8]byte
			h.Read(rel, b[:size])
			if program[1]&8 != 0 {
				h.Write(rel, b[:size])
			}
		}
		r.w(regStatus, 1, 0)
		if r.r(regStatus, 1) != 0 {
			t.Fatal("a reset does not reset")
		}
	})
}
