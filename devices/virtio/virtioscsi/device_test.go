package virtioscsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"hv/devices/qdev"
	"hv/devices/scsi"
	"hv/devices/scsi/scsitest"
	"hv/devices/virtio/virtiotest"
)

var le = binary.LittleEndian

func adapter(t testing.TB, change ...func(c *Config)) *Device {
	t.Helper()
	var c Config
	if err := qdev.SetDefaults(&c); err != nil {
		t.Fatal(err)
	}
	c.QueueSize = 64
	for _, f := range change {
		f(&c)
	}
	d, err := New(c, 2)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// plug puts a disk on the adapter's bus.
func plug(t testing.TB, d *Device, m *scsitest.Medium, target, lun uint32) *scsi.Unit {
	t.Helper()
	var c scsi.DiskConfig
	if err := qdev.SetDefaults(&c); err != nil {
		t.Fatal(err)
	}
	c.Target, c.LUN = target, lun
	u, err := scsi.NewDisk(c, m, scsi.Hooks{})
	if err == nil {
		err = d.Bus().Add(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Bus().Remove(u)
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

// header makes the driver's part of a request.
func header(target byte, lun uint16, tag uint64, cdb ...byte) []byte {
	b := make([]byte, requestHeader+defaultCDB)
	b[0], b[1] = lunSingle, target
	binary.BigEndian.PutUint16(b[2:], 0x4000|lun)
	le.PutUint64(b[8:], tag)
	copy(b[requestHeader:], cdb)
	return b
}

// answer is the device's part.
type answer struct {
	status, response byte
	resid            uint32
	sense, data      []byte
}

func parseAnswer(b []byte) answer {
	n := le.Uint32(b)
	return answer{status: b[10], response: b[11], resid: le.Uint32(b[4:]), sense: b[12 : 12+n], data: b[min(len(b), responseHeader+defaultSense):]}
}

// ask carries out one command.
func ask(v *virtiotest.Driver, i int, in int, h []byte, out ...[]byte) answer {
	b, _ := v.Send(i, responseHeader+defaultSense+in, append([][]byte{h}, out...)...)
	return parseAnswer(b)
}

var tur = []byte{0, 0, 0, 0, 0, 0}

func read10(lba uint32, n uint16) []byte {
	b := []byte{0x28, 9: 0}
	binary.BigEndian.PutUint32(b[2:], lba)
	binary.BigEndian.PutUint16(b[7:], n)
	return b
}

func write10(lba uint32, n uint16) []byte {
	b := read10(lba, n)
	b[0] = 0x2a
	return b
}

func TestCommands(t *testing.T) {
	for _, o := range []virtiotest.Options{{}, {Packed: true, EventIdx: true}, {Indirect: true, EventIdx: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			d := adapter(t)
			m := scsitest.New(1 << 20)
			plug(t, d, m, 3, 300)
			v := virtiotest.NewDriver(t, d, o)
			if a := ask(v, queueRequest, 0, header(3, 300, 1, tur...)); a.status != 2 || len(a.sense) != 18 || a.sense[2] != 6 || a.sense[12] != 0x29 {
				t.Errorf("switched on: %+v", a)
			}
			data := bytes.Repeat([]byte("0123456789abcdef"), 64)
			if a := ask(v, queueRequest, 0, header(3, 300, 2, write10(5, 2)...), data[:100], data[100:]); a.status != 0 || a.resid != 0 {
				t.Errorf("write: %+v", a)
			}
			if a := ask(v, queueRequest+1, 2000, header(3, 300, 3, read10(5, 2)...)); a.status != 0 || a.resid != 2000-1024 || !bytes.Equal(a.data[:1024], data) {
				t.Errorf("read: %+v", a)
			}
			for what, x := range map[string]struct {
				h    []byte
				in   int
				want byte
			}{
				"another target":     {header(4, 0, 4, tur...), 0, responseBadTarget},
				"no unit's address":  {append([]byte{2}, header(3, 300, 4, tur...)[1:]...), 0, responseBadTarget},
				"too little room":    {header(3, 300, 4, read10(0, 8)...), 512, responseOverrun},
				"in wrong direction": {header(3, 300, 4, write10(0, 1)...), 512, responseOverrun},
			} {
				if a := ask(v, queueRequest, x.in, x.h); a.response != x.want {
					t.Errorf("%s: %+v", what, a)
				}
			}
			if a := ask(v, queueRequest, 512, header(3, 300, 5, read10(0, 1)...), make([]byte, 512)); a.response != responseFailure {
				t.Errorf("in both directions: %+v", a)
			}
			if a := ask(v, queueRequest, 36, header(3, 2, 6, 0x12, 0, 0, 0, 36, 0)); a.response != 0 || a.data[0] != 0x7f {
				t.Errorf("another unit of the target: %+v", a)
			}
			if err := v.NeedsReset(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	d := adapter(t, func(c *Config) { c.NumQueues = 3 })
	plug(t, d, scsitest.New(1<<20), 0, 0)
	v := virtiotest.NewDriver(t, d, virtiotest.Options{})
	var b [confSize]byte
	d.ReadConfig(0, b[:])
	for off, want := range map[int]uint32{confNumQueues: 3, confSegMax: 62, confMaxSectors: 65535, confCmdPerLUN: 128, confEventSize: 16, confSenseSize: 96, confCDBSize: 32, confMaxLUN: 16383} {
		if got := le.Uint32(b[off:]); got != want {
			t.Errorf("at %d: %d", off, got)
		}
	}
	if le.Uint16(b[confMaxTarget:]) != 255 || le.Uint16(b[confMaxChannel:]) != 0 {
		t.Errorf("limits %x", b)
	}
	d.ReadConfig(100, b[:4])
	if le.Uint32(b[:]) != 0 {
		t.Error("there is something behind the end")
	}
	put := func(off uint64, n uint32) { d.WriteConfig(off, le.AppendUint32(nil, n)) }
	put(confSenseSize, 10)
	put(confCDBSize, 10)
	put(confNumQueues, 7)
	h := header(0, 0, 1, tur...)[:requestHeader+10]
	if got, _ := v.Send(queueRequest, responseHeader+10, h); le.Uint32(got) != 10 || got[10] != 2 || got[12] != 0x70 {
		t.Errorf("small sense: %x", got)
	}
	put(confCDBSize, 256)
	if err := v.AwaitBroken(); !strings.Contains(err.Error(), "too large") {
		t.Error(err)
	}
	v.Reset()
	d.ReadConfig(0, b[:])
	if le.Uint32(b[confSenseSize:]) != 96 || le.Uint32(b[confCDBSize:]) != 32 {
		t.Error("a reset keeps the sizes")
	}
	for want, change := range map[string]func(c *Config){
		"Invalid number of queues": func(c *Config) { c.NumQueues = 0 }, "must be > 2": func(c *Config) { c.QueueSize = 2 }, "power of two": func(c *Config) { c.QueueSize = 100 },
	} {
		c := d.cfg
		change(&c)
		if _, err := New(c, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// tmf asks for a task management function.
func tmf(v *virtiotest.Driver, function uint32, target byte, lun uint16, tag uint64) byte {
	b := make([]byte, tmfSize)
	le.PutUint32(b[4:], function)
	b[8], b[9] = lunSingle, target
	binary.BigEndian.PutUint16(b[10:], 0x4000|lun)
	le.PutUint64(b[16:], tag)
	got, _ := v.Send(queueControl, 1, b)
	return got[0]
}

// TestTaskManagement aborts and resets, with requests held in the medium.
func TestTaskManagement(t *testing.T) {
	d := adapter(t)
	m := scsitest.New(1 << 20)
	u := plug(t, d, m, 0, 0)
	v := virtiotest.NewDriver(t, d, virtiotest.Options{})
	ask(v, queueRequest, 0, header(0, 0, 0, tur...))
	for _, x := range []struct {
		function uint32
		target   byte
		lun      uint16
		want     byte
	}{
		{tmfQueryTask, 0, 0, responseOK}, {tmfQueryTaskSet, 0, 0, responseOK}, {tmfAbortTask, 0, 0, responseOK}, {tmfClearACA, 0, 0, responseRejected},
		{99, 0, 0, responseRejected}, {tmfAbortTask, 5, 0, responseBadTarget}, {tmfUnitReset, 0, 1, responseIncorrect}, {tmfNexusReset, 0, 0, responseOK},
	} {
		if got := tmf(v, x.function, x.target, x.lun, 1); got != x.want {
			t.Errorf("%+v: %d", x, got)
		}
	}
	ask(v, queueRequest, 0, header(0, 0, 0, tur...)) // was reset
	d.Bus().Pause()
	begin := func(tag uint64) uint64 {
		h := header(0, 0, tag, read10(0, 1)...)
		at, room := v.Alloc(len(h)), v.Alloc(responseHeader+defaultSense+512)
		copy(v.Bytes(at, len(h)), h)
		v.Add(queueRequest, virtiotest.Buf{Addr: at, Len: uint32(len(h))}, virtiotest.Buf{Addr: room, Len: responseHeader + defaultSense + 512, Write: true})
		v.Kick(queueRequest)
		for !d.Bus().Has(u, &tag) { // until the worker has it
			v.Nudge(queueRequest)
		}
		return room
	}
	a, b := begin(1), begin(2)
	if tmf(v, tmfQueryTask, 0, 0, 2) != responseSucceeded || tmf(v, tmfQueryTaskSet, 0, 0, 9) != responseSucceeded || tmf(v, tmfQueryTask, 0, 0, 9) != responseOK {
		t.Error("a task is not known, or one that is not there is")
	}
	if tmf(v, tmfAbortTask, 0, 0, 2) != responseOK {
		t.Error("abort")
	}
	v.Wait(queueRequest)
	if got := v.Bytes(b, responseHeader)[11]; got != responseAborted {
		t.Errorf("aborted: %d", got)
	}
	if tmf(v, tmfUnitReset, 0, 0, 0) != responseOK {
		t.Error("reset")
	}
	v.Wait(queueRequest)
	if got := v.Bytes(a, responseHeader)[11]; got != responseReset {
		t.Errorf("reset: %d", got)
	}
	d.Bus().Resume()
	if a := ask(v, queueRequest, 0, header(0, 0, 3, tur...)); a.sense[12] != 0x29 {
		t.Errorf("after the reset: %+v", a)
	}
	an := make([]byte, anSize)
	an[0] = controlSubscribe
	if got, n := v.Send(queueControl, anAnswerSize, an); n != anAnswerSize || got[4] != 0 {
		t.Errorf("subscription: %x", got)
	}
	v.Send(queueControl, 1, []byte{77, 0, 0, 0})
	if err := v.NeedsReset(); err != nil {
		t.Error(err)
	}
}

// TestEvents tells of units that come, change and go, before and after there are buffers.
func TestEvents(t *testing.T) {
	d := adapter(t)
	m := scsitest.New(1 << 20)
	u := plug(t, d, m, 7, 300)
	v := virtiotest.NewDriver(t, d, virtiotest.Options{})
	d.Plugged(u)
	var rooms []uint64
	for range 3 {
		at := v.Alloc(eventSize)
		rooms = append(rooms, at)
		v.Add(queueEvent, virtiotest.Buf{Addr: at, Len: eventSize, Write: true})
	}
	v.Kick(queueEvent)
	u.Resized()
	d.Unplugged(u)
	for i, want := range []struct{ event, reason uint32 }{{eventTransport, reasonRescan}, {eventParam, 0x092a}, {eventTransport, reasonRemoved}} {
		v.Wait(queueEvent)
		b := v.Bytes(rooms[i], eventSize)
		if le.Uint32(b) != want.event || le.Uint32(b[12:]) != want.reason || b[4] != 1 || b[5] != 7 || b[6] != 0x41 || b[7] != 0x2c {
			t.Errorf("event %d: %x", i, b)
		}
	}
	for range maxEvents + 5 {
		d.Plugged(u)
	}
	at := v.Alloc(eventSize)
	v.Add(queueEvent, virtiotest.Buf{Addr: at, Len: eventSize, Write: true})
	v.Kick(queueEvent)
	v.Wait(queueEvent)
	if b := v.Bytes(at, eventSize); le.Uint32(b) != eventTransport|eventMissed {
		t.Errorf("after a flood: %x", b)
	}
	deaf := adapter(t, func(c *Config) { c.Hotplug, c.ParamChange = false, false })
	if deaf.Features() != 0 {
		t.Errorf("features %#x", deaf.Features())
	}
	deaf.Plugged(u)
	if deaf.pending() {
		t.Error("an event for nobody")
	}
}

// TestBroken gives the device rings that make no sense.
func TestBroken(t *testing.T) {
	for name, x := range map[string]struct {
		queue, in int
		out       []byte
	}{
		"short request": {queueRequest, 200, make([]byte, 20)}, "no room for sense": {queueRequest, 50, make([]byte, 51)},
		"short control request": {queueControl, 1, make([]byte, 3)}, "short function": {queueControl, 1, make([]byte, 10)}, "short subscription": {queueControl, 5, []byte{1, 4: 0}},
		"small event": {queueEvent, 4, nil},
	} {
		d := adapter(t)
		u := plug(t, d, scsitest.New(4096), 0, 0)
		v := virtiotest.NewDriver(t, d, virtiotest.Options{})
		d.Plugged(u)
		var bufs []virtiotest.Buf
		if len(x.out) > 0 {
			bufs = append(bufs, virtiotest.Buf{Addr: v.Alloc(len(x.out)), Len: uint32(len(x.out))})
			copy(v.Bytes(bufs[0].Addr, len(x.out)), x.out)
		}
		v.Add(x.queue, append(bufs, virtiotest.Buf{Addr: v.Alloc(x.in), Len: uint32(x.in), Write: true})...)
		v.Kick(x.queue)
		if err := v.AwaitBroken(); !strings.Contains(err.Error(), "wrong size") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestResetUnderLoad resets the device with requests everywhere; afterwards nothing is
// written to the guest any more.
func TestResetUnderLoad(t *testing.T) {
	d := adapter(t)
	plug(t, d, scsitest.New(1<<20), 0, 0)
	v := virtiotest.NewDriver(t, d, virtiotest.Options{})
	for range 20 {
		mark := v.Mark()
		for i := range 16 {
			h := header(0, 0, uint64(i), read10(uint32(i), 1)...)
			at, room := v.Alloc(len(h)), v.Alloc(responseHeader+defaultSense+512)
			copy(v.Bytes(at, len(h)), h)
			v.Add(queueRequest+i%2, virtiotest.Buf{Addr: at, Len: uint32(len(h))}, virtiotest.Buf{Addr: room, Len: responseHeader + defaultSense + 512, Write: true})
			v.Kick(queueRequest + i%2)
		}
		v.Reset()
		all := v.Bytes(mark, int(v.Mark()-mark))
		before := bytes.Clone(all)
		d.Bus().Pause()
		if !bytes.Equal(before, all) {
			t.Fatal("guest memory changes after a reset")
		}
		d.Bus().Resume()
		v.Release(mark)
		v.Activate()
	}
	if a := ask(v, queueRequest, 0, header(0, 0, 1, tur...)); a.response != 0 {
		t.Errorf("afterwards: %+v", a)
	}
}

// FuzzQueues gives each queue whatever the driver may write.
func FuzzQueues(f *testing.F) {
	f.Add(uint8(queueRequest), header(0, 0, 1, read10(0, 1)...), uint32(620), uint8(7))
	f.Add(uint8(queueControl), make([]byte, tmfSize), uint32(1), uint8(0))
	f.Add(uint8(queueEvent), []byte{}, uint32(16), uint8(0))
	f.Fuzz(func(t *testing.T, queue uint8, out []byte, in uint32, cut uint8) {
		d := adapter(t)
		plug(t, d, scsitest.New(64<<10), 0, 0)
		v := virtiotest.NewDriver(t, d, virtiotest.Options{})
		i := int(queue) % 3
		if i == queueEvent {
			d.Plugged(d.Bus().Units()[0])
		}
		if v.Feed(i, out, in%(1<<16), cut) {
			v.Settle(i)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	for _, depth := range []int{1, 32} {
		b.Run(fmt.Sprint(depth), func(b *testing.B) {
			d := adapter(b)
			plug(b, d, scsitest.New(1<<20), 0, 0)
			v := virtiotest.NewDriver(b, d, virtiotest.Options{EventIdx: true, Indirect: true})
			h := header(0, 0, 0, read10(0, 8)...)
			at := v.Alloc(len(h))
			copy(v.Bytes(at, len(h)), h)
			room := v.Alloc(responseHeader + defaultSense + 4096)
			add := func() {
				v.Add(queueRequest, virtiotest.Buf{Addr: at, Len: uint32(len(h))}, virtiotest.Buf{Addr: room, Len: responseHeader + defaultSense + 4096, Write: true})
			}
			for range depth {
				add()
			}
			v.Kick(queueRequest)
			b.ReportAllocs()
			for b.Loop() {
				v.Wait(queueRequest)
				add()
				v.Kick(queueRequest)
			}
			for range depth {
				v.Wait(queueRequest)
			}
		})
	}
}
