package blklogwritesdrv

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

	"hv/block/blocktest"
	"hv/block/graph"
)

func wants(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

// bed is a node in memory with a log.
type bed struct {
	g    graph.Graph
	file *blocktest.Memory
	log  *blocktest.Memory
	at   [2]*graph.Node // of these
	n    *graph.Node
	c    *graph.Child
}

func newBed(t testing.TB, cfg Config, size int64) *bed {
	t.Helper()
	b := &bed{}
	b.at[0], b.file = blocktest.Node(t, &b.g, "file", size, false, graph.Options{Discard: true})
	b.at[1], b.log = blocktest.Node(t, &b.g, "log", 0, false, graph.Options{})
	wants(t, b.open(cfg), "")
	return b
}

func (b *bed) open(cfg Config) (err error) {
	b.n, err = b.g.Open(graph.Spec{Driver: "blklogwrites", Options: graph.Options{Discard: true}, Filename: b.at[0].Filename,
		Children: []graph.Edge{{Name: "file", Role: graph.Filtered, Node: b.at[0]}, {Name: "log", Role: graph.Storage, Node: b.at[1]}},
		Open:     func(c []*graph.Child) (graph.Driver, error) { return Open(cfg, c[0], c[1]) }})
	if err != nil {
		return err
	}
	b.c, err = b.n.Use(func() string { return "the test" }, nil, graph.ConsistentRead|graph.Write, graph.AllPerms)
	return err
}

func (b *bed) close(t testing.TB) {
	t.Helper()
	wants(t, errors.Join(b.c.Flush(), b.c.Close(), b.n.Unref()), "")
}

// replay does again what a log says, to an empty disk, and returns that with the flags of the
// entries.
func replay(t testing.TB, log []byte, size int64) (disk []byte, flags []uint64) {
	t.Helper()
	le := binary.LittleEndian
	if le.Uint64(log) != magic || le.Uint64(log[8:]) != 1 {
		t.Fatalf("a log begins with %x", log[:16])
	}
	sector := int64(le.Uint32(log[24:]))
	at := sector
	disk = make([]byte, size+2*sector)
	for i := range le.Uint64(log[16:]) {
		if at+entrySize > int64(len(log)) {
			t.Fatalf("entry %d is past the end", i)
		}
		off, n, f := int64(le.Uint64(log[at:]))*sector, int64(le.Uint64(log[at+8:]))*sector, le.Uint64(log[at+16:])
		flags = append(flags, f)
		if at += sector; f&flagDiscard != 0 {
			clear(disk[off : off+n])
			continue
		}
		copy(disk[off:off+n], log[at:])
		at += n
	}
	return disk[:size], flags
}

func TestConformance(t *testing.T) {
	blocktest.Run(t, blocktest.Subject{Allocates: true, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
		file, _ := blocktest.Node(t, g, "file", 100<<10, false, graph.Options{Discard: true})
		log, _ := blocktest.Node(t, g, "log", 0, false, graph.Options{})
		n, err := g.Open(graph.Spec{Driver: "blklogwrites", Options: graph.Options{Discard: true}, Filename: file.Filename,
			Children: []graph.Edge{{Name: "file", Role: graph.Filtered, Node: file}, {Name: "log", Role: graph.Storage, Node: log}},
			Open:     func(c []*graph.Child) (graph.Driver, error) { return Open(Config{Interval: 100}, c[0], c[1]) }})
		wants(t, errors.Join(err, file.Unref(), log.Unref()), "")
		return n
	}})
}

// TestReplay has a log make the same disk again, whatever was done, its size and that of the
// sectors, and if it is closed and gone on with.
func TestReplay(t *testing.T) {
	for _, sector := range []uint32{32, 512, 4096} {
		for _, size := range []int64{64 << 10, 64<<10 + 512, 64<<10 - 1000} {
			t.Run(fmt.Sprint(sector, " ", size), func(t *testing.T) {
				b := newBed(t, Config{SectorSize: sector, Interval: 7}, size)
				rng := rand.New(rand.NewPCG(uint64(sector), uint64(size)))
				for i := range 200 {
					off := rng.Int64N(size)
					n := 1 + rng.Int64N(min(size-off, 9000))
					var err error
					switch rng.IntN(4) {
					case 0:
						err = b.c.WriteZeroes(off, n, 0)
					case 1:
						err = b.c.Discard(off, n)
					default:
						err = b.c.Writev(off, [][]byte{bytes.Repeat([]byte{byte(i + 1)}, int(n))}, 0)
					}
					if wants(t, err, ""); i%70 == 69 {
						b.close(t)
						wants(t, b.open(Config{Append: true, Interval: 7}), "")
					}
				}
				wants(t, b.c.Writev(size-1, [][]byte{{1}}, 0), "") // whose sector may end past the end
				wants(t, b.c.Writev(0, [][]byte{{2}}, 0), "")
				b.close(t)
				if disk, _ := replay(t, b.log.Data(), size); !bytes.Equal(disk, b.file.Data()) {
					t.Error("the log makes another disk")
				}
			})
		}
	}
}

// TestEntries looks at what is noted of each request.
func TestEntries(t *testing.T) {
	b := newBed(t, Config{Interval: 1000}, 8192)
	wants(t, errors.Join(b.c.Writev(512, [][]byte{bytes.Repeat([]byte{1}, 512)}, 0), b.c.Discard(1024, 512), b.c.WriteZeroes(0, 1024, 0), b.c.Flush()), "")
	_, flags := replay(t, b.log.Data(), 8192)
	if fmt.Sprint(flags) != "[0 4 0 1]" {
		t.Errorf("%d", flags)
	}
	log := b.log.Data()
	if want := int64(512 * (1 + 2 + 1 + 3 + 1)); int64(len(log)) != want {
		t.Errorf("%d bytes, want %d", len(log), want)
	}
	wants(t, b.c.Writev(0, [][]byte{{1}}, graph.FUA), "")
	if _, flags = replay(t, b.log.Data(), 8192); fmt.Sprint(flags) != "[0 4 0 1 0 1]" {
		t.Errorf("a write that is to be durable: %d", flags)
	}
	if r := b.log.Taken(); r[len(r)-1].Op != "flush" {
		t.Errorf("the log is not durable: %v", r[len(r)-1])
	}
}

// TestInterval writes the head every so many entries, and at each flush.
func TestInterval(t *testing.T) {
	b := newBed(t, Config{Interval: 3}, 8192)
	entries := func() uint64 {
		if log := b.log.Data(); len(log) > 0 {
			return binary.LittleEndian.Uint64(log[16:])
		}
		return 0
	}
	for _, want := range []uint64{0, 0, 3, 3, 3, 6} {
		if wants(t, b.c.Writev(0, [][]byte{make([]byte, 512)}, 0), ""); entries() != want {
			t.Errorf("%d entries, want %d", entries(), want)
		}
	}
	if wants(t, b.c.Flush(), ""); entries() != 7 {
		t.Errorf("%d entries", entries())
	}
}

// TestResume goes on with logs that are none.
func TestResume(t *testing.T) {
	le := binary.LittleEndian
	for _, x := range []struct {
		change func(log []byte)
		want   string
	}{
		{func([]byte) {}, ""},
		{func(l []byte) { l[0]++ }, "Invalid log superblock magic"},
		{func(l []byte) { l[8] = 2 }, "Unsupported log version 2"},
		{func(l []byte) { le.PutUint32(l[24:], 0) }, "Invalid log sector size 0"},
		{func(l []byte) { le.PutUint32(l[24:], 513) }, "Invalid log sector size 513"},
		{func(l []byte) { le.PutUint32(l[24:], 1<<24) }, "Invalid log sector size"},
		{func(l []byte) { le.PutUint64(l[16:], 100) }, "Failed to read log entry 2: it is past the end of the log"},
		{func(l []byte) { le.PutUint64(l[16:], 1<<63) }, "it is past the end of the log"},
		{func(l []byte) { le.PutUint64(l[512+16:], 16) }, "Invalid flags 0x10 in log entry 0"},
		{func(l []byte) { le.PutUint64(l[512+8:], 1<<62) }, "Log entry 0 is longer than the log"},
	} {
		b := newBed(t, Config{Interval: 1}, 8192)
		wants(t, b.c.Writev(0, [][]byte{make([]byte, 512)}, 0), "")
		b.close(t)
		log := b.log.Data()
		x.change(log)
		wants(t, b.log.Writev(0, [][]byte{log}, 0), "")
		err := b.open(Config{Append: true, Interval: 1})
		wants(t, err, x.want)
	}
	b := newBed(t, Config{Append: true, Interval: 1}, 8192) // an empty one
	b.close(t)
	wants(t, b.open(Config{Append: true, SectorSize: 512, Interval: 1}), "log-append and log-sector-size are mutually exclusive")
	wants(t, b.open(Config{}), "Invalid log superblock update interval 0")
	for _, size := range []uint32{1, 31, 513, 1 << 24} {
		wants(t, b.open(Config{SectorSize: size, Interval: 1}), fmt.Sprintf("Invalid log sector size %d", size))
	}
	b.log.Hook = func(r blocktest.Request) error {
		if r.Op == "read" {
			return unix.EIO
		}
		return nil
	}
	wants(t, b.open(Config{Append: true, Interval: 1}), "Could not read log superblock: Input/output error")
}

// TestErrors has the node, the log, or both fail.
func TestErrors(t *testing.T) {
	for _, op := range []string{"write", "flush"} {
		b := newBed(t, Config{Interval: 1}, 8192)
		fail := func(r blocktest.Request) error {
			if r.Op == op {
				return unix.ENOSPC
			}
			return nil
		}
		b.file.Hook = fail
		do := func() error { return errors.Join(b.c.Writev(0, [][]byte{make([]byte, 512)}, 0), b.c.Flush()) }
		if err := do(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s of the node fails: %v", op, err)
		}
		if _, flags := replay(t, b.log.Data(), 8192); len(flags) != 2 {
			t.Errorf("what failed is not noted: %d", flags)
		}
		b.file.Hook, b.log.Hook = nil, fail
		if err := do(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s of the log fails: %v", op, err)
		}
	}
}

// TestConcurrent has many write at once: entries do not overlap.
func TestConcurrent(t *testing.T) {
	const workers, own = 8, 1024
	b := newBed(t, Config{Interval: 5}, workers*own)
	var all sync.WaitGroup
	for w := range int64(workers) {
		all.Go(func() {
			for i := range 50 {
				wants(t, b.c.Writev(w*own, [][]byte{bytes.Repeat([]byte{byte(i)}, own)}, 0), "")
			}
			wants(t, b.c.Flush(), "")
		})
	}
	all.Wait()
	disk, flags := replay(t, b.log.Data(), workers*own)
	if !bytes.Equal(disk, b.file.Data()) || len(flags) != workers*51 {
		t.Errorf("%d entries make another disk", len(flags))
	}
}
