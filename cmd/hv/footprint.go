package main

import (
	"bufio"
	"encoding/binary"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// settle gives back what was needed to start and is not needed to run: garbage, and the
// pages of the program itself, which every package's initialisation touched. Those stay in
// the page cache, for all VMs at once, and those that are used come back by themselves.
func settle() {
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	pages, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return
	}
	defer pages.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		if m, ok := programPart(lines.Text()); ok && unchanged(pages, m) {
			// It is no matter if they stay.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(m.from), uintptr(m.to-m.from), unix.MADV_DONTNEED)
		}
	}
}

// part is a range of addresses.
type part struct{ from, to uint64 }

// programPart reads a line of /proc/self/maps (proc_pid_maps(5)), and tells whether it is
// of a file that is mapped for reading alone.
func programPart(line string) (m part, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || f[4] == "0" || f[1] != "r-xp" && f[1] != "r--p" {
		return m, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	var errFrom, errTo error
	m.from, errFrom = strconv.ParseUint(from, 16, 64)
	m.to, errTo = strconv.ParseUint(to, 16, 64)
	return m, errFrom == nil && errTo == nil && m.from < m.to
}

// Bits of /proc/self/pagemap (proc_pid_pagemap(5)).
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61
)

// unchanged tells whether all pages are the file's. What a linker has relocated or a
// debugger has set a breakpoint in is not, and would be lost.
func unchanged(pagemap *os.File, m part) bool {
	page := uint64(os.Getpagesize())
	b := make([]byte, (m.to-m.from)/page*8)
	if _, err := pagemap.ReadAt(b, int64(m.from/page*8)); err != nil {
		return false
	}
	for ; len(b) > 0; b = b[8:] {
		e := binary.NativeEndian.Uint64(b)
		if e&pageSwapped != 0 || e&(pagePresent|pageOfFile) == pagePresent {
			return false
		}
	}
	return true
}
