package scsi_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/devices/qdev"
	"hv/devices/scsi"
	"hv/devices/scsi/scsitest"
)

// host is an adapter that keeps what comes back.
type host struct {
	t       testing.TB
	bus     *scsi.Bus
	done    chan *scsi.Task
	changes chan scsi.Sense
}

func newHost(t testing.TB) *host {
	h := &host{t: t, done: make(chan *scsi.Task, 1024), changes: make(chan scsi.Sense, 16)}
	h.bus = scsi.NewBus(h)
	return h
}

func (h *host) Done(t *scsi.Task)                     { h.done <- t }
func (h *host) Settle()                               {}
func (h *host) Changed(_ *scsi.Unit, s scsi.Sense)    { h.changes <- s }
func (h *host) submit(target uint32, task *scsi.Task) { h.bus.Submit(target, task) }

// add puts a unit on the bus until the test ends.
func (h *host) add(u *scsi.Unit, err error) *scsi.Unit {
	h.t.Helper()
	if err == nil {
		err = h.bus.Add(u)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		h.bus.Remove(u)
		if err := u.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return u
}

func configOf[T any](t testing.TB) T {
	var c T
	if err := qdev.SetDefaults(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// disk puts a disk on the bus, whose attention is used up.
func (h *host) disk(m *scsitest.Medium, change ...func(c *scsi.DiskConfig)) *scsi.Unit {
	h.t.Helper()
	c := configOf[scsi.DiskConfig](h.t)
	for _, f := range change {
		f(&c)
	}
	u := h.add(scsi.NewDisk(c, m, scsi.Hooks{}))
	h.settle(u)
	return u
}

// cd puts a CD drive on the bus; m may be nil.
func (h *host) cd(m *scsitest.Medium, hooks scsi.Hooks) *scsi.Unit {
	h.t.Helper()
	var medium scsi.Medium
	if m != nil {
		medium = m
	}
	u := h.add(scsi.NewCD(configOf[scsi.CDConfig](h.t), medium, hooks))
	h.settle(u)
	return u
}

// settle takes the attention for being switched on.
func (h *host) settle(u *scsi.Unit) {
	h.t.Helper()
	if s := h.at(u, "000000000000", nil, 0).Sense; s != (scsi.Sense{Key: 6, ASC: 0x29}) {
		h.t.Fatalf("switched on: %+v", s)
	}
}

// hex reads a CDB.
func hex(t testing.TB, s string) []byte {
	t.Helper()
	s = strings.ReplaceAll(s, " ", "")
	var b []byte
	for i := 0; i+1 < len(s); i += 2 {
		b = append(b, unhex(s[i])<<4|unhex(s[i+1]))
	}
	return b
}

func unhex(c byte) byte { return byte(strings.IndexByte("0123456789abcdef", c)) }

// at has a unit carry out a command.
func (h *host) at(u *scsi.Unit, cdb string, out []byte, in int) *scsi.Task {
	h.t.Helper()
	a := u.Address()
	return h.run(a.Target, a.LUN, hex(h.t, cdb), out, in)
}

func (h *host) run(target, lun uint32, cdb, out []byte, in int) *scsi.Task {
	task := newTask(lun, cdb, out, in)
	h.submit(target, task)
	return <-h.done
}

// newTask makes a task, with its data in pieces.
func newTask(lun uint32, cdb, out []byte, in int) *scsi.Task {
	task := &scsi.Task{LUN: lun}
	task.Len = copy(task.CDB[:], cdb)
	if len(out) > 0 {
		task.Out = [][]byte{out[:len(out)/2], out[len(out)/2:]}
	}
	if in > 0 {
		b := make([]byte, in)
		task.In = [][]byte{b[: in/2 : in/2], b[in/2:]}
	}
	return task
}

// data returns what a task got.
func data(t *scsi.Task) []byte {
	var b []byte
	for _, x := range t.In {
		b = append(b, x...)
	}
	return b[:t.Moved]
}

func TestAddresses(t *testing.T) {
	h := newHost(t)
	at := func(channel, target, lun uint32) (*scsi.Unit, error) {
		c := configOf[scsi.DiskConfig](t)
		c.Channel, c.Target, c.LUN = channel, target, lun
		u, err := scsi.NewDisk(c, scsitest.New(4096), scsi.Hooks{})
		if err != nil {
			return nil, err
		}
		if err = h.bus.Add(u); err != nil {
			return nil, errors.Join(err, u.Close())
		}
		t.Cleanup(func() { h.bus.Remove(u); _ = u.Close() })
		return u, nil
	}
	const any = 1<<32 - 1
	for _, x := range []struct {
		channel, target, lun, wantTarget, wantLUN uint32
		err                                       string
	}{
		{target: any, lun: any}, {target: any, lun: any, wantTarget: 1}, {target: 0, lun: any, wantLUN: 1},
		{target: any, lun: 1, wantTarget: 1, wantLUN: 1}, {target: 200, lun: 16383, wantTarget: 200, wantLUN: 16383},
		{target: 200, lun: 16383, err: "lun already used"}, {channel: 1, target: any, lun: any, err: "bad scsi channel id: 1"},
		{target: 256, lun: 0, err: "bad scsi device id: 256"}, {target: 0, lun: 16384, err: "bad scsi device lun: 16384"},
	} {
		u, err := at(x.channel, x.target, x.lun)
		switch {
		case x.err != "":
			if err == nil || !strings.Contains(err.Error(), x.err) {
				t.Errorf("%+v: %v", x, err)
			}
		case err != nil:
			t.Errorf("%+v: %v", x, err)
		default:
			if a := u.Address(); a.Target != x.wantTarget || a.LUN != x.wantLUN {
				t.Errorf("%+v is at %+v", x, a)
			}
		}
	}
	got := h.run(200, 0, hex(t, "a00000000000000000400000"), nil, 64)
	want := []byte{3: 16, 8 + 8: 0x7f, 0xff, 23: 0}
	if string(data(got)) != string(want) {
		t.Errorf("units of target 200: %x", data(got))
	}
}

func TestNoUnit(t *testing.T) {
	h := newHost(t)
	h.disk(scsitest.New(4096))
	if got := h.run(7, 0, hex(t, "000000000000"), nil, 0); got.Outcome != scsi.NoTarget {
		t.Errorf("another target: %+v", got.Outcome)
	}
	if got := h.run(0, 3, hex(t, "000000000000"), nil, 0); got.Outcome != scsi.Done || got.Sense.ASC != 0x25 {
		t.Errorf("another unit: %+v", got)
	}
	if got := data(h.run(0, 3, hex(t, "120000002400"), nil, 36)); len(got) != 36 || got[0] != 0x7f {
		t.Errorf("INQUIRY of another unit: %x", got)
	}
	if got := data(h.run(0, 3, hex(t, "030000001200"), nil, 18)); len(got) != 18 || got[12] != 0x25 {
		t.Errorf("REQUEST SENSE of another unit: %x", got)
	}
	if got := h.run(0, 3, hex(t, "120000004000"), nil, 36); got.Outcome != scsi.Overrun {
		t.Errorf("INQUIRY without room: %+v", got.Outcome)
	}
}

// TestHotplug adds a unit to a target, which its other units tell of, and takes it away
// with its tasks.
func TestHotplug(t *testing.T) {
	h := newHost(t)
	first := h.disk(scsitest.New(4096), func(c *scsi.DiskConfig) { c.Target = 0 })
	m := scsitest.New(4096)
	m.Gate = make(chan struct{})
	c := configOf[scsi.DiskConfig](t)
	c.Target = 0
	u, err := scsi.NewDisk(c, m, scsi.Hooks{})
	if err != nil || h.bus.Add(u) != nil {
		t.Fatal(err)
	}
	h.settle(u)
	h.bus.Relist(0)
	if s := h.at(first, "000000000000", nil, 0).Sense; s != (scsi.Sense{Key: 6, ASC: 0x3f, ASCQ: 0x0e}) {
		t.Errorf("the other unit says %+v", s)
	}
	if s := h.at(first, "000000000000", nil, 0).Sense; s != (scsi.Sense{}) {
		t.Errorf("twice: %+v", s)
	}
	_ = h.at(u, "030000001200", nil, 18)
	read := newTask(1, hex(t, "28000000000000000100"), nil, 512)
	h.submit(0, read)
	removed := make(chan struct{})
	go func() { h.bus.Remove(u); close(removed) }()
	close(m.Gate)
	<-removed
	if got := <-h.done; got != read || got.Outcome != scsi.Aborted && got.Outcome != scsi.Done {
		t.Errorf("the task: %+v", got.Outcome)
	}
	if err := errors.Join(u.Close(), u.Close()); err != nil {
		t.Error(err)
	}
	if got := h.run(0, 1, hex(t, "000000000000"), nil, 0); got.Sense.ASC != 0x25 {
		t.Errorf("gone: %+v", got.Sense)
	}
}

// TestAbort ends tasks while they are under way, and while they wait.
func TestAbort(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	u := h.disk(m)
	h.bus.Pause()
	for i := range 4 {
		task := newTask(0, hex(t, "28000000000000000100"), nil, 512)
		task.Tag = uint64(i)
		h.submit(0, task)
	}
	one := uint64(2)
	if !h.bus.Has(u, &one) {
		t.Error("the task is not there")
	}
	h.bus.Abort(u, &one)
	if got := <-h.done; got.Tag != 2 || got.Outcome != scsi.Aborted || h.bus.Has(u, &one) {
		t.Errorf("task %d: %d", got.Tag, got.Outcome)
	}
	h.bus.ResetUnit(u)
	for range 3 {
		if got := <-h.done; got.Outcome != scsi.WasReset {
			t.Errorf("task %d: %d", got.Tag, got.Outcome)
		}
	}
	h.bus.Resume()
	h.settle(u)
	if h.bus.Has(u, nil) {
		t.Error("there are tasks left")
	}
}

// TestParked lets requests fail that stop the machine: they are made again when it goes on,
// are aborted, or go with their medium.
func TestParked(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(64 << 10)
	u := h.cd(m, scsi.Hooks{})
	fail := func(on bool) {
		m.Lock()
		defer m.Unlock()
		if m.Park = on; on {
			m.Errno = -int32(unix.EIO)
		} else {
			m.Errno = 0
		}
	}
	begin := func(n int) {
		for i := range n {
			task := newTask(0, hex(t, "28000000000000000100"), nil, 2048)
			task.Tag = uint64(i)
			h.submit(u.Address().Target, task)
		}
		h.bus.Pause()
		if len(h.done) != 0 {
			t.Errorf("%d tasks are done", len(h.done))
		}
	}
	fail(true)
	begin(4)
	one := uint64(3)
	h.bus.Abort(u, &one)
	if got := <-h.done; got.Tag != 3 || got.Outcome != scsi.Aborted {
		t.Errorf("task %d: %d", got.Tag, got.Outcome)
	}
	fail(false)
	h.bus.Resume()
	for range 3 {
		ok(t, "made again", <-h.done)
	}
	fail(true)
	begin(2)
	h.bus.ResetUnit(u)
	for range 2 {
		if got := <-h.done; got.Outcome != scsi.WasReset {
			t.Errorf("task %d: %d", got.Tag, got.Outcome)
		}
	}
	h.bus.Resume()
	h.settle(u)
	begin(2)
	if err := u.SetMedium(nil); err != nil {
		t.Error(err)
	}
	h.bus.Resume()
	for range 2 {
		if got := <-h.done; got.Status != scsi.CheckCondition || got.Sense.ASC != 0x3a {
			t.Errorf("without the medium: %+v", got)
		}
	}
}

// TestMediumFails lets the medium break with tasks under way.
func TestMediumFails(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	u := h.disk(m)
	for errno, want := range map[unix.Errno]scsi.Sense{
		unix.EIO: {Key: 0xb, ASC: 0, ASCQ: 6}, unix.ENOSPC: {Key: 7, ASC: 0x27, ASCQ: 7}, unix.ENODATA: {Key: 3, ASC: 0x11},
		unix.EREMOTEIO: {Key: 4, ASC: 0x44}, unix.ENOMEDIUM: {Key: 2, ASC: 0x3a}, unix.EINVAL: {Key: 5, ASC: 0x24},
	} {
		m.Lock()
		m.Errno = -int32(errno)
		m.Unlock()
		if got := h.at(u, "28000000000000000100", nil, 512); got.Sense != want || got.Moved != 0 {
			t.Errorf("%v: %+v", errno, got.Sense)
		}
	}
	m.Lock()
	m.Broken = unix.EIO
	m.Unlock()
	for range 3 {
		if got := h.at(u, "28000000000000000100", nil, 512); got.Sense.Key != 4 {
			t.Errorf("broken: %+v", got.Sense)
		}
	}
	if got := h.at(u, "120000002400", nil, 36); got.Status != scsi.Good {
		t.Errorf("INQUIRY: %+v", got)
	}
	h2 := newHost(t)
	u2 := h2.disk(&scsitest.Medium{Data: make([]byte, 4096), Refuse: unix.EMFILE})
	if got := h2.at(u2, "28000000000000000100", nil, 512); got.Sense.Key != 4 {
		t.Errorf("refused: %+v", got.Sense)
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(c *scsi.DiskConfig){
		"drive is empty":      nil,
		"no power of two":     func(c *scsi.DiskConfig) { c.LogicalBlock = 1000 },
		"not supported":       func(c *scsi.DiskConfig) { c.LogicalBlock, c.PhysicalBlock = 4096, 512 },
		"min_io_size must":    func(c *scsi.DiskConfig) { c.MinIO = 100 },
		"opt_io_size must":    func(c *scsi.DiskConfig) { c.OptIO = 100 },
		"discard_granularity": func(c *scsi.DiskConfig) { c.DiscardGranularity = 100 },
		"longer than 36":      func(c *scsi.DiskConfig) { c.Serial = strings.Repeat("x", 37) },
		"scsi_version":        func(c *scsi.DiskConfig) { c.SCSIVersion = 9 },
	} {
		c := configOf[scsi.DiskConfig](t)
		var m scsi.Medium
		if change != nil {
			change(&c)
			m = scsitest.New(4096)
		}
		if _, err := scsi.NewDisk(c, m, scsi.Hooks{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// be is what numbers in commands are.
var be = binary.BigEndian
