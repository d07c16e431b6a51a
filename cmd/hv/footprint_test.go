package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestProgramPart(t *testing.T) {
	for line, want := range map[string]part{
		"00400000-00af6000 r-xp 00000000 fe:00 10102449                           /usr/bin/hv":     {0x400000, 0xaf6000},
		"7f08789b8000-7f08789ba000 r--p 00031000 fe:00 325835 /usr/lib/a name with spaces":         {0x7f08789b8000, 0x7f08789ba000},
		"01214000-012a5000 rw-p 00e14000 fe:00 10102449                           /usr/bin/hv":     {},
		"7ffd36790000-7ffd36792000 r-xp 00000000 00:00 0                          [vdso]":          {},
		"7f01d2ca0000-7f01d2f00000 r--s 00000000 00:05 17                         /dev/shm/shared": {},
		"00af6000-00400000 r-xp 00000000 fe:00 10102449 /usr/bin/hv":                               {},
		"r-xp": {},
		"":     {},
	} {
		if got, ok := programPart(line); ok != (want != part{}) || ok && got != want {
			t.Errorf("%q: %x, %v", line, got, ok)
		}
	}
}

// TestUnchanged tells a file's pages from those that were written to.
func TestUnchanged(t *testing.T) {
	name := t.TempDir() + "/file"
	size := 4 * os.Getpagesize()
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer pagemap.Close()
	at, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE, f.Fd(), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer unix.Syscall(unix.SYS_MUNMAP, at, uintptr(size), 0)
	m := part{uint64(at), uint64(at) + uint64(size)}
	if !unchanged(pagemap, m) {
		t.Error("pages that nobody has touched are changed")
	}
	touch := func(advice uintptr) {
		t.Helper()
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, at+uintptr(size)/2, uintptr(os.Getpagesize()), advice); errno != 0 {
			t.Fatal("MADV_POPULATE needs Linux 5.14: ", errno)
		}
	}
	if touch(unix.MADV_POPULATE_READ); !unchanged(pagemap, m) {
		t.Error("pages that were read are changed")
	}
	if touch(unix.MADV_POPULATE_WRITE); unchanged(pagemap, m) {
		t.Error("pages that were written to are not changed")
	}
	if unchanged(pagemap, part{1 << 60, 1<<60 + 4096}) {
		t.Error("there is something where nothing is")
	}
}

// TestSettle goes on running afterwards.
func TestSettle(t *testing.T) {
	settle()
	settle()
}
