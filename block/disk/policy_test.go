package disk

import (
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/hostfile"
	"hv/qmp/qapi"
)

// failing is a driver whose requests fail with an error number, unless that is 0.
type failing struct {
	mu  sync.Mutex
	err unix.Errno
	ops []int64 // offsets of writes that were done
}

func (f *failing) set(e unix.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = e
}

func (f *failing) result() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != 0 {
		return f.err
	}
	return nil
}

func (f *failing) Size() int64                 { return size }
func (f *failing) Readv(int64, [][]byte) error { return f.result() }
func (f *failing) Flush() error                { return f.result() }
func (f *failing) Close() error                { return nil }

func (f *failing) Writev(off int64, _ [][]byte, _ graph.Flags) error {
	if err := f.result(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, off)
	return nil
}

// unreliable returns a disk on a failing driver, and what it tells of failures.
func unreliable(t *testing.T, p Policy) (*failing, *Disk, func() []Failure) {
	t.Helper()
	f := &failing{}
	g := &graph.Graph{}
	n, err := g.Open(graph.Spec{Driver: "failing", Open: func([]*graph.Child) (graph.Driver, error) { return f, nil }, Filename: func() string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []Failure
	d, err := Open(n, Config{Name: func() string { return "d" }, Policy: p, Failed: func(x Failure) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, x)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := n.Unref(); err != nil {
			t.Error(err)
		}
	})
	return f, d, func() []Failure {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(told)
	}
}

func TestActions(t *testing.T) {
	const (
		report, ignore, enospc, stop = qapi.BlockdevOnErrorReport, qapi.BlockdevOnErrorIgnore, qapi.BlockdevOnErrorEnospc, qapi.BlockdevOnErrorStop
		reported, ignored, stopped   = qapi.BlockErrorActionReport, qapi.BlockErrorActionIgnore, qapi.BlockErrorActionStop
	)
	for _, x := range []struct {
		p                Policy
		read, write, out qapi.BlockErrorAction // of EIO, and of a write for which there is no room
		stops            bool
	}{
		{Policy{}.Or(DefaultPolicy), reported, reported, stopped, true},
		{Policy{Read: qapi.BlockdevOnErrorAuto, Write: report}.Or(DefaultPolicy), reported, reported, reported, false},
		{Policy{report, report}.Or(Policy{stop, stop}), reported, reported, reported, false},
		{Policy{}.Or(Policy{stop, ignore}), stopped, ignored, ignored, true},
		{Policy{ignore, enospc}, ignored, reported, stopped, true},
		{Policy{enospc, stop}, reported, stopped, stopped, true},
	} {
		if a, b, c := x.p.action(true, unix.EIO), x.p.action(false, unix.EIO), x.p.action(false, unix.ENOSPC); a != x.read || b != x.write || c != x.out {
			t.Errorf("%v: %s, %s, %s", x.p, a, b, c)
		}
		if x.p.stops() != x.stops {
			t.Errorf("%v: stops %v", x.p, x.p.stops())
		}
	}
}

func TestReportAndIgnore(t *testing.T) {
	f, d, told := unreliable(t, Policy{Read: qapi.BlockdevOnErrorIgnore, Write: qapi.BlockdevOnErrorReport})
	q := queue(t, d)
	f.set(unix.EIO)
	if res := do(t, q, hostfile.OpRead, 0, make([]byte, 512)); res != 512 {
		t.Errorf("an ignored error gives %d", res)
	}
	if res := do(t, q, hostfile.OpWrite, 0, make([]byte, 512)); res != -int32(unix.EIO) {
		t.Errorf("a reported error gives %d", res)
	}
	want := []Failure{{true, unix.EIO, qapi.BlockErrorActionIgnore}, {false, unix.EIO, qapi.BlockErrorActionReport}}
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if s, ok := d.Status(); ok || s != qapi.BlockDeviceIoStatusOk {
		t.Errorf("%s %v", s, ok)
	}
}

// TestStop has writes fail for want of room: they wait, drains do not wait for them, and they
// are made again, those and no others.
func TestStop(t *testing.T) {
	f, d, told := unreliable(t, Policy{})
	q := queue(t, d).(*Queue)
	f.set(unix.ENOSPC)
	over := map[uint32]int32{}
	done := func(tag uint32, res int32) { over[tag] = res }
	buf := [][]byte{make([]byte, 512)}
	for tag := range uint32(3) {
		if err := q.Submit(hostfile.OpWrite, tag, int64(tag)*512, 512, buf); err != nil {
			t.Fatal(err)
		}
	}
	for q.Parked() < 3 {
		if err := q.Wait(true, done); err != nil {
			t.Fatal(err)
		}
	}
	if s, ok := d.Status(); !ok || s != qapi.BlockDeviceIoStatusNospace || len(told()) != 3 || told()[0].Action != qapi.BlockErrorActionStop {
		t.Errorf("%s %v %v", s, ok, told())
	}
	d.Node().Drain()()
	if len(over) != 0 || q.Parked() != 3 {
		t.Errorf("%v are over, %d wait", over, q.Parked())
	}
	f.set(0)
	undrain := d.Node().Drain()
	d.Retry() // of a disk that stands still
	undrain()
	for len(over) < 3 {
		if err := q.Wait(true, done); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(f.ops)
	if !slices.Equal(f.ops, []int64{0, 512, 1024}) || over[0] < 0 || over[1] < 0 || over[2] < 0 || q.Parked() != 0 {
		t.Errorf("%v %v", f.ops, over)
	}
	d.ResetStatus()
	if s, _ := d.Status(); s != qapi.BlockDeviceIoStatusOk {
		t.Error(s)
	}
	d.Retry()
	f.set(unix.EIO)
	if res := do(t, q, hostfile.OpFlush, 0, nil); res != -int32(unix.EIO) {
		t.Errorf("a flush gives %d", res)
	}
}
