// Package netlab makes networks for tests: a veth pair whose far end is in a network
// namespace of its own, macvtaps and taps for guests on this side, and raw sockets on
// the far one. All of it is gone with the test.
//
// A Lab belongs to one test; its methods are called from one goroutine, those of a
// Station from one at a time each way.
//
// It needs root, and depends on github.com/vishvananda/netlink and netns.
package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Lab is a veth pair, of which one end is far away.
type Lab struct {
	Near, Far string // the pair's names, here and in the namespace
	Namespace string
	ns        netns.NsHandle
	there     *netlink.Handle
}

// New makes a lab whose names begin with a prefix of at most 10 letters.
func New(t testing.TB, prefix string) *Lab {
	t.Helper()
	l := &Lab{Near: prefix + "near", Far: prefix + "far", Namespace: prefix, ns: netns.None()}
	l.clear() // what a test that was killed has left
	if err := l.make(); err != nil {
		l.clear()
		t.Fatalf("network %s: %v", prefix, err)
	}
	t.Cleanup(l.clear)
	return l
}

func (l *Lab) make() (err error) {
	if l.ns, err = namespace(l.Namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	if l.there, err = netlink.NewHandleAt(l.ns); err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: l.Near}, PeerName: l.Far, PeerNamespace: netlink.NsFd(l.ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth pair: %w", err)
	}
	if err := quiet(l.Near); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	far, err := l.there.LinkByName(l.Far)
	if err != nil {
		return err
	}
	return l.there.LinkSetUp(far)
}

// namespace makes a named namespace, without staying in it.
func namespace(name string) (netns.NsHandle, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return 0, err
	}
	defer here.Close()
	ns, err := netns.NewNamed(name)
	return ns, errors.Join(err, netns.Set(here))
}

// quiet keeps IPv6 of this machine away from a link, so that what it says and
// joins is the guest's.
func quiet(name string) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// clear takes all away that New made.
func (l *Lab) clear() {
	l.Cut()
	if l.there != nil {
		l.there.Close()
		l.there = nil
	}
	if l.ns.IsOpen() {
		l.ns.Close()
	}
	_ = netns.DeleteNamed(l.Namespace)
}

// Cut deletes the pair, and with it every macvtap on it.
func (l *Lab) Cut() {
	if link, err := netlink.LinkByName(l.Near); err == nil {
		_ = netlink.LinkDel(link)
	}
}

// Abandon ends the namespace, and with it the far end and all that hangs on the pair.
func (l *Lab) Abandon(t testing.TB) {
	t.Helper()
	l.there.Close()
	l.there = nil
	err := errors.Join(l.ns.Close(), netns.DeleteNamed(l.Namespace))
	if err != nil {
		t.Fatal(err)
	}
}

// Command returns a command to run far away.
func (l *Lab) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.Namespace, name}, args...)...)
}

// modes are macvtap's.
var modes = map[string]netlink.MacvlanMode{
	"bridge": netlink.MACVLAN_MODE_BRIDGE, "vepa": netlink.MACVLAN_MODE_VEPA, "private": netlink.MACVLAN_MODE_PRIVATE, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
}

// Macvtap makes a macvtap on the near end and opens it once for each queue.
func (l *Lab) Macvtap(t testing.TB, name, mode, mac string, queues int) []*os.File {
	t.Helper()
	files, err := l.macvtap(name, mode, mac, queues)
	if err != nil {
		t.Fatalf("macvtap %s: %v", name, err)
	}
	t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	return files
}

func (l *Lab) macvtap(name, mode, mac string, queues int) (files []*os.File, err error) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	parent, err := netlink.LinkByName(l.Near)
	if err != nil {
		return nil, err
	}
	attrs := netlink.LinkAttrs{Name: name, ParentIndex: parent.Attrs().Index, HardwareAddr: hw, TxQLen: 1000}
	link := &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: modes[mode]}}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, err
	}
	if err := errors.Join(quiet(name), netlink.LinkSetUp(link)); err != nil {
		return nil, err
	}
	made, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	for range queues {
		// Not by os.OpenFile: each packet would wake Go's poller in the test.
		path := fmt.Sprintf("/dev/tap%d", made.Attrs().Index)
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return files, fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, os.NewFile(uintptr(fd), path))
	}
	return files, nil
}

// Tap makes a tap that is there until the test ends.
func Tap(t testing.TB, name string, queues int) {
	t.Helper()
	if old, err := netlink.LinkByName(name); err == nil {
		_ = netlink.LinkDel(old)
	}
	flags := netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP, Flags: flags}
	if queues > 1 {
		link.Flags |= netlink.TUNTAP_MULTI_QUEUE
	}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("tap %s: %v", name, err)
	}
	for _, f := range link.Fds {
		f.Close()
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	if err := errors.Join(quiet(name), netlink.LinkSetUp(link)); err != nil {
		t.Fatalf("tap %s: %v", name, err)
	}
}
