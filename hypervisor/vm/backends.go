package vm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"hv/devices/qdev"
	"hv/devices/virtio"
	"hv/devices/virtio/virtiorng"
	"hv/hypervisor/mem"
)

func makeRNG(v *VM, in *qdev.Instance, c *rngConfig) (virtio.Device, error) {
	source, err := v.entropy(c.RNG, in)
	if err != nil {
		return nil, err
	}
	return virtiorng.New(c.Config, source)
}

// entropy opens what the rng object with an id says; without one it is the kernel's
// generator.
func (v *VM) entropy(id string, in *qdev.Instance) (io.Reader, error) {
	if id == "" {
		return rand.Reader, nil
	}
	o := v.objects.find(id)
	if o == nil || o.RNG == nil {
		return nil, fmt.Errorf("Property '%s.rng' can't find value '%s'", in.Driver.Name, id)
	}
	o.users++
	in.Later(func() error { o.users--; return nil })
	if o.RNG.Filename == "" {
		return rand.Reader, nil
	}
	f, err := v.fds.Open(o.RNG.Filename, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", id, err)
	}
	in.Later(f.Close)
	return f, nil
}

// Discard gives guest memory back to the host, as a balloon's guest asks. What is
// not whole pages of RAM is left alone.
func (h *hardware) Discard(gpa, n uint64) error {
	b, err := h.mem.Slice(gpa, n)
	if err != nil {
		return err
	}
	return h.Release(b)
}

// Release is Discard of a view. Shared memory goes from its file, private memory
// from this process.
func (h *hardware) Release(b []byte) error {
	if len(b) < mem.PageSize {
		return nil
	}
	if h.shared {
		// What is not shared cannot be removed.
		if err := unix.Madvise(b, unix.MADV_REMOVE); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	return unix.Madvise(b, unix.MADV_DONTNEED)
}
