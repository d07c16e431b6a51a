package qcow2

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// level is a backing image that lets go past it what it is known not to have, as a graph does.
type level struct{ im *Image }

func (l level) Size() int64 { return l.im.Size() }

func (l level) Readv(off int64, v [][]byte) error {
	if b := l.im.Beneath(off, length(v)); b != nil {
		return b.Readv(off, v)
	}
	return l.im.Readv(off, v)
}

// TestBeneath writes to all levels of a chain at random, and compares what is read past those
// that are known to have nothing there.
func TestBeneath(t *testing.T) {
	const size, levels = 2 << 20, 4
	for _, cluster := range []int{9, 12, 16} {
		rng := rand.New(rand.NewPCG(uint64(cluster), 1))
		var chain []*Image
		want := make([][]int, levels) // what each level has in its sectors
		var below Backing
		for i := range levels {
			m, o := newMem(nil), CreateOptions{Size: size, ClusterSize: 1 << cluster}
			if i > 0 {
				o.BackingFile = "b"
			}
			if err := Create(m, nil, o); err != nil {
				t.Fatal(err)
			}
			im := mustOpen(t, m, Options{Backing: below})
			chain, below, want[i] = append(chain, im), level{im}, slices.Repeat([]int{nothing}, size/512)
		}
		top, known := level{chain[levels-1]}, 0
		for range 3000 {
			off := rng.Int64N(size / 512)
			if i := rng.IntN(levels * 40); i < levels {
				pattern := byte(1 + rng.IntN(255))
				if err := chain[i].Writev(off*512, [][]byte{bytes.Repeat([]byte{pattern}, 512)}, 0); err != nil {
					t.Fatal(err)
				}
				for at, end := off&^(1<<(cluster-9)-1), (off|(1<<(cluster-9)-1))+1; at < end; at++ {
					want[i][at] = read(want[:i+1], at) // copied with the cluster
				}
				want[i][off] = int(pattern)
			}
			b := make([]byte, 512)
			if top.im.Beneath(off*512, 512) != nil {
				known++
			}
			if err := top.Readv(off*512, [][]byte{b}); err != nil {
				t.Fatal(err)
			}
			if x := byte(read(want, off)); b[0] != x || b[511] != x {
				t.Fatalf("cluster bits %d: %d is read at %d, not %d", cluster, b[0], off*512, x)
			}
		}
		if known == 0 && cluster < 16 {
			t.Errorf("cluster bits %d: nothing is ever known", cluster)
		}
	}
}

const nothing = -1

// read returns what a chain has in a sector.
func read(chain [][]int, sector int64) int {
	for i := len(chain) - 1; i >= 0; i-- {
		if x := chain[i][sector]; x != nothing {
			return x
		}
	}
	return 0
}
