// Package macvtap makes a macvtap on a network device of the host and opens it, as
// a tap.Tap. It needs the right to make links, and to make a device node where nobody does
// so in /dev.
//
// A Macvtap belongs to one goroutine at a time, as its Tap does. Closing it removes the
// link.
//
// Follows Linux's drivers/net/macvtap.c. It depends on net/tap.
package macvtap

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hv/net/tap"
)

// Config says what to make.
type Config struct {
	ID     string // names the back end in errors
	Parent string // interface below
	Ifname string // "" for one of our choice
	Mode   string // bridge, vepa, private, passthru or source
	MAC    net.HardwareAddr
	Queues int
	Sndbuf int
	Lost   func(error) // as a Tap's
}

// Macvtap is a macvtap that is open.
type Macvtap struct {
	*tap.Tap
	name  string
	index int
}

var modes = map[string]netlink.MacvlanMode{
	"bridge": netlink.MACVLAN_MODE_BRIDGE, "vepa": netlink.MACVLAN_MODE_VEPA, "private": netlink.MACVLAN_MODE_PRIVATE,
	"passthru": netlink.MACVLAN_MODE_PASSTHRU, "source": netlink.MACVLAN_MODE_SOURCE,
}

// Open makes a macvtap, sets it up and opens its queues. On an error nothing is left
// behind.
func Open(cfg Config) (*Macvtap, error) {
	m, err := create(cfg)
	if err != nil {
		return nil, fmt.Errorf("netdev %s: macvtap on %s: %w", cfg.ID, cfg.Parent, err)
	}
	if err := m.open(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("netdev %s: %s: %w", cfg.ID, m.name, err), m.remove())
	}
	return m, nil
}

// create makes the link.
func create(cfg Config) (*Macvtap, error) {
	mode, ok := modes[cfg.Mode]
	if !ok {
		return nil, fmt.Errorf("there is no mode '%s'", cfg.Mode)
	}
	parent, err := netlink.LinkByName(cfg.Parent)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = cfg.Ifname, parent.Attrs().Index, cfg.MAC
	if attrs.Name == "" {
		attrs.Name = randomName()
	}
	link := &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: mode}}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("%s: %w", attrs.Name, explain(err))
	}
	made, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return nil, errors.Join(err, netlink.LinkDel(link))
	}
	return &Macvtap{name: attrs.Name, index: made.Attrs().Index}, nil
}

// randomName returns a name that nobody else has thought of.
func randomName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("mvt%x", b)
}

// explain says what to do about errors that mean something else here.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: making it needs CAP_NET_ADMIN; else have it made and give its descriptors as -netdev tap,fds=", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: mode passthru wants the parent for itself, and a bridge's port has no macvtaps", err)
	}
	return err
}

// open sets the link up and opens its queues.
func (m *Macvtap) open(cfg Config) error {
	if cfg.MAC != nil && cfg.Mode == "passthru" { // which begins with its parent's
		if err := m.SetMAC(cfg.MAC); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(m.link()); err != nil {
		return err
	}
	var fds []int
	for range max(cfg.Queues, 1) {
		fd, err := m.openNode()
		if err == nil {
			fds = append(fds, fd)
			err = setFlags(fd, m.name, cfg.Queues > 1)
		}
		if err != nil {
			closeAll(fds)
			return err
		}
	}
	t, err := tap.Open(tap.Config{ID: cfg.ID, FDs: fds, Sndbuf: cfg.Sndbuf, Lost: cfg.Lost})
	m.Tap = t
	return err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// setFlags is what the device is opened for: packets with a virtio-net header. It makes sure that
// a node in /dev is that of this link and not of one of another namespace.
func setFlags(fd int, name string, multi bool) error {
	if got, err := tap.NameOf(fd); err != nil || got != name {
		return errors.Join(fmt.Errorf("its device node is that of %s: that of another network namespace", got), err)
	}
	return tap.SetFlags(fd, multi)
}

// link refers to the link by its index, which is its own for ever.
func (m *Macvtap) link() netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Index = m.index
	return &netlink.Device{LinkAttrs: attrs}
}

// SetMAC gives the link an address.
func (m *Macvtap) SetMAC(mac net.HardwareAddr) error {
	if err := netlink.LinkSetHardwareAddr(m.link(), mac); err != nil {
		return fmt.Errorf("address of %s: %w", m.name, err)
	}
	return nil
}

// Close closes the queues and removes the link, if its parent has not taken it along.
func (m *Macvtap) Close() error { return errors.Join(m.Tap.Close(), m.remove()) }

func (m *Macvtap) remove() error {
	if err := netlink.LinkDel(m.link()); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s: %w", m.name, err)
	}
	return nil
}

// openNode opens the link's character device: the node in /dev if there is one, else one
// of our own for the moment.
func (m *Macvtap) openNode() (int, error) {
	node := "/dev/tap" + strconv.Itoa(m.index)
	dev, known := m.number()
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err == nil && (!known || st.Rdev == dev) {
		return openDevice(node)
	} else if !known {
		return -1, fmt.Errorf("%s: %w (and /sys does not know its number)", node, err)
	}
	dir, err := os.MkdirTemp("/dev", ".hv-")
	if err != nil {
		return -1, err
	}
	defer os.RemoveAll(dir)
	node = filepath.Join(dir, m.name)
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(dev)); err != nil {
		return -1, fmt.Errorf("mknod %s: %w", node, err)
	}
	return openDevice(node)
}

func openDevice(node string) (int, error) {
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", node, err)
	}
	return fd, nil
}

// number returns the number of the link's character device, as /sys has it.
func (m *Macvtap) number() (uint64, bool) {
	names, err := filepath.Glob(filepath.Join("/sys/class/net", m.name, "macvtap/tap*/dev"))
	if err != nil || len(names) != 1 {
		return 0, false
	}
	text, err := os.ReadFile(names[0])
	major, minor, ok := strings.Cut(strings.TrimSpace(string(text)), ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	if err != nil || !ok || errA != nil || errB != nil {
		return 0, false
	}
	return unix.Mkdev(uint32(a), uint32(b)), true
}
