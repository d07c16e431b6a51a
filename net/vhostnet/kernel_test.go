package vhostnet

import (
	"bytes"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/virtionet"
	"hv/devices/virtio/virtiotest"
	"hv/net/tap"
)

// host is who has the device.
type host struct{ t testing.TB }

func (h host) LinkLost(err error)      { h.t.Error(err) }
func (h host) FilterChanged()          {}
func (h host) EngineRefused(err error) { h.t.Error(err) }

// ethertype is one for local experiments.
const ethertype = 0x88b5

// peer is the host's end of a tap: a socket for frames of our type.
func peer(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, ethertype>>8|ethertype&0xff<<8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	iface, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ethertype>>8 | ethertype&0xff<<8, Ifindex: iface.Index}); err != nil {
		t.Fatal(err)
	}
	tv := unix.Timeval{Sec: 20}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestKernel has the host's kernel move packets both ways, through pauses, resets and a cable that is pulled.
func TestKernel(t *testing.T) {
	if _, err := os.Stat(DevicePath); err != nil {
		t.Skipf("SKIPPED: %v: modprobe vhost_net, or the testbed", err)
	}
	for name, o := range map[string]virtiotest.Options{"wired": {Wired: true, EventIdx: true}, "not wired": {}} {
		for _, queues := range []int{1, 2} {
			t.Run(name, func(t *testing.T) { moved(t, queues, o) })
		}
	}
}

func moved(t *testing.T, queues int, o virtiotest.Options) {
	runtime.LockOSThread() // and never unlocked: the thread is thrown away, with its network
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	dev, err := tap.Open(tap.Config{ID: "n0", Ifname: "vhtest0", Queues: queues})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	l, err := Open(dev, Config{BusyPoll: uint32(queues - 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Logf("the kernel can do %#x", l.features)
	far := peer(t, "vhtest0")
	nic, err := virtionet.New(virtionet.Config{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MQ: queues > 1, CSum: true, GuestCSum: true, MrgRxBuf: true, Status: true,
		CtrlVQ: true, RxQueueSize: 256, TxQueueSize: 256, Speed: -1}, link{dev, l}, host{t})
	if err != nil {
		t.Fatal(err)
	}
	d := virtiotest.NewDriver(t, nic, o)
	g := &guest{t: t, d: d, far: far}
	g.open()
	for n := range 60 {
		switch n % 20 {
		case 5:
			nic.Pause()
			nic.Resume()
		case 10:
			nic.SetLink(false)
			d.Send(1, 0, g.frame(1000)) // lost
			nic.SetLink(true)
		case 15:
			d.Reset()
			d.Activate()
			g.open()
		}
		g.roundTrip(n)
	}
	d.Reset()
}

// link is a tap whose packets the kernel moves.
type link struct {
	*tap.Tap
	*Engine
}

// guest is one with buffers to receive into.
type guest struct {
	t   *testing.T
	d   *virtiotest.Driver
	far int
	at  map[uint16]uint64
}

func (g *guest) open() {
	g.at = map[uint16]uint64{}
	for range 64 {
		g.give(g.d.Alloc(2048))
	}
	g.d.Nudge(0)
}

func (g *guest) give(at uint64) {
	g.at[g.d.Add(0, virtiotest.Buf{Addr: at, Len: 2048, Write: true})] = at
}

const headerSize = 12

func (g *guest) frame(n int) []byte {
	p := append(make([]byte, headerSize), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, ethertype>>8, ethertype&0xff)
	return append(p, bytes.Repeat([]byte{byte(n)}, 50+n)...)
}

// roundTrip sends a frame to the host, and that one back.
func (g *guest) roundTrip(n int) {
	g.t.Helper()
	p := g.frame(n)
	g.d.Send(1, 0, p)
	b := make([]byte, 4096)
	size, err := unix.Read(g.far, b)
	if err != nil || !bytes.Equal(b[:size], p[headerSize:]) {
		g.t.Fatalf("frame %d: the host received %d bytes of %d, %v", n, size, len(p)-headerSize, err)
	}
	if _, err := unix.Write(g.far, b[:size]); err != nil {
		g.t.Fatal(err)
	}
	for { // past what the host says of its own
		token, written := g.d.Wait(0)
		at := g.at[token]
		same := bytes.Equal(g.d.Bytes(at, int(written))[headerSize:], p[headerSize:])
		delete(g.at, token)
		g.give(at)
		g.d.Kick(0)
		if same {
			return
		}
	}
}
