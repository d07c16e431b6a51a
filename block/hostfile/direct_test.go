package hostfile

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestDirect makes requests at any offsets, from any buffers, around the page cache, beside
// each other, and compares with a copy.
func TestDirect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "direct")
	const size = 100_000
	want := make([]byte, size)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(Config{Path: path, Direct: true, Discard: true})
	if err != nil {
		t.Fatal("direct I/O, which the folder for temporary files must have: ", err)
	}
	defer f.Close()
	var all sync.WaitGroup
	for w := range int64(4) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range 150 {
				off := w*size/4 + rng.Int64N(size/4)
				n := 1 + rng.Int64N(size/4-off+w*size/4)
				b := alignedBuffer(int(n) + 8)[rng.IntN(8):][:n]
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
				op, v := OpWrite, [][]byte{b[:n/2], b[n/2:]}
				if rng.IntN(4) == 0 {
					clear(b)
					op, v = OpWriteZeroesUnmap, nil
				}
				if err := f.Do(op, off, n, v); err != nil {
					t.Errorf("%d at %d: %v", n, off, err)
				}
				copy(want[off:], b)
			}
		})
	}
	all.Wait()
	got := make([]byte, size)
	if err := f.Do(OpRead, 0, size, [][]byte{got[:777], got[777:]}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("another thing is read (%v)", err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != size {
		t.Errorf("the file has %d bytes, %v", st.Size(), err)
	}
	// Writes past the end have it grow to where they end.
	tail := bytes.Repeat([]byte{7}, 777)
	if err := f.Do(OpWrite, size+100, 777, [][]byte{tail}); err != nil || f.Size() != size+877 {
		t.Errorf("%d bytes, %v", f.Size(), err)
	}
	if err := f.Do(OpWriteZeroes, size+800, 5000, nil); err != nil || f.Size() != size+5800 {
		t.Errorf("%d bytes, %v", f.Size(), err)
	}
	host, err := os.ReadFile(path)
	if err != nil || len(host) != size+5800 || !bytes.Equal(host[size+100:size+800], tail[:700]) || host[size+99]|host[size+800] != 0 {
		t.Errorf("%d bytes, %v", len(host), err)
	}
}
