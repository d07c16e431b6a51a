package mem

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

func allocate(t *testing.T, c BackendConfig) *Backend {
	t.Helper()
	c.ID = "ram0"
	b, err := Allocate(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestBackendsAreZeroedAndWritable(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]BackendConfig{
		"anonymous":     {Size: 4 * mib, Merge: true, Dump: true},
		"shared":        {Size: 4 * mib, Share: true},
		"not reserved":  {Size: 4 * mib, NoReserve: true},
		"preallocated":  {Size: 5*mib + PageSize, Prealloc: true, PreallocThreads: 3},
		"memfd":         {Kind: Memfd, Size: 4 * mib, Share: true, Seal: true, Prealloc: true},
		"private memfd": {Kind: Memfd, Size: 4 * mib},
		"file":          {Kind: File, Size: 4 * mib, Path: filepath.Join(dir, "ram"), Share: true, DiscardData: true},
		"private file":  {Kind: File, Size: 4 * mib, Path: filepath.Join(dir, "private"), DiscardData: true},
		"nameless file": {Kind: File, Size: 4 * mib, Path: dir, Share: true},
		"a single page": {Size: PageSize, Prealloc: true, PreallocThreads: 8},
	} {
		t.Run(name, func(t *testing.T) {
			b := allocate(t, c)
			if fd := b.SharedFD(); (fd >= 0) != (c.Share && c.Kind != Anonymous) || fd >= 0 && fd != b.FD {
				t.Errorf("descriptor for others: %d", fd)
			}
			if uint64(len(b.Data)) != c.Size || (b.FD >= 0) != (c.Kind != Anonymous) || !aligned(b.Data, hugePage) {
				t.Fatalf("%d bytes, descriptor %d", len(b.Data), b.FD)
			}
			for _, off := range []int{0, len(b.Data) - 1} {
				if b.Data[off] != 0 {
					t.Errorf("byte %#x is not zero", off)
				}
				b.Data[off] = 1
			}
			seen := [1]byte{}
			if b.FD >= 0 {
				if _, err := unix.Pread(b.FD, seen[:], 0); err != nil || (seen[0] == 1) != c.Share {
					t.Errorf("the file has %d, %v", seen[0], err)
				}
			}
		})
	}
}

func TestAllocateRefuses(t *testing.T) {
	dir := t.TempDir()
	small := filepath.Join(dir, "small")
	if err := os.WriteFile(small, make([]byte, PageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]BackendConfig{
		"not a multiple of the page size": {Size: PageSize + 1},
		"size 0x0 is not":                 {},
		"fewer than size":                 {Kind: File, Path: small, Size: mib},
		"no such file or directory":       {Kind: File, Path: filepath.Join(dir, "none", "x"), Size: mib},
		"not a power of two":              {Kind: Memfd, HugeTLB: true, HugeTLBSize: 3 * mib, Size: 3 * mib},
		"lower the size":                  {Size: 1 << 60},
	} {
		c.ID = "ram1"
		b, err := Allocate(c)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "memory backend ram1") {
			t.Errorf("%s: %v %v", want, b, err)
		}
	}
}

func TestFailureLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ram")
	if _, err := Allocate(BackendConfig{Kind: File, Path: path, Size: 3}); err == nil {
		t.Fatal("three bytes were allocated")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFileKeepsItsContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ram")
	c := BackendConfig{ID: "x", Kind: File, Path: path, Size: mib, Share: true}
	for want := range byte(3) {
		b, err := Allocate(c)
		if err != nil {
			t.Fatal(err)
		}
		if b.Data[100] != want {
			t.Errorf("%d, want %d", b.Data[100], want)
		}
		b.Data[100]++
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSealedMemfdKeepsItsSize(t *testing.T) {
	b := allocate(t, BackendConfig{Kind: Memfd, Size: mib, Share: true, Seal: true})
	if err := unix.Ftruncate(b.FD, 0); !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}

func TestHugePages(t *testing.T) {
	b, err := Allocate(BackendConfig{ID: "huge", Kind: Memfd, Size: 2 * hugePage, HugeTLB: true, HugeTLBSize: hugePage, Share: true, Seal: true, Prealloc: true})
	if err != nil {
		if !strings.Contains(err.Error(), "huge") {
			t.Error(err)
		}
		t.Skipf("SKIPPED: the host has no huge pages to give: %v", err)
	}
	b.Data[len(b.Data)-1] = 1
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Allocate(BackendConfig{ID: "huge", Kind: Memfd, Size: mib, HugeTLB: true}); err == nil {
		t.Error("a part of a huge page was allocated")
	}
}

func TestCloseTwice(t *testing.T) {
	b := allocate(t, BackendConfig{Kind: Memfd, Size: mib})
	if err := errors.Join(b.Close(), b.Close()); err != nil || b.FD != -1 || b.Data != nil {
		t.Error(err)
	}
}

func TestPreallocationIsComplete(t *testing.T) {
	b := allocate(t, BackendConfig{Size: 9 * mib, Prealloc: true, PreallocThreads: 4})
	if n := resident(b.Data); n != len(b.Data)/PageSize {
		t.Errorf("%d of %d pages", n, len(b.Data)/PageSize)
	}
}

func TestPopulateFailsOnWhatIsNoMemory(t *testing.T) {
	data, err := unix.Mmap(-1, 0, PageSize, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(data)
	if err := populate(data, hugePage, 1); err == nil {
		t.Error("read-only memory was populated")
	}
}
