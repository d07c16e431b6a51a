package qtestdrv

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

func hv(t *testing.T, args ...string) (*Driver, *hvrun.Proc) {
	t.Helper()
	return Start(t, hvrun.Binary(t), append([]string{"-nodefaults"}, args...)...)
}

// withQMP is hv with a client of its monitor, once it runs or waits to be configured.
func withQMP(t *testing.T, args ...string) (*Driver, *hvrun.Proc, *client.Client) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "qmp")
	d, p := hv(t, append(args, "-qmp", "unix:"+socket+",server=on,wait=off")...)
	c := hvrun.Dial(t, p, socket)
	if !slices.Contains(args, "-preconfig") {
		awaitRunning(t, d, c)
	}
	return d, p, c
}

// awaitRunning waits for what a VM does by itself at its start.
func awaitRunning(t *testing.T, d *Driver, c *client.Client) {
	t.Helper()
	d.Await("running machine", func() bool { return call(t, c, qapi.CmdQueryStatus, qapi.Empty{}).Running })
}

func call[A, R any, PA qapi.Codec[A], PR qapi.Codec[R]](t *testing.T, c *client.Client, cmd qapi.Command[A, R], a A) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	r, err := client.Call[A, R, PA, PR](ctx, c, cmd, a)
	if err != nil {
		t.Fatalf("%s: %v", cmd.Name, err)
	}
	return r
}

// cmos reads the clock.
func cmos(d *Driver, reg uint32) uint32 {
	d.Out(0x70, 1, reg)
	return d.In(0x71, 1)
}

func setCMOS(d *Driver, reg, v uint32) {
	d.Out(0x70, 1, reg)
	d.Out(0x71, 1, v)
}

// TestClock: the machine's time stands still but for what it is told.
func TestClock(t *testing.T) {
	d, _ := hv(t, "-rtc", "base=2020-02-28T23:59:58,clock=vm")
	date := func() [3]uint32 { return [3]uint32{cmos(d, 8), cmos(d, 7), cmos(d, 0)} }
	pm := d.In(0x608, 4)
	if got := date(); got != [3]uint32{0x02, 0x28, 0x58} {
		t.Fatalf("starts at %x", got)
	}
	d.Intercept()
	const enable, binary24 = 0xb, 2
	setCMOS(d, enable, binary24|0x10) // an interrupt a second
	if d.In(0x608, 4) != pm {
		t.Error("the power management timer runs by itself")
	}
	for i, want := range [][3]uint32{{0x02, 0x28, 0x59}, {0x02, 0x29, 0x00}} {
		if at := d.StepNext(); at != time.Duration(i+1)*time.Second || !d.Raised(8) {
			t.Fatalf("second %d: at %s, interrupt %v", i, at, d.Raised(8))
		}
		if got := date(); got != want {
			t.Errorf("shows %x, wanted %x", got, want)
		}
		if c := cmos(d, 0xc); c&0x90 != 0x90 || d.Raised(8) {
			t.Errorf("register C is %#x, interrupt %v", c, d.Raised(8))
		}
	}
	if ticks := d.In(0x608, 4) - pm; ticks != 2*3579545 {
		t.Errorf("the power management timer went on by %d in two seconds", ticks)
	}
	d.Step(time.Hour)
	if got := cmos(d, 4); got != 1 {
		t.Errorf("an hour later it is %x o'clock", got)
	}
}

// TestPCI: configuration space as it is at power-on, by both mechanisms.
func TestPCI(t *testing.T) {
	d, _ := hv(t, "-device", "virtio-rng-pci,addr=3.0")
	rng := d.Function(3, 0)
	if id := rng.Config(0, 4); id != 0x10441af4 {
		t.Fatalf("identity %#x", id)
	}
	if bar := rng.Config(0x20, 4); bar&^15 != 0 {
		t.Errorf("a BAR is placed though nobody did: %#x", bar)
	}
	if size := rng.Map(4, 0xc000_0000); size != 0x4000 || d.Load(0xc000_0000, 4) == 0xffff_ffff {
		t.Errorf("BAR 4: %#x bytes, reads %#x", size, d.Load(0xc000_0000, 4))
	}
	if got := d.Load(0xb000_0000+3<<15, 4); got != 0x10441af4 {
		t.Errorf("by ECAM %#x", got)
	}
	if id := d.Function(9, 0).Config(0, 4); id != 0xffff_ffff {
		t.Errorf("an empty slot reads %#x", id)
	}
	if id := d.Function(31, 0).Config(0, 4); id != 0x29188086 {
		t.Errorf("the ISA bridge is %#x", id)
	}
}

// Places in the guest's memory and requests of a disk (virtio 1.2 §5.2.6).
const (
	barAt  = 0xc000_0000
	ringAt = 0x10_0000
	reqAt  = 0x20_0000
	dataAt = 0x21_0000
	blkIn  = 0
	blkOut = 1
	sector = 512
	pirqE  = 20 // the interrupt of slot 4
)

// request has the disk read or write sectors at dataAt, and returns its status.
func request(d *Driver, disk *Virtio, typ uint32, first uint64, n uint32) byte {
	head := le.AppendUint32(nil, typ)
	head = le.AppendUint32(head, 0)
	d.Write(reqAt, le.AppendUint64(head, first))
	d.Store(reqAt+16, 1, 0xff)
	disk.Send(Buf{reqAt, 16, false}, Buf{dataAt, n * sector, typ == blkIn}, Buf{reqAt + 16, 1, true})
	return byte(d.Load(reqAt+16, 1))
}

func TestDisk(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 4)
	d, _ := hv(t, "-drive", "file="+image+",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d,addr=4.0")
	disk := NewVirtio(d.Function(4, 0), barAt, 0, ringAt)
	if sectors := disk.Config(0, 8); sectors != 4<<20/sector {
		t.Errorf("%d sectors", sectors)
	}
	d.Intercept()
	text := bytes.Repeat([]byte("written by nobody's guest. "), 40)[:2*sector]
	d.Write(dataAt, text)
	if status := request(d, disk, blkOut, 7, 2); status != 0 {
		t.Fatalf("write: status %d", status)
	}
	d.Await("interrupt", func() bool { d.Try("endianness"); return d.Raised(pirqE) })
	if isr := disk.ISR(); isr != 1 || d.Raised(pirqE) {
		t.Errorf("interrupt status %d, lines %v", isr, d.lines)
	}
	d.Do("memset %#x %d 0", dataAt, 2*sector)
	if status := request(d, disk, blkIn, 8, 1); status != 0 {
		t.Fatalf("read: status %d", status)
	}
	if got := d.Read(dataAt, sector); !bytes.Equal(got, text[sector:]) {
		t.Errorf("read %q", got)
	}
	if status := request(d, disk, blkIn, 1<<40, 1); status != 1 {
		t.Errorf("beyond its end: status %d", status)
	}
	b, err := os.ReadFile(image)
	if err != nil || !bytes.Equal(b[7*sector:9*sector], text) {
		t.Errorf("the image has not what was written: %v", err)
	}
}

// TestStoppedDisk stands still until the VM goes on.
func TestStoppedDisk(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 1)
	d, _, c := withQMP(t, "-drive", "file="+image+",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d,addr=4.0")
	disk := NewVirtio(d.Function(4, 0), barAt, 0, ringAt)
	call(t, c, qapi.CmdStop, qapi.Empty{})
	if s := call(t, c, qapi.CmdQueryStatus, qapi.Empty{}); s.Running || s.Status != qapi.RunStatePaused {
		t.Errorf("stopped: %+v", s)
	}
	q := disk.queue
	d.Store(q.notify, 2, 0)
	call(t, c, qapi.CmdCont, qapi.Empty{})
	if status := request(d, disk, blkIn, 0, 1); status != 0 {
		t.Errorf("status %d after cont", status)
	}
	call(t, c, qapi.CmdSystemReset, qapi.Empty{})
	d.Await("reset", func() bool { return d.Function(4, 0).Config(0x20, 4)&^15 == 0 })
	disk = NewVirtio(d.Function(4, 0), barAt, 0, ringAt)
	if status := request(d, disk, blkIn, 0, 1); status != 0 {
		t.Errorf("status %d after a reset", status)
	}
}

// TestMonitor: what QMP says of a machine without KVM.
func TestMonitor(t *testing.T) {
	d, p, c := withQMP(t, "-smp", "3")
	if k := call(t, c, qapi.CmdQueryKvm, qapi.Empty{}); k.Enabled || !k.Present {
		t.Errorf("%+v", k)
	}
	tids := map[int64]bool{}
	for _, cpu := range call(t, c, qapi.CmdQueryCpusFast, qapi.Empty{}) {
		tids[cpu.ThreadId] = true
	}
	if len(tids) != 3 {
		t.Errorf("threads %v of three processors", tids)
	}
	d.Out(0xcf9, 1, 6) // a reset by the guest's doing
	for e := range c.Events() {
		if e.Name == "RESET" {
			break
		}
	}
	d.Out(0x604, 2, 1<<13) // the soft-off state
	if status := p.Wait(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestPanicDevice: the guest says by a PCI function that it crashed.
func TestPanicDevice(t *testing.T) {
	d, _, c := withQMP(t, "-device", "pvpanic-pci,addr=4.0", "-action", "panic=pause")
	f := d.Function(4, 0)
	if id := f.Config(0, 4); id != 0x00111b36 {
		t.Fatalf("identity %#x", id)
	}
	f.Map(0, barAt)
	if events := d.Load(barAt, 1); events != 3 {
		t.Errorf("announces %#x", events)
	}
	d.Store(barAt, 1, 1)
	for e := range c.Events() {
		if e.Name == "GUEST_PANICKED" {
			break
		}
	}
	d.Await("pause", func() bool { return call(t, c, qapi.CmdQueryStatus, qapi.Empty{}).Status == qapi.RunStateGuestPanicked })
}

// TestEventRate: events of a kind that a guest can repeat are held back by the machine's
// time.
func TestEventRate(t *testing.T) {
	d, _, c := withQMP(t)
	set := func() { setCMOS(d, 9, 0x30); setCMOS(d, 9, 0x31) }
	set()
	offsets := func() (n int) {
		call(t, c, qapi.CmdQueryStatus, qapi.Empty{}) // events come before its answer
		for {
			select {
			case e := <-c.Events():
				if e.Name == "RTC_CHANGE" {
					n++
				}
			default:
				return n
			}
		}
	}
	if n := offsets(); n != 1 {
		t.Errorf("%d events at once", n)
	}
	d.Step(time.Second)
	if n := offsets(); n != 1 {
		t.Errorf("%d events after a second", n)
	}
	d.Step(time.Second)
	set()
	if n := offsets(); n != 1 {
		t.Errorf("%d events after two seconds of silence", n)
	}
}

func TestEmptyMachine(t *testing.T) {
	d, _, c := withQMP(t, "-machine", "none")
	if got := d.Load(0, 4); got != 0xffff_ffff {
		t.Errorf("nothing reads as %#x", got)
	}
	if got := d.In(0x71, 1); got != 0xff {
		t.Errorf("no port reads as %#x", got)
	}
	if got := d.Try("irq_intercept_in ioapic"); got != "FAIL Unknown device" {
		t.Error(got)
	}
	if err := c.Execute(context.Background(), "system_reset", json.RawMessage("{}"), nil); err != nil {
		t.Error(err)
	}
	if got := d.Do("endianness"); got != "little" {
		t.Error(got)
	}
}

// TestPreconfig: qtest answers before there is a machine.
func TestPreconfig(t *testing.T) {
	d, _, c := withQMP(t, "-preconfig", "-m", "16")
	if got := d.Do("endianness"); got != "little" {
		t.Error(got)
	}
	d.Store(0, 4, 1)
	if got := d.Load(0, 4); got != 0xffff_ffff {
		t.Errorf("memory that is not there reads %#x", got)
	}
	d.Out(0x70, 1, 0)
	if got := d.In(0x71, 1); got != 0xff {
		t.Errorf("a port that is not there reads %#x", got)
	}
	call(t, c, qapi.CmdXExitPreconfig, qapi.Empty{})
	d.Store(0, 4, 1)
	if got := d.Load(0, 4); got != 1 {
		t.Errorf("memory reads %#x", got)
	}
	if id := d.Function(0, 0).Config(0, 4); id != 0x29c08086 {
		t.Errorf("the host bridge is %#x", id)
	}
	awaitRunning(t, d, c)
}

// TestLogFile: what went over the connection is in the file of -qtest-log.
func TestLogFile(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	d, p, c := withQMP(t, "-qtest-log", log)
	d.Do("endianness")
	call(t, c, qapi.CmdQuit, qapi.Empty{})
	p.Wait(t)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[I 0.", "] OPENED\n[R +0.", "] endianness\n[S +0.", "] OK little\n[I +0.", "] CLOSED\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the log has no %q:\n%s", want, b)
		}
	}
}
