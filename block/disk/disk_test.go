package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/account"
	"hv/block/formats"
	"hv/block/graph"
	"hv/block/hostfile"
	"hv/qmp/qapi"
)

const size = 1 << 20

// nodes returns what opens nodes, and a node raw over file with part of its options.
func nodes(t testing.TB, raw qapi.BlockdevOptionsRaw, edit func(top, file *qapi.BlockdevOptions)) (*formats.Opener, *graph.Node) {
	t.Helper()
	x := &formats.Opener{Graph: &graph.Graph{}, OpenFile: os.OpenFile, Drive: func(string) *graph.Node { return nil }}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file := &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, File: &qapi.BlockdevOptionsFile{Filename: path}}
	raw.File.Definition = file
	top := &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverRaw, Raw: &raw}
	if edit != nil {
		edit(top, file)
	}
	n, err := x.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Unref(); err != nil || len(x.Graph.Nodes()) != 0 {
			t.Errorf("%v, left are %v", err, x.Graph.Nodes())
		}
	})
	return x, n
}

func open(t testing.TB, n *graph.Node) *Disk {
	t.Helper()
	d, err := Open(n, Config{Name: func() string { return "a disk" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func queue(t testing.TB, d *Disk) hostfile.IO {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	kick, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	q, err := d.NewIO(kick, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		unix.Close(kick)
	})
	return q
}

// do carries out one request.
func do(t testing.TB, q hostfile.IO, op uint8, off int64, b []byte) int32 {
	t.Helper()
	var bufs [][]byte
	if op == hostfile.OpRead || op == hostfile.OpWrite {
		bufs = [][]byte{b}
	}
	if err := q.Submit(op, 5, off, int64(len(b)), bufs); err != nil {
		t.Fatal(err)
	}
	got, ended := int32(0), false
	for !ended {
		err := q.Wait(true, func(tag uint32, res int32) {
			got, ended = res, true
			if tag != 5 {
				t.Errorf("tag %d", tag)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func unmap(o *qapi.BlockdevOptions) {
	d := qapi.BlockdevDiscardOptionsUnmap
	o.Discard = &d
}

// ways are nodes that requests reach directly, and ones that they reach through the graph.
var ways = map[string]func(top, file *qapi.BlockdevOptions){
	"direct": func(top, _ *qapi.BlockdevOptions) { unmap(top) },
	"graph": func(top, _ *qapi.BlockdevOptions) {
		unmap(top)
		z := qapi.BlockdevDetectZeroesOptionsOn
		top.DetectZeroes = &z
	},
}

func TestRequests(t *testing.T) {
	for name, edit := range ways {
		t.Run(name, func(t *testing.T) {
			at := int64(4096)
			_, n := nodes(t, qapi.BlockdevOptionsRaw{Offset: &at}, edit)
			if _, direct := n.Mapping(); direct != (name == "direct") {
				t.Fatalf("mapped %v", direct)
			}
			d := open(t, n)
			q := queue(t, d)
			if d.Size() != size-4096 || d.ReadOnly() {
				t.Errorf("%d bytes", d.Size())
			}
			data := bytes.Repeat([]byte("data"), 1024)
			got := make([]byte, len(data))
			if r := do(t, q, hostfile.OpWrite, 8192, data); r < 0 {
				t.Fatal(r)
			}
			if do(t, q, hostfile.OpRead, 8192, got); !bytes.Equal(got, data) {
				t.Error("other data is read")
			}
			host, err := os.ReadFile(n.Children()[0].Node().Filename())
			if err != nil || !bytes.Equal(host[8192+4096:][:len(data)], data) {
				t.Errorf("the data lies elsewhere, %v", err)
			}
			for _, op := range []uint8{hostfile.OpWriteZeroes, hostfile.OpWriteZeroesUnmap} {
				do(t, q, hostfile.OpWrite, 8192, data)
				if do(t, q, op, 8192, got); do(t, q, hostfile.OpRead, 8192, got) < 0 || !bytes.Equal(got, make([]byte, len(got))) {
					t.Error("no zeroes")
				}
			}
			if do(t, q, hostfile.OpFlush, 0, nil) != 0 || do(t, q, hostfile.OpDiscard, 8192, got) != 0 {
				t.Error("flush or discard failed")
			}
			for kind, want := range [][2]int64{{4096 * 3, 3}, {4096 * 5, 5}, {0, 1}, {4096, 1}} {
				k := d.Front().Stats.Total(account.Kind(kind))
				if k.Bytes != want[0] || k.Operations != want[1] || k.Time <= 0 || k.Failed != 0 {
					t.Errorf("kind %d: %d bytes in %d requests in %d ns", kind, k.Bytes, k.Operations, k.Time)
				}
			}
			if idle, ok := d.Front().Stats.Idle(); !ok || idle < 0 || idle > time.Minute {
				t.Errorf("idle %v", idle)
			}
			if n.Highest() != 12288 || n.Children()[0].Node().Highest() != 12288+4096 {
				t.Errorf("highest %d", n.Highest())
			}
		})
	}
}

// TestDiscardIgnored has discards that a node above the file does not let through.
func TestDiscardIgnored(t *testing.T) {
	_, n := nodes(t, qapi.BlockdevOptionsRaw{}, nil)
	q := queue(t, open(t, n))
	data := bytes.Repeat([]byte{7}, 4096)
	got := make([]byte, len(data))
	do(t, q, hostfile.OpWrite, 0, data)
	if do(t, q, hostfile.OpDiscard, 0, data) != 0 || do(t, q, hostfile.OpRead, 0, got) < 0 || !bytes.Equal(got, data) {
		t.Error("it was not ignored")
	}
	if do(t, q, hostfile.OpWriteZeroesUnmap, 0, data); do(t, q, hostfile.OpRead, 0, got) < 0 || got[0] != 0 {
		t.Error("no zeroes")
	}
	if size, _ := n.Allocated(); size < 4096 {
		t.Errorf("zeroes gave space back: %d bytes left", size)
	}
}

func TestReadOnly(t *testing.T) {
	_, n := nodes(t, qapi.BlockdevOptionsRaw{}, func(top, _ *qapi.BlockdevOptions) { yes := true; top.ReadOnly = &yes })
	d := open(t, n)
	if !d.ReadOnly() || do(t, queue(t, d), hostfile.OpWrite, 0, make([]byte, 512)) >= 0 {
		t.Error("a write to a node for reading")
	}
	if d.Front().Stats.Total(account.Write).Failed != 1 {
		t.Error("the failure was not counted")
	}
}

func TestUsers(t *testing.T) {
	_, n := nodes(t, qapi.BlockdevOptionsRaw{}, nil)
	open(t, n)
	_, err := Open(n, Config{Name: func() string { return "block device 'b'" }, ShareRW: true})
	if err == nil || !strings.Contains(err.Error(), "permissions 'write' are both required by block device 'b'") {
		t.Error(err)
	}
	told := 0
	shared, m := nodes(t, qapi.BlockdevOptionsRaw{}, nil)
	for range 2 {
		d, err := Open(m, Config{Name: func() string { return "it" }, ShareRW: true})
		if err != nil {
			t.Fatal(err)
		}
		d.OnResize(func() { told++ })
		defer d.Close()
	}
	if err := m.Resize(2 * size); err != nil || told != 2 || m.Size() != 2*size || len(shared.Graph.Nodes()) != 2 {
		t.Errorf("%v, told %d times", err, told)
	}
}

// TestDrain has a queue work on one thread while the graph is drained and changed on
// another: no request is under way meanwhile, and none is lost.
func TestDrain(t *testing.T) {
	for name, edit := range ways {
		t.Run(name, func(t *testing.T) {
			_, n := nodes(t, qapi.BlockdevOptionsRaw{}, edit)
			d := open(t, n)
			var done atomic.Int64
			var quiet, stop atomic.Bool
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				kick, _ := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
				defer unix.Close(kick)
				q, err := d.NewIO(kick, 4)
				if err != nil {
					t.Error(err)
					return
				}
				defer q.Close()
				bufs := make([]byte, 4*512)
				for !stop.Load() {
					inflight := 0
					for tag := range uint32(4) {
						if err := q.Submit(hostfile.OpRead, tag, int64(tag)*512, 512, [][]byte{bufs[tag*512:][:512]}); err != nil {
							t.Error(err)
							return
						}
						inflight++
					}
					for inflight > 0 {
						if err := q.Wait(true, func(_ uint32, res int32) {
							inflight--
							done.Add(1)
							if res < 0 || quiet.Load() {
								t.Errorf("completed with %d, quiet %v", res, quiet.Load())
							}
						}); err != nil {
							t.Error(err)
							return
						}
					}
				}
			}()
			for done.Load() == 0 {
				runtime.Gosched()
			}
			for range 50 {
				undrain := n.Drain()
				quiet.Store(true)
				before := done.Load()
				awaitHeld(d)
				if done.Load() != before {
					t.Error("requests complete in a drained graph")
				}
				quiet.Store(false)
				undrain()
				for done.Load() == before {
					runtime.Gosched()
				}
			}
			stop.Store(true)
			<-ended
		})
	}
}

// awaitHeld returns once requests wait in a queue of a drained disk.
func awaitHeld(d *Disk) {
	for {
		d.mu.Lock()
		held := 0
		for _, q := range d.queues {
			q.mu.Lock()
			held += len(q.held)
			q.mu.Unlock()
		}
		d.mu.Unlock()
		if held > 0 {
			return
		}
		runtime.Gosched()
	}
}

// TestNewFile has the file below exchanged, as for writing, while a queue is there.
func TestNewFile(t *testing.T) {
	yes := true
	x, n := nodes(t, qapi.BlockdevOptionsRaw{}, func(_, file *qapi.BlockdevOptions) { file.AutoReadOnly = &yes })
	before, _ := n.Mapping()
	if !before.File.ReadOnly() {
		t.Error("open for writing with nobody to write")
	}
	d := open(t, n)
	q := queue(t, d)
	if do(t, q, hostfile.OpWrite, 0, make([]byte, 512)) < 0 {
		t.Error("no write")
	}
	_, other := nodes(t, qapi.BlockdevOptionsRaw{}, nil)
	old := d.root
	// Another node takes the place of the first one.
	undrain := n.Drain()
	moved, err := Open(other, Config{Name: func() string { return "it" }})
	if err != nil {
		t.Fatal(err)
	}
	d.root = moved.root
	undrain()
	if do(t, q, hostfile.OpWrite, 0, bytes.Repeat([]byte{9}, 512)) < 0 {
		t.Error("no write")
	}
	host, err := os.ReadFile(other.Filename())
	if err != nil || host[0] != 9 {
		t.Errorf("the write went to the old place, %v", err)
	}
	undrain = n.Drain()
	d.root = old
	undrain()
	if err := moved.Close(); err != nil || len(x.Graph.Nodes()) != 2 {
		t.Error(err)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	_, n := nodes(t, qapi.BlockdevOptionsRaw{}, nil)
	q := queue(t, open(t, n))
	bufs := [][]byte{make([]byte, 4096)}
	ended := 0
	done := func(uint32, int32) { ended++ }
	allocs := testing.AllocsPerRun(100, func() {
		if err := q.Submit(hostfile.OpRead, 0, 0, 4096, bufs); err != nil {
			t.Fatal(err)
		}
		for before := ended; ended == before; {
			if err := q.Wait(true, done); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a request", allocs)
	}
}

// BenchmarkRead is one request after the other, beside the host file alone.
func BenchmarkRead(b *testing.B) {
	for _, way := range []string{"disk", "hostfile", "graph"} {
		b.Run(way, func(b *testing.B) {
			_, n := nodes(b, qapi.BlockdevOptionsRaw{}, ways["direct"])
			if way == "graph" {
				_, n = nodes(b, qapi.BlockdevOptionsRaw{}, ways[way])
			}
			q := queue(b, open(b, n))
			if way == "hostfile" {
				q = q.(*Queue).inner
			}
			bufs := [][]byte{make([]byte, 4096)}
			ended := false
			done := func(uint32, int32) { ended = true }
			b.ReportAllocs()
			for b.Loop() {
				if err := q.Submit(hostfile.OpRead, 0, 0, 4096, bufs); err != nil {
					b.Fatal(err)
				}
				for ended = false; !ended; {
					if err := q.Wait(true, done); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
