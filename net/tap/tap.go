// Package tap is a tap device of the host, made by name or taken over as open
// descriptors (of a tap or a macvtap).
//
// A Tap is set up and closed by its owner; its queue descriptors are then read and
// written by whoever they are given to. They are non-blocking and carry a virtio-net
// header of 12 bytes.
//
// Follows Linux's Documentation/networking/tuntap.rst. It depends on nothing of ours.
package tap

import (
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// Config says what to open.
type Config struct {
	ID     string // names the back end in errors
	Ifname string // "" lets the kernel choose
	FDs    []int  // open descriptors instead, one a queue, which Open takes over
	Queues int    // of a device that is made here
	// Script and DownScript are run with the device's name once it is there and
	// before it goes; "" or "no" is none.
	Script, DownScript string
	// Helper opens the tap and connects it to a bridge; see helper.go.
	Helper, Bridge string
	Sndbuf         int // limit of what waits to be sent, 0 for none
	// Lost is told on a goroutine of the Tap's when the device is gone; nil is nobody. It must not
	// wait for Close.
	Lost func(error)
}

// headerSize is that of the virtio-net header with num_buffers (virtio 1.2 §5.1.6).
const headerSize = 12

// Tap is an open tap device.
type Tap struct {
	cfg  Config
	name string
	fds  []int
	flow uintptr // of SetOffload
	able abilities

	watcher *watcher // nil for none
}

// Open opens a tap. On an error nothing is left behind, nor descriptors that were given.
func Open(cfg Config) (*Tap, error) {
	t := &Tap{cfg: cfg}
	err := t.open()
	if err == nil {
		err = t.script(cfg.Script)
	}
	if err != nil {
		for _, fd := range cfg.FDs {
			if !slices.Contains(t.fds, fd) {
				_ = unix.Close(fd)
			}
		}
		t.closeAll()
		return nil, fmt.Errorf("netdev %s: %w", cfg.ID, err)
	}
	if cfg.Lost != nil {
		t.watch(cfg.Lost)
	}
	return t, nil
}

func (t *Tap) open() error {
	defer func() { t.probe() }()
	if len(t.cfg.FDs) > 0 {
		for _, fd := range t.cfg.FDs {
			if err := t.adopt(fd); err != nil {
				return fmt.Errorf("descriptor %d: %w", fd, err)
			}
		}
		return nil
	}
	if t.cfg.Helper != "" {
		return t.openHelper()
	}
	for range max(t.cfg.Queues, 1) {
		if err := t.openQueue(); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes over an open descriptor.
func (t *Tap) adopt(fd int) error {
	ifr, err := getIface(fd)
	if err != nil {
		return fmt.Errorf("no tap or macvtap: %w", err)
	}
	if ifr.flags&unix.IFF_VNET_HDR == 0 {
		return errors.New("it was opened without IFF_VNET_HDR")
	}
	unix.CloseOnExec(fd)
	t.name = ifr.Name()
	t.fds = append(t.fds, fd)
	return t.prepare(fd)
}

// openQueue makes the device, or one more queue of it.
func (t *Tap) openQueue() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w (is the module tun loaded?)", err)
	}
	t.fds = append(t.fds, fd)
	name := t.name
	if name == "" {
		name = t.cfg.Ifname
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if t.cfg.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	if t.name, err = setIface(fd, name, flags); err != nil {
		return fmt.Errorf("tap %s: %w", name, explain(err))
	}
	return t.prepare(fd)
}

// explain says what to do about errors that mean something else with taps.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: making it needs CAP_NET_ADMIN, using it its owner's id", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another process uses it", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: it exists with other flags (multi_queue or not), or the name is bad", err)
	}
	return err
}

func (t *Tap) prepare(fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := setInt(fd, tunSetVnetHdrSz, headerSize); err != nil {
		return fmt.Errorf("header size: %w", err)
	}
	size := t.cfg.Sndbuf
	if size == 0 || size > math.MaxInt32 {
		size = math.MaxInt32
	}
	if err := setInt(fd, tunSetSndbuf, size); err != nil && t.cfg.Sndbuf > 0 {
		return fmt.Errorf("TUNSETSNDBUF ioctl failed: %w", err)
	}
	return nil
}

// script runs a script with the device's name.
func (t *Tap) script(path string) error {
	if path == "" || path == "no" {
		return nil
	}
	if out, err := exec.Command(path, t.name).CombinedOutput(); err != nil {
		return fmt.Errorf("script %s: %w: %s", path, err, out)
	}
	return nil
}

// Info describes a queue as `info network` does.
func (t *Tap) Info(queue int) string {
	switch {
	case len(t.cfg.FDs) > 0 && queue < len(t.cfg.FDs):
		return fmt.Sprintf("fd=%d", t.cfg.FDs[queue])
	case t.cfg.Helper != "":
		return "helper=" + t.cfg.Helper
	}
	return fmt.Sprintf("ifname=%s,script=%s,downscript=%s", t.name, orNo(t.cfg.Script), orNo(t.cfg.DownScript))
}

func orNo(s string) string {
	if s == "" {
		return "no"
	}
	return s
}

// Name returns the device's name.
func (t *Tap) Name() string { return t.name }

// Queues returns the number of queues.
func (t *Tap) Queues() int { return len(t.fds) }

// QueueFD returns a queue's descriptor.
func (t *Tap) QueueFD(i int) int { return t.fds[i] }

// EnableQueue has the host use a queue or not. The first one is always used.
func (t *Tap) EnableQueue(i int, on bool) error {
	if i == 0 || len(t.fds) == 1 {
		return nil
	}
	flags := uint16(unix.IFF_DETACH_QUEUE)
	if on {
		flags = unix.IFF_ATTACH_QUEUE
	}
	err := setQueue(t.fds[i], flags)
	if errors.Is(err, unix.EINVAL) {
		return nil // it is so already
	}
	return err
}

// Close runs the down script and closes the device, which goes if it was made here.
func (t *Tap) Close() error {
	err := t.script(t.cfg.DownScript)
	t.closeAll()
	return err
}

func (t *Tap) closeAll() {
	t.watcher.close()
	t.watcher = nil
	for _, fd := range t.fds {
		unix.Close(fd)
	}
	t.fds = nil
}
