package vhostuser

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/vhost"
	"hv/devices/virtio/vhostwire"
	"hv/devices/virtio/virtionet"
	"hv/devices/virtio/virtiotest"
	"hv/test/vhostback"
)

// host is who has the device.
type host struct{ t testing.TB }

func (h host) LinkLost(err error)      { h.t.Log("link lost: ", err) }
func (h host) FilterChanged()          {}
func (h host) EngineRefused(err error) { h.t.Log(err) }

var mac = net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}

// rig is a device whose packets back ends move.
type rig struct {
	t       testing.TB
	link    *Link
	dev     *virtionet.Device
	driver  *virtiotest.Driver
	permits chan struct{}
	changes chan bool
	next    chan *vhostback.Backend
}

// newRig starts with a back end, which serves the device.
func newRig(t testing.TB, b *vhostback.Backend, queues int, o virtiotest.Options) *rig {
	t.Helper()
	r := &rig{t: t, permits: make(chan struct{}, 10), changes: make(chan bool, 10), next: make(chan *vhostback.Backend, 10)}
	p := vhostback.NewPort(t, func() *vhostback.Backend { return <-r.next })
	r.offer(b)
	c := config(t, p.Path, queues, r.permits)
	var err error
	if r.link, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.link.Close() })
	if !r.link.Watch(func(up bool) { r.changes <- up }) {
		t.Error("there is no back end at the start")
	}
	cfg := virtionet.Config{MAC: mac, MQ: true, CSum: true, GuestCSum: true, MrgRxBuf: true, Status: true, CtrlVQ: true, CtrlMAC: true,
		RxQueueSize: 256, TxQueueSize: 256, Speed: -1, HostMTU: 1400}
	if r.dev, err = virtionet.New(cfg, r.link, host{t}); err != nil {
		t.Fatal(err)
	}
	o.Shared = true
	r.driver = virtiotest.NewDriver(t, r.dev, o)
	return r
}

// offer lets the link connect once more, to b.
func (r *rig) offer(b *vhostback.Backend) {
	r.next <- b
	r.permits <- struct{}{}
}

// follow waits for a change and has the device follow it, as its owner does.
func (r *rig) follow(up bool) {
	r.t.Helper()
	select {
	case is := <-r.changes:
		if is != up {
			r.t.Fatalf("the back end is there: %v", is)
		}
	case <-time.After(testPatience):
		r.t.Fatalf("nobody told that the back end is there: %v", up)
	}
	r.dev.SetLink(up)
}

const headerSize = 12

// station is a guest's queue pair.
type station struct {
	d    *virtiotest.Driver
	pair int
	at   map[uint16]uint64
	want []byte
}

func (r *rig) station(pair int) *station {
	s := &station{d: r.driver, pair: pair, at: map[uint16]uint64{}}
	for range 32 {
		s.give(r.driver.Alloc(2048))
	}
	r.driver.Nudge(2 * pair)
	return s
}

func (s *station) give(at uint64) {
	s.at[s.d.Add(2*s.pair, virtiotest.Buf{Addr: at, Len: 2048, Write: true})] = at
}

// sweep forgets packets that have come.
func (s *station) sweep() {
	for token, _, ok := s.d.Poll(2 * s.pair); ok; token, _, ok = s.d.Poll(2 * s.pair) {
		at := s.at[token]
		delete(s.at, token)
		s.give(at)
	}
}

// echo sends a packet and receives it.
func (s *station) echo(t testing.TB, n int) {
	t.Helper()
	s.want = append(s.want[:0], make([]byte, headerSize)...)
	for i := range 64 + n%1300 {
		s.want = append(s.want, byte(i*n))
	}
	s.d.Send(2*s.pair+1, 0, s.want)
	token, written := s.d.Wait(2 * s.pair)
	if got := s.d.Bytes(s.at[token], int(written)); !bytes.Equal(got[headerSize:], s.want[headerSize:]) {
		t.Fatalf("packet %d came back as %d bytes of %d", n, len(got), len(s.want))
	}
	at := s.at[token]
	delete(s.at, token)
	s.give(at)
	s.d.Kick(2 * s.pair)
}

// TestPackets has packets moved by back ends of several kinds, with pauses and resets.
func TestPackets(t *testing.T) {
	for name, protocol := range map[string]uint64{"everything": vhostback.AllProtocol, "acknowledged": vhostwire.ProtocolReplyAck, "nothing": 0} {
		t.Run(name, func(t *testing.T) {
			b := vhostback.New(t)
			b.Protocol = protocol
			r := newRig(t, b, 1, virtiotest.Options{EventIdx: true, Wired: true})
			s := r.station(0)
			for n := range 200 {
				switch n {
				case 20, 120:
					r.dev.Pause()
					r.dev.Resume()
				case 60:
					r.driver.Reset()
					r.driver.Activate()
					s = r.station(0)
				}
				s.echo(t, n)
			}
			has := func(what vhostwire.Request, f uint64) {
				t.Helper()
				if (len(b.Said(what)) > 0) != (protocol&f != 0) {
					t.Errorf("request %d was made %d times", what, len(b.Said(what)))
				}
			}
			has(vhostwire.SetStatus, vhostwire.ProtocolStatus)
			has(vhostwire.NetSetMTU, vhostwire.ProtocolNetMTU)
			if protocol == vhostback.AllProtocol && (b.Said(vhostwire.NetSetMTU)[0] != 1400 || !slices.Equal(b.Said(vhostwire.SetStatus)[:3], []uint64{11, 15, 0})) {
				t.Errorf("MTU %d, status %d", b.Said(vhostwire.NetSetMTU), b.Said(vhostwire.SetStatus))
			}
			r.dev.Announce()
			has(vhostwire.SendRARP, vhostwire.ProtocolRARP)
		})
	}
}

// TestQueues uses several queue pairs, as the guest switches them on.
func TestQueues(t *testing.T) {
	b := vhostback.New(t)
	r := newRig(t, b, 3, virtiotest.Options{})
	if answer, _ := r.driver.Send(6, 1, []byte{4, 0}, []byte{3, 0}); answer[0] != 0 {
		t.Fatal("three pairs were refused")
	}
	if !b.On(4) || !b.On(5) || b.On(6) {
		t.Error("the rings of three pairs are not on")
	}
	for pair := range 3 {
		r.station(pair).echo(t, 100+pair)
	}
	if answer, _ := r.driver.Send(6, 1, []byte{4, 0}, []byte{2, 0}); answer[0] != 0 {
		t.Fatal("two pairs were refused")
	}
	if !b.On(3) || b.On(4) {
		t.Error("the rings of two pairs are not on")
	}
}

// TestReconnect has back ends die in the middle of traffic. Each next one goes on.
func TestReconnect(t *testing.T) {
	b := vhostback.New(t)
	r := newRig(t, b, 1, virtiotest.Options{EventIdx: true})
	s := r.station(0)
	for n := range 10 {
		s.echo(t, n)
		at := r.driver.Alloc(100)
		r.driver.Add(1, virtiotest.Buf{Addr: at, Len: 100}) // under way, or not, when it dies
		r.driver.Kick(1)
		b.Kill()
		r.follow(false)
		var config [8]byte
		if r.dev.ReadConfig(0, config[:]); config[6]&1 != 0 {
			t.Error("the guest's link is up")
		}
		r.driver.Wait(1)
		s.sweep()
		b = vhostback.New(t)
		r.offer(b)
		r.follow(true)
	}
	s.echo(t, 1)
	// One that cannot do what the guest uses is sent away, the next one is not.
	b.Kill()
	r.follow(false)
	poor := vhostback.New(t)
	poor.Features &^= 1 << 15
	r.offer(poor)
	b = vhostback.New(t)
	r.offer(b)
	r.follow(true)
	s.echo(t, 2)
}

// TestBadBackends: each is an error in time, and the link lives on.
func TestBadBackends(t *testing.T) {
	reply := func(c *net.UnixConn, m *vhostwire.Message, p []byte) bool { return vhostwire.Reply(c, m, p) == nil }
	for name, bad := range map[string]struct {
		want  string
		spoil func(b *vhostback.Backend)
	}{
		"old":        {"virtio 1.0", func(b *vhostback.Backend) { b.Features &^= 1 << 32 }},
		"few queues": {"more queues than supported: 1", func(b *vhostback.Backend) { b.Queues = 1 }},
		"silent":     {"does not answer", func(b *vhostback.Backend) { b.Odd = func(*net.UnixConn, *vhostwire.Message) bool { return true } }},
		"wrong answer": {"answer is one to request 17", func(b *vhostback.Backend) {
			b.Odd = func(c *net.UnixConn, m *vhostwire.Message) bool {
				return reply(c, &vhostwire.Message{Request: 17}, vhostwire.U64(1))
			}
		}},
		"short answer": {"4 bytes", func(b *vhostback.Backend) {
			b.Odd = func(c *net.UnixConn, m *vhostwire.Message) bool { return reply(c, m, make([]byte, 4)) }
		}},
		"no answer but a request": {"flags 0x1", func(b *vhostback.Backend) {
			b.Odd = func(c *net.UnixConn, m *vhostwire.Message) bool {
				return vhostwire.Send(c, vhostwire.Message{Request: m.Request, Payload: vhostwire.U64(0)}) == nil
			}
		}},
		"refusal": {"refuses", func(b *vhostback.Backend) {
			b.Odd = func(c *net.UnixConn, m *vhostwire.Message) bool {
				return m.Request == vhostwire.SetOwner && reply(c, m, vhostwire.U64(1))
			}
		}},
		"too much": {"bad vhost-user message", func(b *vhostback.Backend) {
			b.Odd = func(c *net.UnixConn, m *vhostwire.Message) bool { return reply(c, m, make([]byte, 4096)) }
		}},
		"gone": {"there is no vhost-user back end", func(b *vhostback.Backend) {
			b.Odd = func(c *net.UnixConn, m *vhostwire.Message) bool { c.Close(); return true }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := vhostback.New(t)
			bad.spoil(b)
			p := vhostback.NewPort(t, func() *vhostback.Backend { return b })
			permits := make(chan struct{}, 1)
			permits <- struct{}{}
			c := config(t, p.Path, 2, permits)
			c.Patience = 50 * time.Millisecond
			var logged []error
			c.Log = func(err error) { logged = append(logged, err); c.Stop() }
			_, err := Open(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), bad.want) || len(logged) != 1 {
				t.Errorf("%v, logged %v", err, logged)
			}
		})
	}
}

// TestSilence: a back end that stops to answer while it serves is sent away.
func TestSilence(t *testing.T) {
	b := vhostback.New(t)
	r := newRig(t, b, 1, virtiotest.Options{})
	r.link.session.patience = 50 * time.Millisecond
	b.SetOdd(func(_ *net.UnixConn, m *vhostwire.Message) bool { return m.Request == vhostwire.GetVringBase })
	s := r.station(0)
	s.echo(t, 5)
	r.dev.Pause()
	r.follow(false)
	r.dev.Resume()
	r.driver.Send(1, 0, make([]byte, 64)) // lost
	r.offer(vhostback.New(t))
	r.follow(true)
	s.echo(t, 6)
}

// TestMemory: what others cannot map is refused before a word is said about it.
func TestMemory(t *testing.T) {
	b := vhostback.New(t)
	r := newRig(t, b, 1, virtiotest.Options{})
	r.driver.Reset()
	private := vhost.Setup{Features: virtio.FeatureVersion1, Memory: []vhost.Region{{Size: 4096, FD: -1}}}
	if err := r.link.Serve(private); !errors.Is(err, ErrNotShared) {
		t.Error(err)
	}
	if err := r.link.Serve(vhost.Setup{Memory: make([]vhost.Region, 9)}); !errors.Is(err, vhost.ErrTooMuchMemory) {
		t.Error(err)
	}
	r.driver.Activate()
	r.station(0).echo(t, 7)
}

// TestCancel: nobody has to come.
func TestCancel(t *testing.T) {
	p := vhostback.NewPort(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, config(t, p.Path, 1, nil)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, n := range []int{0, 1025} {
		if _, err := Open(ctx, config(t, p.Path, n, nil)); err == nil || err.Error() != "vhost-user number of queues must be in range [1, 1024]" {
			t.Errorf("%d queues: %v", n, err)
		}
	}
}

// TestDescriptors: devices come and go without leaving any.
func TestDescriptors(t *testing.T) {
	before := descriptors(t)
	for range 5 {
		t.Run("life", func(t *testing.T) {
			r := newRig(t, vhostback.New(t), 2, virtiotest.Options{})
			r.station(0).echo(t, 1)
		})
	}
	if after := descriptors(t); after > before+1 { // the poller's may come
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// spoken is a connection to somebody who says what was written down, and then is gone.
func spoken(t testing.TB, words []byte) Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Write(fds[1], words)
	_ = unix.Shutdown(fds[1], unix.SHUT_WR)
	c := conn(t, fds[0])
	t.Cleanup(func() { unix.Close(fds[1]); c.Close() })
	return c
}

// FuzzAnswers hears any answers.
func FuzzAnswers(f *testing.F) {
	said := func(all ...[]byte) []byte { return slices.Concat(all...) }
	message := func(r vhostwire.Request, p []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(r))
		b = binary.LittleEndian.AppendUint32(b, 1|vhostwire.FlagReply)
		return append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	features := message(vhostwire.GetFeatures, vhostwire.U64(userFeatures|vhostwire.FeatureProtocol))
	f.Add(said(features))
	f.Add(said(message(vhostwire.GetFeatures, vhostwire.U64(featureVersion1)), message(vhostwire.GetVringBase, vhostwire.State(0, 77)), message(vhostwire.GetVringBase, vhostwire.State(1, 5))))
	f.Add(said(features, message(vhostwire.GetProtocolFeatures, vhostwire.U64(vhostback.AllProtocol)), message(vhostwire.GetQueueNum, vhostwire.U64(1<<40))))
	f.Add(said(features, message(vhostwire.GetProtocolFeatures, vhostwire.U64(0))))
	f.Fuzz(func(t *testing.T, words []byte) {
		s := newSession(spoken(t, words), time.Minute)
		done := make(chan struct{})
		go func() { defer close(done); s.read() }()
		err := s.negotiate()
		if err == nil {
			_ = s.serve(vhost.Setup{Rings: make([]vhost.Ring, 2)}, nil, nil, []bool{true})
			if bases, err := s.halt(); err == nil && len(bases) != s.serving && len(bases) != 2 {
				t.Errorf("%d bases", len(bases))
			}
		}
		if s.queues > maxQueues {
			t.Errorf("%d queues", s.queues)
		}
		s.end(io.EOF)
		<-done
	})
}

// BenchmarkEcho measures a packet's way to a back end and back.
func BenchmarkEcho(b *testing.B) {
	r := newRig(b, vhostback.New(b), 1, virtiotest.Options{EventIdx: true, Wired: true})
	s := r.station(0)
	b.ReportAllocs()
	for b.Loop() {
		mark := r.driver.Mark()
		s.echo(b, 64)
		r.driver.Release(mark)
	}
}
