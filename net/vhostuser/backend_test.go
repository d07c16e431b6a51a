package vhostuser

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/vhost"
	"hv/devices/virtio/vhostwire"
	"hv/devices/virtio/virtiotest"
)

const allProtocol = vhostwire.ProtocolMQ | vhostwire.ProtocolReplyAck | vhostwire.ProtocolRARP | vhostwire.ProtocolStatus | vhostwire.ProtocolNetMTU

// backend is a vhost-user process that sends packets back on the queue pair that they came by.
type backend struct {
	t        testing.TB
	features uint64
	protocol uint64
	queues   uint64
	// odd, if not nil, may answer a message in its own way, and reports whether it did.
	odd func(c *net.UnixConn, m *vhostwire.Message) bool

	mu     sync.Mutex
	heard  map[vhostwire.Request][]uint64 // numbers that were said, the latest last
	conn   *net.UnixConn
	setup  vhost.Setup
	acked  uint64
	on     map[uint32]bool
	kicks  map[int]int // by ring
	echo   *virtiotest.Echo
	fds    []int
	served chan struct{} // something is served
}

func newBackend(t testing.TB) *backend {
	return &backend{t: t, features: userFeatures &^ (1<<34 | 1<<3), protocol: allProtocol, queues: 8,
		heard: map[vhostwire.Request][]uint64{}, on: map[uint32]bool{}, kicks: map[int]int{}, served: make(chan struct{}, 100)}
}

// serve answers until the connection ends.
func (b *backend) serve(c *net.UnixConn) {
	defer c.Close()
	b.mu.Lock()
	b.conn, b.acked, b.setup = c, 0, vhost.Setup{Rings: make([]vhost.Ring, 2*b.queues)}
	clear(b.on)
	clear(b.kicks)
	b.mu.Unlock()
	defer b.halt()
	for {
		m, err := vhostwire.Receive(c)
		if err != nil {
			return
		}
		b.mu.Lock()
		if v, err := m.U64(); err == nil {
			b.heard[m.Request] = append(b.heard[m.Request], v)
		}
		if b.odd == nil || !b.odd(c, m) {
			b.answer(c, m)
		}
		b.mu.Unlock()
		m.CloseAll()
	}
}

// kill ends everything, as happens to a process that dies: its connection last.
func (b *backend) kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop()
	b.conn.Close()
}

func (b *backend) said(r vhostwire.Request) []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heard[r]
}

func (b *backend) halt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop()
	for _, fd := range b.fds {
		unix.Close(fd)
	}
	b.fds = nil
}

// stop has nothing served, and knows where the rings are then.
func (b *backend) stop() {
	if b.echo == nil {
		return
	}
	for i, base := range b.echo.Stop() {
		b.setup.Rings[i].Base = base
	}
	b.echo = nil
}

// answer does what a message says. The lock is held.
func (b *backend) answer(c *net.UnixConn, m *vhostwire.Message) {
	number := func(v uint64) { _ = vhostwire.Reply(c, m, vhostwire.U64(v)) }
	switch m.Request {
	case vhostwire.GetFeatures:
		number(b.features | vhostwire.FeatureProtocol)
		return
	case vhostwire.GetProtocolFeatures:
		number(b.protocol)
		return
	case vhostwire.GetQueueNum:
		number(b.queues)
		return
	case vhostwire.GetVringBase:
		i, _, _ := m.State()
		b.stop()
		delete(b.kicks, int(i))
		_ = vhostwire.Reply(c, m, vhostwire.State(i, b.setup.Rings[i].Base))
		return
	}
	err := b.take(m)
	if m.Flags&vhostwire.FlagNeedAck != 0 {
		v := uint64(0)
		if err != nil {
			b.t.Errorf("the back end: request %d: %v", m.Request, err)
			v = 1
		}
		number(v)
	}
}

func (b *backend) take(m *vhostwire.Message) error {
	v, _ := m.U64()
	index, n, _ := m.State()
	keep := func() int {
		fd := m.TakeFD()
		if fd >= 0 {
			b.fds = append(b.fds, fd)
		}
		return fd
	}
	switch m.Request {
	case vhostwire.SetFeatures:
		b.setup.Features = v
	case vhostwire.SetMemTable:
		all, err := vhostwire.ParseRegions(m.Payload)
		if err != nil || len(all) != len(m.FDs) {
			return errors.Join(err, errors.New("memory"))
		}
		b.setup.Memory = nil
		for _, r := range all {
			b.setup.Memory = append(b.setup.Memory, vhost.Region{Guest: r.Guest, Size: r.Size, User: r.User, FD: keep(), Offset: r.Offset})
		}
	case vhostwire.SetVringNum:
		b.setup.Rings[index].Size = uint16(n)
	case vhostwire.SetVringBase:
		b.setup.Rings[index].Base = n
	case vhostwire.SetVringAddr:
		a, err := vhostwire.ParseAddresses(m.Payload)
		if err != nil {
			return err
		}
		r := &b.setup.Rings[a.Index]
		r.Desc, r.Driver, r.Device = a.Desc, a.Avail, a.Used
	case vhostwire.SetVringCall:
		b.setup.Rings[v&vhostwire.RingMask].Call = keep()
	case vhostwire.SetVringKick:
		b.kicks[int(v)] = keep()
		b.setup.Rings[v].Kick = b.kicks[int(v)]
	case vhostwire.SetVringEnable:
		b.on[index] = n != 0
		return b.start()
	}
	return nil
}

// start serves the rings that are there, once the last of them is switched on or off.
func (b *backend) start() error {
	n := len(b.kicks)
	if b.echo != nil || n == 0 || len(b.on) < n {
		return nil
	}
	s := b.setup
	s.Rings = s.Rings[:n]
	var err error
	if b.echo, err = virtiotest.NewEcho(s); err == nil {
		b.served <- struct{}{}
	}
	return err
}

// port is where back ends are found: each connection that is made goes to the next one.
type port struct {
	t        testing.TB
	listener *net.UnixListener
	path     string
	tasks    sync.WaitGroup
}

// newPort listens; next returns the back end of the next connection.
func newPort(t testing.TB, next func() *backend) *port {
	t.Helper()
	p := &port{t: t, path: filepath.Join(t.TempDir(), "s")}
	var err error
	if p.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: p.path, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	p.tasks.Go(func() {
		for {
			c, err := p.listener.AcceptUnix()
			if err != nil {
				return
			}
			b := next()
			p.tasks.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() {
		p.listener.Close()
		p.tasks.Wait()
	})
	return p
}

// config dials each time that it is allowed to by permits, until it is stopped.
func (p *port) config(queues int, permits <-chan struct{}) Config {
	stop := make(chan struct{})
	return Config{
		Queues: queues,
		Connect: func() (Conn, error) {
			select {
			case <-permits:
			case <-stop:
				return nil, net.ErrClosed
			}
			return net.DialUnix("unix", nil, &net.UnixAddr{Name: p.path, Net: "unix"})
		},
		Stop: sync.OnceFunc(func() { close(stop) }),
		Log:  func(err error) { p.t.Log(err) },
	}
}

// conn makes a connection of a descriptor.
func conn(t testing.TB, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// descriptors counts those of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

const testPatience = 20 * time.Second
