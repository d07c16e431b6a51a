package mem

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDiscard gives parts of every kind of memory back and takes them again.
func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]BackendConfig{
		"anonymous":     {Size: 4 * mib},
		"shared":        {Size: 4 * mib, Share: true},
		"memfd":         {Kind: Memfd, Size: 4 * mib, Share: true, Seal: true},
		"private memfd": {Kind: Memfd, Size: 4 * mib},
		"file":          {Kind: File, Size: 4 * mib, Path: filepath.Join(dir, "ram"), Share: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := allocate(t, c)
			if b.PageSize() != PageSize || b.ZeroPage() != (name == "anonymous") {
				t.Errorf("pages of %d, zero page %v", b.PageSize(), b.ZeroPage())
			}
			if err := b.Populate(0, c.Size); err != nil {
				t.Fatal(err)
			}
			for i := range b.Data {
				b.Data[i] = 0xee
			}
			if err := b.Discard(mib, 2*mib); err != nil {
				t.Fatal(err)
			}
			for at, want := range map[int]byte{0: 0xee, mib - 1: 0xee, mib: 0, 3*mib - 1: 0, 3 * mib: 0xee} {
				if b.Data[at] != want {
					t.Errorf("byte %#x is %#x, not %#x", at, b.Data[at], want)
				}
			}
			var st unix.Stat_t
			if b.FD >= 0 {
				if err := unix.Fstat(b.FD, &st); err != nil || st.Size != int64(c.Size) || c.Share && st.Blocks*512 > 3*mib {
					t.Errorf("the file has %d bytes in %d blocks, %v", st.Size, st.Blocks, err)
				}
			}
		})
	}
}

func TestPartsOfBackends(t *testing.T) {
	b := allocate(t, BackendConfig{Size: 2 * mib})
	for _, p := range [][2]uint64{{2 * mib, PageSize}, {0, 3 * mib}, {1, PageSize}, {0, 100}, {PageSize, ^uint64(0) - 4095}} {
		if err := b.Discard(p[0], p[1]); !errors.Is(err, ErrNotRAM) {
			t.Errorf("discard %#x: %v", p, err)
		}
		if err := b.Populate(p[0], p[1]); !errors.Is(err, ErrNotRAM) {
			t.Errorf("populate %#x: %v", p, err)
		}
	}
}

func TestInstalled(t *testing.T) {
	m, err := New(Region{Base: 0, Data: make([]byte, PageSize)})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Add(Region{Base: 1 << 32, Data: make([]byte, PageSize), Device: true}); err != nil {
		t.Fatal(err)
	}
	if got := m.Installed(); len(got) != 1 || got[0].Base != 0 || len(m.Regions()) != 2 {
		t.Errorf("installed %v of %d", got, len(m.Regions()))
	}
}
