package mem

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// populate takes all pages of data from the host, with threads goroutines that
// each fill a share of it made of whole chunks.
func populate(data []byte, chunk uint64, threads int) error {
	size := uint64(len(data))
	chunks := (size + chunk - 1) / chunk
	n := min(uint64(max(threads, 1)), chunks)
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		from, to := chunks*i/n*chunk, min(chunks*(i+1)/n*chunk, size)
		group.Go(func() { errs[i] = fill(data[from:to]) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// fill takes the pages of data from the host. Unlike writing to them it fails,
// and does not kill the process, when there are none.
func fill(data []byte) error {
	for {
		err := unix.Madvise(data, unix.MADV_POPULATE_WRITE)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.EINVAL):
			return fmt.Errorf("preallocate memory: %w: it needs Linux 5.14 or later", err)
		default:
			return fmt.Errorf("preallocate %d MiB: %w: free memory, or huge pages, on the host", len(data)>>20, err)
		}
	}
}

// PageSize returns the size of the pages that the RAM is made of.
func (b *Backend) PageSize() uint64 { return b.pageSize }

// ZeroPage reports whether reading RAM that was never written takes no memory
// from the host.
func (b *Backend) ZeroPage() bool { return b.FD < 0 && !b.share && b.pageSize == PageSize }

// Populate takes the n bytes at off, whole pages, from the host.
func (b *Backend) Populate(off, n uint64) error {
	part, err := b.part(off, n)
	if err != nil {
		return err
	}
	return fill(part)
}

// Discard gives the n bytes at off, whole pages, back to the host. They read as
// zeroes afterwards.
func (b *Backend) Discard(off, n uint64) error {
	part, err := b.part(off, n)
	if err != nil {
		return err
	}
	if b.FD >= 0 {
		if err := unix.Fallocate(b.FD, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n)); err != nil {
			return b.partError("discard", off, n, err)
		}
	}
	advice := unix.MADV_DONTNEED
	switch {
	case b.FD >= 0 && (b.share || b.pageSize != PageSize):
		return nil
	case b.share:
		advice = unix.MADV_REMOVE
	}
	if err := unix.Madvise(part, advice); err != nil {
		return b.partError("discard", off, n, err)
	}
	return nil
}

// part returns the n bytes at off.
func (b *Backend) part(off, n uint64) ([]byte, error) {
	if size := uint64(len(b.Data)); off > size || n > size-off || (off|n)%b.pageSize != 0 {
		return nil, b.partError("find", off, n, ErrNotRAM)
	}
	return b.Data[off : off+n : off+n], nil
}

func (b *Backend) partError(what string, off, n uint64, err error) error {
	return fmt.Errorf("memory backend %s: %s %#x+%#x: %w", b.id, what, off, n, err)
}
