package virtioblk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/virtiotest"
)

// medium is a Backend in memory. What it is given is done at Wait, newest first, so that
// completions come out of order.
type medium struct {
	readOnly bool
	refuse   error // of NewIO

	mu      sync.Mutex
	data    []byte
	flushes int
	errno   int32 // of requests; 0 does them
	broken  error // of Wait
	park    bool  // requests that fail wait
	parked  []op
	gate    chan struct{}
}

func newMedium(n int) *medium { return &medium{data: make([]byte, n)} }

func (m *medium) Size() uint64   { return uint64(len(m.data)) }
func (m *medium) ReadOnly() bool { return m.readOnly }

func (m *medium) NewIO(kick int, depth uint32) (IO, error) {
	if m.refuse != nil {
		return nil, m.refuse
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	return &mediumIO{m: m, kick: kick, wake: fd, watched: [2]int{kick, fd}, ops: make([]op, 0, depth)}, err
}

type op struct {
	code   uint8
	tag    uint32
	off, n int64
	bufs   [][]byte
}

type mediumIO struct {
	m          *medium
	kick, wake int
	ops        []op
	fds        [2]unix.PollFd
	watched    [2]int
}

func (io *mediumIO) Submit(code uint8, tag uint32, off, n int64, bufs [][]byte) error {
	io.ops = append(io.ops, op{code, tag, off, n, bufs})
	return nil
}

func (io *mediumIO) Wait(block bool, done func(tag uint32, res int32)) error {
	if io.m.gate != nil && len(io.ops) > 0 {
		<-io.m.gate
	}
	io.m.mu.Lock()
	err := io.m.broken
	io.m.mu.Unlock()
	if err != nil {
		return err
	}
	moved := len(io.ops) > 0
	for len(io.ops) > 0 {
		o := io.ops[len(io.ops)-1]
		io.ops = io.ops[:len(io.ops)-1]
		if res := io.m.do(&o); res >= 0 || !io.m.parks(o) {
			done(o.tag, res)
		}
	}
	timeout := 0
	if block && !moved && len(io.ops) == 0 {
		timeout = -1
	}
	io.fds = [2]unix.PollFd{{Fd: int32(io.kick), Events: unix.POLLIN}, {Fd: int32(io.wake), Events: unix.POLLIN}}
	_, _ = unix.Poll(io.fds[:], timeout)
	var b [8]byte
	for i := range io.fds {
		if io.fds[i].Revents != 0 {
			_, _ = unix.Read(int(io.fds[i].Fd), b[:])
		}
	}
	return nil
}

// parks keeps a request that failed, if that is how it is.
func (m *medium) parks(o op) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.park {
		m.parked = append(m.parked, o)
	}
	return m.park
}

func (io *mediumIO) Descriptors() ([]int, int, error) { return io.watched[:], 0, nil }

func (io *mediumIO) Parked() int {
	io.m.mu.Lock()
	defer io.m.mu.Unlock()
	return len(io.m.parked)
}

// retry has what was parked be submitted again; the device must stand still.
func (io *mediumIO) retry() {
	io.m.mu.Lock()
	defer io.m.mu.Unlock()
	io.ops, io.m.parked, io.m.errno = append(io.ops, io.m.parked...), nil, 0
}

// do carries a request out.
func (m *medium) do(o *op) int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.errno != 0 {
		return m.errno
	}
	at := m.data[o.off:]
	switch o.code {
	case OpRead:
		for _, b := range o.bufs {
			at = at[copy(b, at):]
		}
	case OpWrite:
		for _, b := range o.bufs {
			at = at[copy(at, b):]
		}
	case OpFlush:
		m.flushes++
	default:
		clear(at[:o.n])
	}
	return int32(o.n)
}

func (io *mediumIO) Wake() { _, _ = unix.Write(io.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (io *mediumIO) Close() error { return unix.Close(io.wake) }

func goodConfig() Config {
	return Config{NumQueues: 1, QueueSize: 64, LogicalBlock: 512, PhysicalBlock: 4096, WriteCache: "auto", Discard: true, WriteZeroes: true, Serial: "disk-1", ConfigWCE: true, SegAdjust: true,
		DiscardGran: noGranularity, ReportGran: true, MaxDiscard: maxSectors, MaxZeroes: maxSectors}
}

func disk(t testing.TB, m *medium, o virtiotest.Options, change ...func(c *Config)) (*Device, *virtiotest.Driver) {
	t.Helper()
	c := goodConfig()
	for _, f := range change {
		f(&c)
	}
	d, err := New(c, m, 3)
	if err != nil {
		t.Fatal(err)
	}
	return d, virtiotest.NewDriver(t, d, o)
}

func header(typ uint32, sector uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, typ)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint64(b, sector)
}

func segment(sector uint64, sectors, flags uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint32(b, sectors)
	return binary.LittleEndian.AppendUint32(b, flags)
}

// do sends a request and returns its data and status.
func do(t testing.TB, d *virtiotest.Driver, in int, out ...[]byte) ([]byte, byte) {
	t.Helper()
	answer, n := d.Send(0, in+1, out...)
	if status := answer[in]; status != statusOK && n != 1 {
		t.Errorf("status %d with %d bytes written", status, n)
	}
	return answer[:in], answer[in]
}

func rings() []virtiotest.Options {
	return []virtiotest.Options{{}, {EventIdx: true, Indirect: true}, {Packed: true}, {Packed: true, EventIdx: true, Indirect: true}}
}

// TestAgainstModel does random reads, writes, discards and flushes on every kind of ring
// and compares with a model.
func TestAgainstModel(t *testing.T) {
	for i, o := range rings() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			const sectors = 256
			m := newMedium(sectors * sectorSize)
			_, d := disk(t, m, o)
			model := make([]byte, len(m.data))
			rng := rand.New(rand.NewPCG(3, uint64(i)))
			for range 500 {
				step(t, d, model, rng)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if !bytes.Equal(m.data, model) {
				t.Error("the disk differs from the model")
			}
			if err := d.NeedsReset(); err != nil {
				t.Error(err)
			}
		})
	}
}

func step(t *testing.T, d *virtiotest.Driver, model []byte, rng *rand.Rand) {
	t.Helper()
	sector := rng.IntN(250)
	n := 1 + rng.IntN(6)
	part := model[sector*sectorSize : (sector+n)*sectorSize]
	switch rng.IntN(5) {
	case 0:
		if got, status := do(t, d, len(part), header(typeIn, uint64(sector))); status != statusOK || !bytes.Equal(got, part) {
			t.Fatalf("read of %d sectors at %d: status %d", n, sector, status)
		}
	case 1:
		data := make([]byte, len(part))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		cut := rng.IntN(len(data)-1) + 1
		if _, status := do(t, d, 0, header(typeOut, uint64(sector)), data[:cut], data[cut:]); status != statusOK {
			t.Fatalf("write: status %d", status)
		}
		copy(part, data)
	case 2:
		typ, flags := uint32(typeWriteZeroes), uint32(rng.IntN(2))
		if rng.IntN(2) == 0 {
			typ, flags = typeDiscard, 0
		}
		if _, status := do(t, d, 0, header(typ, 0), segment(uint64(sector), uint32(n), flags)); status != statusOK {
			t.Fatalf("type %d: status %d", typ, status)
		}
		clear(part)
	case 3:
		if _, status := do(t, d, 0, header(typeFlush, 0)); status != statusOK {
			t.Fatalf("flush: status %d", status)
		}
	case 4:
		if id, status := do(t, d, serialSize, header(typeGetID, 0)); status != statusOK || strings.TrimRight(string(id), "\x00") != "disk-1" {
			t.Fatalf("serial %q", id)
		}
	}
}

// TestRefusals are requests that end with a status, and leave the device alive.
func TestRefusals(t *testing.T) {
	m := newMedium(64 * sectorSize)
	_, d := disk(t, m, virtiotest.Options{})
	block := make([]byte, sectorSize)
	for what, c := range map[string]struct {
		in   int
		out  [][]byte
		want byte
	}{
		"unknown type":            {0, [][]byte{header(99, 0)}, statusUnsupp},
		"read past the end":       {sectorSize, [][]byte{header(typeIn, 64)}, statusIOErr},
		"read over the end":       {2 * sectorSize, [][]byte{header(typeIn, 63)}, statusIOErr},
		"sector that wraps":       {sectorSize, [][]byte{header(typeIn, 1<<63)}, statusIOErr},
		"half a sector":           {100, [][]byte{header(typeIn, 0)}, statusIOErr},
		"nothing to read":         {0, [][]byte{header(typeIn, 0)}, statusIOErr},
		"write past the end":      {0, [][]byte{header(typeOut, 1<<40), block}, statusIOErr},
		"nothing to write":        {0, [][]byte{header(typeOut, 0)}, statusIOErr},
		"discard without segment": {0, [][]byte{header(typeDiscard, 0)}, statusIOErr},
		"discard with unmap":      {0, [][]byte{header(typeDiscard, 0), segment(0, 1, 1)}, statusUnsupp},
		"unknown flag":            {0, [][]byte{header(typeWriteZeroes, 0), segment(0, 1, 2)}, statusUnsupp},
		"discard of too much":     {0, [][]byte{header(typeDiscard, 0), segment(0, 1<<31, 0)}, statusIOErr},
		"two segments":            {0, [][]byte{header(typeDiscard, 0), segment(0, 1, 0), segment(1, 1, 0)}, statusIOErr},
	} {
		if _, status := do(t, d, c.in, c.out...); status != c.want {
			t.Errorf("%s: status %d, not %d", what, status, c.want)
		}
	}
	if err := d.NeedsReset(); err != nil {
		t.Error(err)
	}
}

func TestReadOnly(t *testing.T) {
	m := newMedium(64 * sectorSize)
	m.readOnly = true
	dev, d := disk(t, m, virtiotest.Options{})
	if f := dev.Features(); f&featureReadOnly == 0 || f&(featureDiscard|featureWriteZeroes) != 0 {
		t.Errorf("features %#x", f)
	}
	block := make([]byte, sectorSize)
	for _, out := range [][][]byte{{header(typeOut, 0), block}, {header(typeDiscard, 0), segment(0, 1, 0)}, {header(typeWriteZeroes, 0), segment(0, 1, 0)}} {
		if _, status := do(t, d, 0, out...); status != statusUnsupp {
			t.Errorf("status %d", status)
		}
	}
	if _, status := do(t, d, sectorSize, header(typeIn, 0)); status != statusOK {
		t.Errorf("read: status %d", status)
	}
}

// TestBadShapes are chains that have no place for a status: they break the device, which
// works again after a reset.
func TestBadShapes(t *testing.T) {
	m := newMedium(64 * sectorSize)
	_, d := disk(t, m, virtiotest.Options{})
	for what, bufs := range map[string][]virtiotest.Buf{
		"no status":    {{Addr: 4096, Len: 16}},
		"no header":    {{Addr: 4096, Len: 16, Write: true}},
		"short header": {{Addr: 4096, Len: 15}, {Addr: 8192, Len: 1, Write: true}},
	} {
		d.Add(0, bufs...)
		d.Nudge(0)
		if err := d.AwaitBroken(); !errors.Is(err, errShape) {
			t.Errorf("%s: %v", what, err)
		}
		d.Reset()
		d.Activate()
		if _, status := do(t, d, sectorSize, header(typeIn, 0)); status != statusOK {
			t.Errorf("after %s and a reset: status %d", what, status)
		}
	}
}

func TestErrorsOfTheMedium(t *testing.T) {
	m := newMedium(64 * sectorSize)
	_, d := disk(t, m, virtiotest.Options{})
	m.mu.Lock()
	m.errno = -int32(unix.EIO)
	m.mu.Unlock()
	for _, c := range [][][]byte{{header(typeOut, 0), make([]byte, sectorSize)}, {header(typeFlush, 0)}} {
		if _, status := do(t, d, 0, c...); status != statusIOErr {
			t.Errorf("status %d", status)
		}
	}
	m.mu.Lock()
	m.broken = errors.New("gone")
	m.mu.Unlock()
	d.Add(0, virtiotest.Buf{Addr: 4096, Len: 16}, virtiotest.Buf{Addr: 8192, Len: 1, Write: true})
	d.Nudge(0)
	if err := d.AwaitBroken(); !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}
	d.Reset()
}

// TestWriteThrough flushes after each write when there is no write cache, whether by the
// option or by the driver's choice.
func TestWriteThrough(t *testing.T) {
	m := newMedium(64 * sectorSize)
	dev, d := disk(t, m, virtiotest.Options{}, func(c *Config) { c.WriteCache = "off" })
	write := func() int {
		m.mu.Lock()
		before := m.flushes
		m.mu.Unlock()
		if _, status := do(t, d, 0, header(typeOut, 0), make([]byte, sectorSize)); status != statusOK {
			t.Errorf("status %d", status)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.flushes - before
	}
	if n := write(); n != 1 {
		t.Errorf("%d flushes after a write without cache", n)
	}
	dev.WriteConfig(confWriteback, []byte{1})
	if n := write(); n != 0 {
		t.Errorf("%d flushes after a write with cache", n)
	}
	d.Reset()
	var b [1]byte
	if dev.ReadConfig(confWriteback, b[:]); b[0] != 0 {
		t.Error("a reset keeps the driver's choice")
	}
}

// TestPauseDrains: Pause returns only when what was under way is complete, and nothing
// moves until Resume.
func TestPauseDrains(t *testing.T) {
	m := newMedium(64 * sectorSize)
	m.gate = make(chan struct{})
	dev, d := disk(t, m, virtiotest.Options{})
	flush := func() {
		at := d.Alloc(32)
		copy(d.Bytes(at, 16), header(typeFlush, 0))
		d.Add(0, virtiotest.Buf{Addr: at, Len: 16}, virtiotest.Buf{Addr: at + 16, Len: 1, Write: true})
		d.Nudge(0)
	}
	flush()
	m.gate <- struct{}{} // the worker has it
	d.Wait(0)
	flush()
	paused := make(chan struct{})
	go func() {
		dev.Pause()
		close(paused)
	}()
	for open := true; open; {
		select {
		case m.gate <- struct{}{}:
		case <-paused:
			open = false
		}
	}
	close(m.gate)
	m.mu.Lock()
	before := m.flushes
	m.mu.Unlock()
	flush()
	dev.Pause() // a second one does nothing
	m.mu.Lock()
	if m.flushes != before {
		t.Error("a request was done while the device was paused")
	}
	m.mu.Unlock()
	dev.Resume()
	for range 2 {
		d.Wait(0)
	}
}

func TestQueues(t *testing.T) {
	m := newMedium(64 * sectorSize)
	dev, d := disk(t, m, virtiotest.Options{}, func(c *Config) { c.NumQueues = 4 })
	if dev.Features()&featureMQ == 0 || len(dev.QueueSizes()) != 4 || dev.Type() != virtio.IDBlock {
		t.Error("no queues to choose from")
	}
	for i := range 4 {
		if answer, _ := d.Send(i, 1, header(typeFlush, 0)); answer[0] != statusOK {
			t.Errorf("queue %d: status %d", i, answer[0])
		}
	}
	d.RestartQueue(2)
	for i := range 4 {
		if answer, _ := d.Send(i, 1, header(typeFlush, 0)); answer[0] != statusOK {
			t.Errorf("queue %d after the reset of queue 2: status %d", i, answer[0])
		}
	}
}

// TestAutomaticQueues has a queue for each vCPU, up to what there can be.
func TestAutomaticQueues(t *testing.T) {
	for cpus, want := range map[int]uint16{0: 1, 1: 1, 3: 3, 1000: maxQueues} {
		c := goodConfig()
		c.NumQueues = automatic
		dev, err := New(c, newMedium(512), cpus)
		if err != nil || dev.Config().NumQueues != want {
			t.Errorf("%d vCPUs: %d queues, %v", cpus, dev.Config().NumQueues, err)
		}
	}
}

// TestGeometry compares what the guest is told of cylinders, heads and sectors.
func TestGeometry(t *testing.T) {
	for _, x := range []struct {
		size               int
		change             func(c *Config)
		cyls, heads, sects int
	}{
		{512, func(*Config) {}, 2, 16, 63}, {10 * 16 * 63 * 512, func(*Config) {}, 10, 16, 63},
		{1 << 20, func(c *Config) { c.Cylinders, c.Heads, c.Sectors = 7, 8, 9 }, 7, 8, 9},
		{1 << 20, func(c *Config) { c.Cylinders, c.Heads, c.Sectors, c.LogicalBlock = 7, 8, 9, 4096 }, 7, 8, 8},
	} {
		dev, _ := disk(t, newMedium(x.size), virtiotest.Options{}, x.change, func(c *Config) { c.SegAdjust = false })
		var b [confSize]byte
		dev.ReadConfig(0, b[:])
		le := binary.LittleEndian
		if got := [3]int{int(le.Uint16(b[confCylinders:])), int(b[confHeads]), int(b[confSectors])}; got != [3]int{x.cyls, x.heads, x.sects} {
			t.Errorf("%d bytes: %v", x.size, got)
		}
		if le.Uint32(b[confSegMax:]) != fixedSegments {
			t.Error("the number of buffers follows the queue's size")
		}
	}
}

func TestActivateFails(t *testing.T) {
	m := newMedium(64 * sectorSize)
	_, d := disk(t, m, virtiotest.Options{}, func(c *Config) { c.NumQueues = 2 })
	d.Reset()
	m.refuse = errors.New("no more threads")
	if err := d.TryActivate(); !errors.Is(err, m.refuse) {
		t.Errorf("activated: %v", err)
	}
	m.refuse = nil
	d.Activate()
	if _, status := do(t, d, 0, header(typeFlush, 0)); status != statusOK {
		t.Errorf("status %d", status)
	}
}

func TestConfigSpace(t *testing.T) {
	m := newMedium(100 * sectorSize)
	dev, d := disk(t, m, virtiotest.Options{}, func(c *Config) { c.MinIO, c.OptIO = 4096, 65536 })
	var b [confSize + 4]byte
	dev.ReadConfig(0, b[:])
	le := binary.LittleEndian
	if le.Uint64(b[:]) != 100 || le.Uint32(b[confSegMax:]) != 62 || b[confPhysExp] != 3 || le.Uint16(b[confMinIO:]) != 8 || le.Uint32(b[confOptIO:]) != 128 {
		t.Errorf("configuration %x", b)
	}
	dev.ReadConfig(1<<40, b[:])
	if b != [len(b)]byte{} {
		t.Error("bytes past the end are not zero")
	}
	m.data = make([]byte, 200*sectorSize)
	dev.Resized()
	d.AwaitConfigChange(1)
	dev.ReadConfig(0, b[:8])
	if le.Uint64(b[:]) != 200 {
		t.Error("the capacity did not grow")
	}
}

func TestDiscardGeometry(t *testing.T) {
	for _, x := range []struct {
		change func(c *Config)
		want   uint32
	}{
		{func(*Config) {}, 1}, {func(c *Config) { c.LogicalBlock = 4096 }, 8}, {func(c *Config) { c.DiscardGran = 65536 }, 128},
		{func(c *Config) { c.DiscardGran, c.ReportGran = 65536, false }, 1},
	} {
		dev, _ := disk(t, newMedium(1<<20), virtiotest.Options{}, x.change, func(c *Config) { c.MaxDiscard, c.MaxZeroes = 100, 200 })
		var b [confSize]byte
		dev.ReadConfig(0, b[:])
		le := binary.LittleEndian
		if got := le.Uint32(b[confDiscardAlign:]); got != x.want || le.Uint32(b[confMaxDiscard:]) != 100 || le.Uint32(b[confMaxZeroes:]) != 200 {
			t.Errorf("alignment %d, not %d", got, x.want)
		}
	}
}

// TestParked has requests fail that wait for the VM to go on: the device can be paused, and
// they are done after that.
func TestParked(t *testing.T) {
	m := newMedium(1 << 20)
	m.errno, m.park = -int32(unix.ENOSPC), true
	dev, d := disk(t, m, virtiotest.Options{})
	flush := func() uint64 {
		h, at := d.Alloc(headerSize), d.Alloc(1)
		copy(d.Bytes(h, headerSize), header(typeFlush, 0))
		d.Add(0, virtiotest.Buf{Addr: h, Len: headerSize}, virtiotest.Buf{Addr: at, Len: 1, Write: true})
		d.Kick(0)
		return at
	}
	at := flush()
	for parked := 0; parked == 0; {
		parked = dev.running()[0].io.Parked()
	}
	dev.Pause()
	dev.running()[0].io.(*mediumIO).retry()
	dev.Resume()
	d.Wait(0)
	dev.Pause() // the medium is the worker's until then
	if status := d.Bytes(at, 1)[0]; status != statusOK || m.flushes != 1 {
		t.Errorf("status %d after %d flushes", status, m.flushes)
	}
	m.errno = -int32(unix.EIO)
	dev.Resume()
	flush()
	dev.Pause()
	dev.Resume()
	dev.Reset() // drops it
}

func TestBadConfigs(t *testing.T) {
	for what, change := range map[string]func(c *Config){
		"num-queues":                             func(c *Config) { c.NumQueues = 0 },
		"queue-size":                             func(c *Config) { c.QueueSize = 100 },
		"serial":                                 func(c *Config) { c.Serial = strings.Repeat("x", 21) },
		"write-cache":                            func(c *Config) { c.WriteCache = "perhaps" },
		"not a power of 2":                       func(c *Config) { c.LogicalBlock = 513 },
		"minimum: 512":                           func(c *Config) { c.PhysicalBlock = 256 },
		"maximum: 2097152":                       func(c *Config) { c.PhysicalBlock = 4 << 20 },
		"min_io_size must be a multiple":         func(c *Config) { c.MinIO = 100 },
		"min_io_size must not exceed":            func(c *Config) { c.MinIO = 512 << 16 },
		"opt_io_size must be a multiple":         func(c *Config) { c.OptIO = 1 },
		"discard_granularity must be a multiple": func(c *Config) { c.DiscardGran = 1 },
		"invalid max-discard-sectors":            func(c *Config) { c.MaxDiscard = 0 },
		"invalid max-write-zeroes-sectors":       func(c *Config) { c.MaxZeroes = maxSectors + 1 },
		"(max 1024)":                             func(c *Config) { c.QueueSize = 2048 },
		"must be > 2":                            func(c *Config) { c.QueueSize = 2 },
		"logical_block_size":                     func(c *Config) { c.LogicalBlock = 8192 },
		"cyls must be between 1 and 65535":       func(c *Config) { c.Cylinders, c.Heads, c.Sectors = 65536, 1, 1 },
		"heads must be between 1 and 255":        func(c *Config) { c.Cylinders = 1 },
		"secs must be between 1 and 255":         func(c *Config) { c.Cylinders, c.Heads, c.Sectors = 1, 1, 256 },
	} {
		c := goodConfig()
		change(&c)
		if _, err := New(c, newMedium(512), 1); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzQueue gives a disk chains of any content and shape; the device may break, but
// nothing else.
func FuzzQueue(f *testing.F) {
	f.Add(false, header(typeIn, 1), uint16(513), uint8(1))
	f.Add(true, append(header(typeOut, 1), make([]byte, 512)...), uint16(1), uint8(3))
	f.Add(true, append(header(typeDiscard, 0), segment(0, 3, 0)...), uint16(1), uint8(2))
	f.Add(false, header(typeGetID, 0), uint16(21), uint8(0))
	f.Fuzz(func(t *testing.T, packed bool, out []byte, in uint16, cut uint8) {
		m := newMedium(64 * sectorSize)
		_, d := disk(t, m, virtiotest.Options{Packed: packed}, func(c *Config) { c.QueueSize = 8 })
		if !d.Feed(0, out, uint32(in), cut) {
			return
		}
		if n := d.Settle(0); n > uint32(in) {
			t.Fatalf("%d bytes written of %d", n, in)
		}
	})
}

// BenchmarkRead is a read of 4 KiB through the device, its worker and its ring.
func BenchmarkRead(b *testing.B) {
	m := newMedium(1 << 20)
	_, d := disk(b, m, virtiotest.Options{EventIdx: true})
	at := d.Alloc(8192)
	copy(d.Bytes(at, 16), header(typeIn, 8))
	b.ReportAllocs()
	for b.Loop() {
		d.Add(0, virtiotest.Buf{Addr: at, Len: 16}, virtiotest.Buf{Addr: at + 4096, Len: 4096, Write: true}, virtiotest.Buf{Addr: at + 16, Len: 1, Write: true})
		d.Kick(0)
		d.Wait(0)
	}
}
