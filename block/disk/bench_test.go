package disk

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"hv/block/graph"
	"hv/block/hostfile"
	"hv/qmp/qapi"
)

// BenchmarkQueue is requests of 4 KiB at random places, some at once, to nodes that are reached
// in every way.
func BenchmarkQueue(b *testing.B) {
	for _, way := range []struct {
		name string
		node func(b *testing.B) *graph.Node
	}{
		{"raw", func(b *testing.B) *graph.Node { _, n := nodes(b, qapi.BlockdevOptionsRaw{}, nil); return n }},
		{"qcow2", func(b *testing.B) *graph.Node { return qcow2(b, image(b, 0), "") }},
		{"chain", func(b *testing.B) *graph.Node { return qcow2(b, image(b, 10), "") }},
		{"graph", func(b *testing.B) *graph.Node {
			_, n := nodes(b, qapi.BlockdevOptionsRaw{}, ways["graph"])
			return n
		}},
	} {
		for _, op := range []uint8{hostfile.OpRead, hostfile.OpWrite} {
			if way.name == "chain" && op == hostfile.OpWrite {
				continue // would no longer be one
			}
			for _, depth := range []uint32{1, 32} {
				b.Run(fmt.Sprintf("%s/%s/depth=%d", way.name, map[uint8]string{hostfile.OpRead: "read", hostfile.OpWrite: "write"}[op], depth), func(b *testing.B) {
					random(b, queue(b, open(b, way.node(b))), op, depth)
				})
			}
		}
	}
}

// BenchmarkAllocating writes 4 KiB to each cluster of a large image.
func BenchmarkAllocating(b *testing.B) {
	for _, depth := range []uint32{1, 32} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "image")
			tool(b, "qemu-img", "create", "-q", "-f", "qcow2", path, "1T")
			next := int64(0)
			keep(b, queue(b, open(b, qcow2(b, path, ""))), hostfile.OpWrite, depth, func() int64 { next++; return next << 16 })
		})
	}
}

// random keeps depth requests for random places under way.
func random(b *testing.B, q hostfile.IO, op uint8, depth uint32) {
	rng := rand.New(rand.NewPCG(1, 1))
	keep(b, q, op, depth, func() int64 { return rng.Int64N(size/2/4096) * 4096 })
}

// keep keeps depth requests under way.
func keep(b *testing.B, q hostfile.IO, op uint8, depth uint32, place func() int64) {
	bufs := make([][][]byte, depth)
	for i := range bufs {
		bufs[i] = [][]byte{make([]byte, 4096)}
		bufs[i][0][0] = 1
	}
	left, pending := 0, 0
	submit := func(tag uint32) {
		left, pending = left-1, pending+1
		if err := q.Submit(op, tag, place(), 4096, bufs[tag]); err != nil {
			b.Fatal(err)
		}
	}
	done := func(tag uint32, res int32) {
		if res < 0 {
			b.Fatal(res)
		}
		if pending--; left > 0 {
			submit(tag)
		}
	}
	run := func(n int) {
		left = n
		for tag := uint32(0); tag < depth && left > 0; tag++ {
			submit(tag)
		}
		for pending > 0 {
			if err := q.Wait(true, done); err != nil {
				b.Fatal(err)
			}
		}
	}
	run(1000)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
}
