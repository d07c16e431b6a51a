package disk

import (
	"testing"

	"hv/block/bitmap"
	"hv/block/hostfile"
	"hv/qmp/qapi"
)

// TestBitmapsSeeAllWrites writes by the file itself, and through the graph: each write is
// marked in the bitmaps of the nodes before it is done.
func TestBitmapsSeeAllWrites(t *testing.T) {
	zeroes := qapi.BlockdevDetectZeroesOptionsOn
	for name, edit := range map[string]func(top, file *qapi.BlockdevOptions){
		"direct": func(top, file *qapi.BlockdevOptions) { unmap(top); unmap(file) },
		"graph":  func(top, file *qapi.BlockdevOptions) { unmap(top); unmap(file); top.DetectZeroes = &zeroes },
	} {
		t.Run(name, func(t *testing.T) {
			offset := int64(65536)
			_, n := nodes(t, qapi.BlockdevOptionsRaw{Offset: &offset}, edit)
			q := queue(t, open(t, n))
			add := func(name string, granularity int64) *bitmap.Bitmap {
				b, err := n.AddBitmap(bitmap.Config{Name: name, Granularity: granularity, Enabled: true})
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			b := add("b", 4096)
			file := n.Children()[0].Node()
			low, err := file.AddBitmap(bitmap.Config{Name: "low", Granularity: 4096, Enabled: true})
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, 4096)
			data[0] = 1
			for i, step := range []struct {
				op   uint8
				off  int64
				want int64
			}{
				{hostfile.OpRead, 0, 0}, {hostfile.OpWrite, 0, 4096}, {hostfile.OpWrite, 6144, 12288}, {hostfile.OpFlush, 0, 12288},
				{hostfile.OpDiscard, 32768, 16384}, {hostfile.OpWriteZeroes, 40960, 20480}, {hostfile.OpWriteZeroesUnmap, 49152, 24576},
			} {
				if step.op == hostfile.OpFlush || step.op > hostfile.OpFlush {
					finish(t, q, step.op, step.off, 4096)
				} else if res := do(t, q, step.op, step.off, data); res < 0 {
					t.Fatalf("step %d: %d", i, res)
				}
				if b.Count() != step.want || low.Count() != step.want {
					t.Errorf("after step %d %d and %d bytes are dirty, not %d", i, b.Count(), low.Count(), step.want)
				}
			}
			if start, _, _ := low.Next(0, 1<<20); start != offset {
				t.Errorf("the file is dirty from %#x on", start)
			}
			n.DropBitmap(b)
			do(t, q, hostfile.OpWrite, 131072, data)
			if b.Count() != 24576 {
				t.Error("a bitmap that was taken away follows writes")
			}
		})
	}
}

// finish does a request without data.
func finish(t *testing.T, q hostfile.IO, op uint8, off, n int64) {
	t.Helper()
	if op == hostfile.OpFlush {
		off, n = 0, 0
	}
	if err := q.Submit(op, 0, off, n, nil); err != nil {
		t.Fatal(err)
	}
	for over := false; !over; {
		err := q.Wait(true, func(_ uint32, res int32) {
			if over = true; res < 0 {
				t.Errorf("operation %d: %d", op, res)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkWriteMarked writes to a node that has a bitmap.
func BenchmarkWriteMarked(b *testing.B) {
	_, n := nodes(b, qapi.BlockdevOptionsRaw{}, nil)
	if _, err := n.AddBitmap(bitmap.Config{Name: "b", Granularity: 65536, Enabled: true}); err != nil {
		b.Fatal(err)
	}
	q := queue(b, open(b, n))
	buf := [][]byte{make([]byte, 4096)}
	over := func(uint32, int32) {}
	b.ReportAllocs()
	for i := range b.N {
		if err := q.Submit(hostfile.OpWrite, 0, int64(i)*4096%size, 4096, buf); err != nil {
			b.Fatal(err)
		}
		if err := q.Wait(true, over); err != nil {
			b.Fatal(err)
		}
	}
}
