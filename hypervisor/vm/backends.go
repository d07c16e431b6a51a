package vm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hv/block/hostfile"
	"hv/devices/qdev"
	"hv/devices/virtio"
	"hv/devices/virtio/virtioblk"
	"hv/devices/virtio/virtiorng"
	"hv/hypervisor/config"
	"hv/hypervisor/fdset"
	"hv/hypervisor/mem"
)

// medium gives a virtio disk its back end's type for IO.
type medium struct{ *hostfile.File }

func (m medium) NewIO(kick int, depth uint32) (virtioblk.IO, error) { return m.File.NewIO(kick, depth) }

func makeBlk(v *VM, in *qdev.Instance, c *blkConfig) (virtio.Device, error) {
	if c.Drive == "" {
		return nil, fmt.Errorf("drive property not set")
	}
	drive, err := v.claimDrive(c.Drive, in)
	if err != nil {
		return nil, err
	}
	opened, err := v.fdset(drive.File, !drive.ReadOnly)
	if err != nil {
		return nil, err
	}
	f, err := hostfile.Open(hostfile.Config{
		Path: drive.File, Opened: opened, ReadOnly: drive.ReadOnly, Direct: drive.Direct, NoFlush: drive.NoFlush, WriteThrough: drive.WriteThrough,
		Discard: drive.Discard == "unmap" || drive.Discard == "on", Threads: drive.AIO == "threads", Lock: drive.Locking != "off", Shared: c.ShareRW,
	})
	if err != nil {
		return nil, err
	}
	in.Later(f.Close)
	v.hw.disks = append(v.hw.disks, f)
	in.Later(func() error { v.hw.disks = without(v.hw.disks, disk(f)); return nil })
	return virtioblk.New(c.Config, medium{f})
}

// fdset returns a file of the set that a path such as /dev/fdset/1 names, open for
// reading or for writing too; nil if the path is none.
func (v *VM) fdset(path string, write bool) (*os.File, error) {
	if !strings.HasPrefix(path, fdset.Prefix) {
		return nil, nil
	}
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	return v.fds.Open(path, flags, 0)
}

// claimDrive returns the drive with an id for one device's use.
func (v *VM) claimDrive(id string, in *qdev.Instance) (*config.Drive, error) {
	for i := range v.cfg.Drives {
		d := &v.cfg.Drives[i]
		if d.ID != id {
			continue
		}
		if user := v.drives[id]; user != "" {
			return nil, fmt.Errorf("Drive '%s' is already in use by %s", id, user)
		}
		v.drives[id] = in.Label()
		in.Later(func() error { delete(v.drives, id); return nil })
		return d, nil
	}
	return nil, fmt.Errorf("Property '%s.drive' can't find value '%s'", in.Driver.Name, id)
}

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
