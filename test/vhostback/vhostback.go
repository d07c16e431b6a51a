// Package vhostback is a vhost-user back end for tests: a process, within the test's, that sends
// the packets of a guest's NIC back on the queue pair that they came by.
//
// A Backend serves one connection; a Port is where connections come in, and ends with its
// test. It depends on devices/virtio/vhostwire and devices/virtio/virtiotest.
package vhostback

import (
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/vhost"
	"hv/devices/virtio/vhostwire"
	"hv/devices/virtio/virtiotest"
)

// Everything is all features of virtio-net that a back end decides on, but for packed rings.
const Everything = 1<<0 | 1<<1 | 1<<6 | 0xff<<7 | 1<<15 | 1<<21 | 1<<22 | 1<<24 | 7<<27 | 3<<32 | 1<<40 | 0xf<<54 | 1<<57 | 1<<60

// AllProtocol is all protocol features that our front end knows.
const AllProtocol = vhostwire.ProtocolMQ | vhostwire.ProtocolReplyAck | vhostwire.ProtocolRARP | vhostwire.ProtocolStatus | vhostwire.ProtocolNetMTU

// Backend is a back end.
type Backend struct {
	t testing.TB
	// What it says that it can do; New has it say everything.
	Features, Protocol, Queues uint64
	// Odd, if not nil, may answer a message in its own way, and reports whether it did.
	Odd func(c *net.UnixConn, m *vhostwire.Message) bool

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

// New returns a back end that can do everything.
func New(t testing.TB) *Backend {
	return &Backend{t: t, Features: Everything, Protocol: AllProtocol, Queues: 8,
		heard: map[vhostwire.Request][]uint64{}, on: map[uint32]bool{}, kicks: map[int]int{}, served: make(chan struct{}, 100)}
}

// Serve answers until the connection ends.
func (b *Backend) Serve(c *net.UnixConn) {
	defer c.Close()
	b.mu.Lock()
	b.conn, b.acked, b.setup = c, 0, vhost.Setup{Rings: make([]vhost.Ring, 2*b.Queues)}
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
		if b.Odd == nil || !b.Odd(c, m) {
			b.answer(c, m)
		}
		b.mu.Unlock()
		m.CloseAll()
	}
}

// Kill ends everything, as happens to a process that dies: its connection last.
func (b *Backend) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop()
	b.conn.Close()
}

// Said returns the numbers that were said with a request, the latest last.
func (b *Backend) Said(r vhostwire.Request) []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heard[r]
}

// On reports whether a ring is switched on.
func (b *Backend) On(ring uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.on[ring]
}

// SetOdd is for a change of Odd while there is a connection.
func (b *Backend) SetOdd(odd func(c *net.UnixConn, m *vhostwire.Message) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Odd = odd
}

// AwaitServed waits until rings are served, as they are anew after each pause.
func (b *Backend) AwaitServed() {
	b.t.Helper()
	select {
	case <-b.served:
	case <-time.After(patience):
		b.t.Fatal("no rings were handed over")
	}
}

const patience = 20 * time.Second

func (b *Backend) halt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop()
	for _, fd := range b.fds {
		unix.Close(fd)
	}
	b.fds = nil
}

// stop has nothing served, and knows where the rings are then.
func (b *Backend) stop() {
	if b.echo == nil {
		return
	}
	for i, base := range b.echo.Stop() {
		b.setup.Rings[i].Base = base
	}
	b.echo = nil
}

// answer does what a message says. The lock is held.
func (b *Backend) answer(c *net.UnixConn, m *vhostwire.Message) {
	number := func(v uint64) { _ = vhostwire.Reply(c, m, vhostwire.U64(v)) }
	switch m.Request {
	case vhostwire.GetFeatures:
		number(b.Features | vhostwire.FeatureProtocol)
		return
	case vhostwire.GetProtocolFeatures:
		number(b.Protocol)
		return
	case vhostwire.GetQueueNum:
		number(b.Queues)
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

func (b *Backend) take(m *vhostwire.Message) error {
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
func (b *Backend) start() error {
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

// Port is where back ends are found: each connection that is made goes to the next one.
type Port struct {
	t        testing.TB
	listener *net.UnixListener
	Path     string
	tasks    sync.WaitGroup
}

// NewPort listens; next returns the back end of the next connection, nil to send that away.
func NewPort(t testing.TB, next func() *Backend) *Port {
	t.Helper()
	p := &Port{t: t, Path: filepath.Join(t.TempDir(), "s")}
	var err error
	if p.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: p.Path, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	p.tasks.Go(func() {
		for {
			c, err := p.listener.AcceptUnix()
			if err != nil {
				return
			}
			if b := next(); b != nil {
				p.tasks.Go(func() { b.Serve(c) })
			} else {
				_ = c.Close()
			}
		}
	})
	t.Cleanup(func() {
		p.listener.Close()
		p.tasks.Wait()
	})
	return p
}
