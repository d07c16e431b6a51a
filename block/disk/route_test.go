package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/bitmap"
	"hv/block/blockopts"
	"hv/block/formats"
	"hv/block/graph"
	"hv/block/hostfile"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

func tool(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(hvrun.Tool(t, args[0]), args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// image makes a qcow2 image of 1 MiB whose first half has clusters, over n overlays: those are
// empty but for one cluster each in the second half.
func image(t testing.TB, n int) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "0")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", path, strconv.Itoa(size))
	tool(t, "qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 512k", path)
	for i := range n {
		next := filepath.Join(dir, strconv.Itoa(i+1))
		tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", next)
		tool(t, "qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -q -P %d %dk 64k", i+10, 512+64*(i%8)), next)
		path = next
	}
	return path
}

// qcow2 opens an image as a node.
func qcow2(t testing.TB, path, more string) *graph.Node {
	t.Helper()
	tree, err := blockopts.ParseJSON(fmt.Sprintf(`{"driver":"qcow2","file":{"driver":"file","filename":%q}%s}`, path, more))
	if err != nil {
		t.Fatal(err)
	}
	var o qapi.BlockdevOptions
	if err := tree.Decode(&o); err != nil {
		t.Fatal(err)
	}
	x := &formats.Opener{Graph: &graph.Graph{}, OpenFile: os.OpenFile, Drive: func(string) *graph.Node { return nil }}
	n, err := x.Open(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Unref(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// TestRoute has requests go past the graph where that can be: what they do is noted, and those
// that cannot go through it.
func TestRoute(t *testing.T) {
	path := image(t, 0)
	t.Run("image", func(t *testing.T) {
		n := qcow2(t, path, "")
		d := open(t, n)
		q := queue(t, d).(*Queue)
		for _, c := range []struct {
			write  bool
			off, n int64
			want   bool
		}{
			{false, 0, 4096, false}, // no table is in memory yet
			{false, 0, 4096, true},
			{false, 4096, 256 << 10, true},
			{true, 65536, 4096, true},
			{false, 512 << 10, 4096, true}, // zeroes
			{true, 512 << 10, 4096, false}, // needs a refcount block
			{true, 577 << 10, 4096, true},  // is allocated
			{true, 512 << 10, 4096, true},
			{false, 448 << 10, 128 << 10, true},
			{false, 448 << 10, 256 << 10, false}, // data and zeroes
		} {
			h, ok := q.route.Find(c.write, c.off, c.n)
			if h.Cancel(); ok != c.want {
				t.Errorf("%+v: found %v", c, ok)
			}
			op, data := hostfile.OpRead, make([]byte, c.n)
			if c.write {
				op, data = hostfile.OpWrite, bytes.Repeat([]byte{9}, int(c.n))
			}
			if res := do(t, q, op, c.off, data); res < 0 {
				t.Errorf("%+v: %d", c, res)
			}
			want := byte(7)
			switch {
			case c.write:
				want = 9
			case c.off == 512<<10:
				want = 0
			}
			if data[0] != want {
				t.Errorf("%+v: %d", c, data[0])
			}
		}
		if n.Highest() != 581<<10 {
			t.Errorf("highest %d", n.Highest())
		}
	})
	tool(t, "qemu-img", "check", "-q", path)
	tool(t, "qemu-io", "-f", "qcow2", "-c", "read -q -P 9 64k 4k", "-c", "read -q -P 7 68k 444k", "-c", "read -q -P 9 512k 4k", "-c", "read -q -P 0 516k 61k", "-c", "read -q -P 9 577k 4k", "-c", "read -q -P 0 581k 443k", path)
}

// TestRouteNoted has writes past the graph be seen by bitmaps and thresholds.
func TestRouteNoted(t *testing.T) {
	n := qcow2(t, image(t, 0), "")
	q := queue(t, open(t, n))
	do(t, q, hostfile.OpRead, 0, make([]byte, 512))
	file := n.Children()[0].Node()
	marks := map[*graph.Node]*bitmap.Bitmap{}
	for _, x := range []*graph.Node{n, file} {
		b, err := x.AddBitmap(bitmap.Config{Name: "b", Granularity: 4096, Enabled: true})
		if err != nil {
			t.Fatal(err)
		}
		marks[x] = b
		x.SetThreshold(1)
	}
	do(t, q, hostfile.OpWrite, 8192, bytes.Repeat([]byte{1}, 4096))
	for x, b := range marks {
		if b.Count() != 4096 || x.Threshold() != 0 {
			t.Errorf("%s: %d dirty, threshold %d", x.Name(), b.Count(), x.Threshold())
		}
	}
	if at, _, _ := marks[n].Next(0, size); at != 8192 {
		t.Errorf("dirty at %d", at)
	}
}

// TestRouteChain reads through overlays, and goes on when one comes between.
func TestRouteChain(t *testing.T) {
	n := qcow2(t, image(t, 5), "")
	q := queue(t, open(t, n)).(*Queue)
	b := make([]byte, 4096)
	for range 3 {
		for i := range int64(size / 65536) {
			want := byte(7)
			if i >= 8 {
				want = 0
			}
			if i >= 8 && i < 13 {
				want = byte(i + 2)
			}
			if do(t, q, hostfile.OpRead, i*65536+4096, b); b[0] != want || b[4095] != want {
				t.Errorf("cluster %d: %d, not %d", i, b[0], want)
			}
		}
	}
	if h, ok := q.route.Find(false, 0, 4096); !ok || h.File == q.route.First() {
		t.Error("the lowest image is not read directly")
	} else {
		h.Cancel()
	}
}

// TestNoRoute has nodes that must see their requests get them.
func TestNoRoute(t *testing.T) {
	path := image(t, 0)
	for name, more := range map[string]string{
		"detect": `,"detect-zeroes":"on"`, "below": `,"file":{"driver":"blkdebug","image":{"driver":"file","filename":` + strconv.Quote(path) + `}}`,
		"zeroes below": `,"file":{"driver":"file","filename":` + strconv.Quote(path) + `,"detect-zeroes":"on"}`,
	} {
		t.Run(name, func(t *testing.T) {
			q := queue(t, open(t, qcow2(t, path, more))).(*Queue)
			if q.route != nil {
				t.Error("there is a route")
			}
			b := make([]byte, 4096)
			if do(t, q, hostfile.OpRead, 0, b); b[0] != 7 {
				t.Error("other data is read")
			}
		})
	}
}

// TestRouteRaces has a queue write and read while the image is snapshotted, which takes clusters
// away from it, and drained.
func TestRouteRaces(t *testing.T) {
	path := image(t, 1)
	t.Run("image", func(t *testing.T) {
		n := qcow2(t, path, `,"l2-cache-size":4096,"cache-clean-interval":1`)
		d := open(t, n)
		var stop atomic.Bool
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := pattern(d, &stop); err != nil {
				t.Error(err)
			}
		}()
		for i := range 40 {
			undrain := n.Drain()
			if i%2 == 0 {
				undrain()
			}
			id, err := n.Snapshotter().CreateSnapshot(graph.Snapshot{Name: "s"})
			if err == nil && i%3 > 0 {
				err = n.Snapshotter().DeleteSnapshot(id)
			}
			if err != nil {
				t.Error(err)
			}
			if i%2 != 0 {
				undrain()
			}
		}
		stop.Store(true)
		<-ended
	})
	tool(t, "qemu-img", "check", "-q", path)
}

// pattern writes random sectors of a disk, several at once, and compares what is read.
func pattern(d *Disk, stop *atomic.Bool) error {
	const most = 8
	kick, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(kick)
	q, err := d.NewIO(kick, most)
	if err != nil {
		return err
	}
	defer q.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	want := map[int64]byte{}
	for round := 0; !stop.Load() || round < 200; round++ {
		if err := turn(q, rng, want, most); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

// turn makes some requests to different sectors at once.
func turn(q *Queue, rng *rand.Rand, want map[int64]byte, most uint32) error {
	type request struct {
		write bool
		at    int64
		b     []byte
	}
	all := make([]request, most)
	for tag := range all {
		r := request{rng.IntN(2) == 0, rng.Int64N(size/512/int64(most))*int64(most) + int64(tag), make([]byte, 512)}
		op := hostfile.OpRead
		if r.write {
			op = hostfile.OpWrite
			r.b = bytes.Repeat([]byte{byte(rng.Int())}, 512)
		}
		all[tag] = r
		if err := q.Submit(op, uint32(tag), r.at*512, 512, [][]byte{r.b}); err != nil {
			return err
		}
	}
	var bad error
	for left := len(all); left > 0; {
		if err := q.Wait(true, func(tag uint32, res int32) {
			left--
			r := all[tag]
			was, known := want[r.at]
			switch {
			case res < 0:
				bad = fmt.Errorf("request for %d ended with %d", r.at, res)
			case r.write:
				want[r.at] = r.b[0]
			case known && (r.b[0] != was || r.b[511] != was):
				bad = fmt.Errorf("sector %d: %d, not %d", r.at, r.b[0], was)
			}
		}); err != nil {
			return err
		}
	}
	return bad
}
