package hostfile

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Do carries out a request of IO.Submit at once.
func (f *File) Do(op uint8, off, n int64, bufs [][]byte) error {
	if res := f.do(request{op, off, n}, bufs); res < 0 {
		return unix.Errno(-res)
	}
	return nil
}

// Extent returns how many bytes from off on are data, or a hole, n at most.
func (f *File) Extent(off, n int64) (length int64, data bool) {
	start, err := unix.Seek(f.fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return n, false // nothing but a hole follows
	case err != nil:
		return n, true // the file system does not tell
	case start > off:
		return min(n, start-off), false
	}
	end, err := unix.Seek(f.fd, off, unix.SEEK_HOLE)
	if err != nil || end <= off {
		return n, true
	}
	return min(n, end-off), true
}

// Allocated returns how many bytes the file takes.
func (f *File) Allocated() int64 {
	var st unix.Stat_t
	if unix.Fstat(f.fd, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// Truncate changes the size of a file; a device can only be found to have another one.
func (f *File) Truncate(size int64) error {
	if f.block {
		if err := f.inspect(); err != nil {
			return err
		}
		if size > int64(f.Size()) {
			return errors.New("Cannot grow device files")
		}
		return nil
	}
	if err := unix.Ftruncate(f.fd, size); err != nil {
		return err
	}
	f.size.Store(uint64(size))
	return nil
}
