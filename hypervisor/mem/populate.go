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
