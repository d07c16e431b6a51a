package export

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"hv/block/graph"
	"hv/block/nbddrv"
)

// BenchmarkServer moves data between hv's client and its server, over a UNIX socket.
func BenchmarkServer(b *testing.B) {
	const size = 64 << 20
	for _, c := range []struct {
		op          string
		block, deep int
	}{{"read", 4096, 1}, {"read", 4096, 32}, {"write", 4096, 1}, {"write", 4096, 32}, {"read", 1 << 20, 4}, {"write", 1 << 20, 4}} {
		b.Run(fmt.Sprintf("%s-%dk-depth-%d", c.op, c.block>>10, c.deep), func(b *testing.B) {
			r := newRig(b)
			path := r.file("f", size, graph.Options{})
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i>>12) | 1
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				b.Fatal(err)
			}
			r.start(ServerConfig{})
			r.export("e", "f")
			d := r.client("f")
			defer d.Close()
			b.SetBytes(int64(c.block))
			b.ReportAllocs()
			work(b, d, c.op == "write", c.block, c.deep, size)
		})
	}
}

// work makes b.N requests, so many at once.
func work(b *testing.B, d *nbddrv.Driver, writes bool, block, deep int, size int64) {
	var tasks sync.WaitGroup
	var left atomic.Int64
	round := func(n int64) {
		left.Store(n)
		for i := range deep {
			tasks.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				v := [][]byte{make([]byte, block)}
				for left.Add(-1) >= 0 {
					off := rng.Int64N(size/int64(block)) * int64(block)
					var err error
					if writes {
						err = d.Writev(off, v, 0)
					} else {
						err = d.Readv(off, v)
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		tasks.Wait()
	}
	round(int64(20 * deep)) // connections and buffers are made
	b.ResetTimer()
	round(int64(b.N))
}
