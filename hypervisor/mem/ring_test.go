package mem

import (
	"encoding/binary"
	"sync"
	"testing"
)

func TestRingIsLittleEndianAtEveryAlignment(t *testing.T) {
	b := make([]byte, 64)
	r := NewRing(b)
	for off := 0; off < 56; off += 2 {
		clear(b)
		r.Store16(off, 0x1234)
		if binary.LittleEndian.Uint16(b[off:]) != 0x1234 || r.Load16(off) != 0x1234 {
			t.Errorf("16 bits at %d: %x", off, b)
		}
		b[off+2], b[off+3] = 0xff, 0xff
		if off >= 2 {
			b[off-1], b[off-2] = 0xff, 0xff
		}
		if r.Load16(off) != 0x1234 {
			t.Errorf("16 bits at %d take their neighbours'", off)
		}
		if off%4 == 0 {
			r.Store32(off, 0x12345678)
			if binary.LittleEndian.Uint32(b[off:]) != 0x12345678 || r.Load32(off) != 0x12345678 {
				t.Errorf("32 bits at %d: %x", off, b)
			}
		}
		if off%8 == 0 {
			r.Store64(off, 0x1122334455667788)
			if binary.LittleEndian.Uint64(b[off:]) != 0x1122334455667788 || r.Load64(off) != 0x1122334455667788 {
				t.Errorf("64 bits at %d: %x", off, b)
			}
		}
	}
	if r.Len() != 64 || len(r.Bytes()) != 64 {
		t.Error(r.Len())
	}
}

func TestStore16LeavesItsNeighboursAlone(t *testing.T) {
	b := make([]byte, 8)
	r := NewRing(b)
	r.Store64(0, 1<<64-1)
	r.Store16(2, 0)
	if r.Load64(0) != 0xffff_ffff_0000_ffff {
		t.Errorf("%x", b)
	}
}

func TestRingPanicsOutside(t *testing.T) {
	r := NewRing(make([]byte, 8))
	for name, f := range map[string]func(){
		"Load16":  func() { r.Load16(7) },
		"Store16": func() { r.Store16(8, 0) },
		"Load32":  func() { r.Load32(5) },
		"Store32": func() { r.Store32(8, 0) },
		"Load64":  func() { r.Load64(1) },
		"Store64": func() { r.Store64(8, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// TestPublication passes values through memory behind an index, as a ring does:
// whoever sees the index sees the values.
func TestPublication(t *testing.T) {
	const slots, rounds = 8, 20000
	r := NewRing(make([]byte, 8+8*slots))
	var reader sync.WaitGroup
	reader.Go(func() {
		for seen := uint32(0); seen < rounds; {
			for end := r.Load32(0); seen < end; seen++ {
				if v := r.Load64(8 + 8*int(seen%slots)); uint32(v) != seen {
					t.Errorf("slot of %d has %d", seen, v)
					return
				}
			}
			r.Store32(4, seen)
		}
	})
	for i := range uint32(rounds) {
		for i-r.Load32(4) >= slots && !t.Failed() {
			Fence()
		}
		r.Store64(8+8*int(i%slots), uint64(i))
		r.Store32(0, i+1)
	}
	reader.Wait()
}

// TestFence is the store-buffer test: with the fences, at least one side of each
// round sees the other's store (virtio 1.2 §2.7.10's race).
func TestFence(t *testing.T) {
	r := NewRing(make([]byte, 16))
	for range 2000 {
		r.Store32(0, 0)
		r.Store32(8, 0)
		var a, b uint32
		var group sync.WaitGroup
		group.Go(func() { r.Store32(0, 1); Fence(); a = r.Load32(8) })
		group.Go(func() { r.Store32(8, 1); Fence(); b = r.Load32(0) })
		group.Wait()
		if a == 0 && b == 0 {
			t.Fatal("both sides missed the other's store")
		}
	}
}

func TestRingAllocatesNothing(t *testing.T) {
	r := NewRing(make([]byte, 16))
	if n := testing.AllocsPerRun(100, func() {
		r.Store16(2, r.Load16(0)+1)
		r.Store32(4, r.Load32(0)+1)
		r.Store64(8, r.Load64(0)+1)
		Fence()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFence(b *testing.B) {
	for b.Loop() {
		Fence()
	}
}
