package filedrv

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/hostfile"
	"hv/qmp/strerror"
)

// Preallocation is how much of a new file takes space at once.
type Preallocation int

// What there is.
const (
	Sparse  Preallocation = iota // nothing
	Reserve                      // all, unwritten
	Fill                         // all, written with zeroes
)

// Creation says what file to make.
type Creation struct {
	Path          string
	Size          uint64
	Preallocation Preallocation
	NoCOW         bool // written in place, on btrfs
	OpenFile      func(path string, flags int, perm os.FileMode) (*os.File, error)
}

// Create makes a file, or empties the one that is there, unless somebody has it open who
// would not have that. It calls point often, and ends with its error.
func Create(c Creation, point func() error) error {
	f, err := c.OpenFile(c.Path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("Could not create '%s': %s", c.Path, strerror.Text(err))
	}
	h, err := hostfile.Open(hostfile.Config{Path: c.Path, Opened: f, Threads: true})
	if err != nil {
		return err
	}
	return errors.Join(c.fill(h, f, point), h.Close())
}

// fill gives a file that is opened its size.
func (c *Creation) fill(h *hostfile.File, f *os.File, point func() error) error {
	if err := h.SetLocks(uint8(graph.Write|graph.Resize), uint8(graph.Resize)); err != nil {
		return err
	}
	if c.Size > math.MaxInt64 {
		return errors.New("Failed to resize file: File too large")
	}
	for _, size := range []int64{0, int64(c.Size)} {
		if err := h.Truncate(size); err != nil {
			return fmt.Errorf("Failed to resize file: %s", strerror.Text(err))
		}
		if c.NoCOW {
			noCOW(f)
			c.NoCOW = false
		}
	}
	switch {
	case c.Size == 0:
		return nil
	case c.Preallocation == Sparse:
		// As in QEMU's images, so that what alignment the file system wants can be found out.
		first := min(c.Size, 4096)
		if first < 4096 {
			first = min(c.Size, 512)
		}
		_, err := f.WriteAt(make([]byte, first), 0)
		return err
	case c.Preallocation == Reserve:
		if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(c.Size)); err != nil {
			return fmt.Errorf("Could not preallocate data for the new file: %s", strerror.Text(err))
		}
		return nil
	}
	zeroes := make([]byte, 1<<20)
	for at := int64(0); at < int64(c.Size); at += int64(len(zeroes)) {
		if err := point(); err != nil {
			return err
		}
		n := min(int64(c.Size)-at, int64(len(zeroes)))
		if _, err := f.WriteAt(zeroes[:n], at); err != nil {
			return fmt.Errorf("Could not write zeros for preallocation: %s", strerror.Text(err))
		}
	}
	return h.Flush()
}

// noCOW has an empty file be written in place. Most file systems do that anyway, and refuse.
func noCOW(f *os.File) {
	const flag = 0x00800000 // FS_NOCOW_FL
	if old, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, old|flag)
	}
}
