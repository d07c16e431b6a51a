package virtionet

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"hv/devices/virtio"
	"hv/devices/virtio/vhost"
	"hv/devices/virtio/virtiotest"
)

// motor is a cable whose rings are served elsewhere: what the guest sends it receives.
type motor struct {
	*cable
	lacks   uint64 // features that it cannot do
	refuses bool
	forgets bool // it does not know at the end where the rings are

	mu     sync.Mutex
	served []vhost.Setup
	echo   *virtiotest.Echo
}

var errMotor = errors.New("the motor is broken")

func (m *motor) Limit(features uint64) uint64 { return features &^ m.lacks }

func (m *motor) Serve(s vhost.Setup) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuses {
		return errMotor
	}
	if m.echo != nil {
		panic("rings are handed over twice")
	}
	m.served = append(m.served, s)
	m.echo, err = virtiotest.NewEcho(s)
	return err
}

func (m *motor) Halt() ([]uint32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.echo == nil {
		panic("nothing was handed over")
	}
	bases := m.echo.Stop()
	m.echo = nil
	if m.forgets {
		return nil, errMotor
	}
	return bases, nil
}

func (m *motor) runs() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.echo != nil
}

// doubts is a host that hears of engines that refuse.
type doubts struct {
	host
	mu   sync.Mutex
	errs []error
}

func (d *doubts) EngineRefused(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs = append(d.errs, err)
}

func motored(t testing.TB, queues int, m *motor, o virtiotest.Options) (*Device, *virtiotest.Driver, *doubts) {
	t.Helper()
	m.cable = newCable(t, queues)
	t.Cleanup(m.close)
	h := &doubts{}
	dev, err := New(fullConfig(), m, h)
	if err != nil {
		t.Fatal(err)
	}
	o.Shared = true
	return dev, virtiotest.NewDriver(t, dev, o), h
}

// station is a guest's queue pair with buffers to receive into.
type station struct {
	d    *virtiotest.Driver
	pair int
	at   map[uint16]uint64
}

func newStation(d *virtiotest.Driver, pair int) *station {
	return &station{d, pair, offer(d, 2*pair, 64, 2048)}
}

// echo sends a packet and receives it.
func (s *station) echo(t *testing.T, n int) {
	t.Helper()
	p := packet(MAC{2, byte(n), byte(s.pair)}, n%1400)
	s.d.Send(2*s.pair+1, 0, p)
	token, written := s.d.Wait(2 * s.pair)
	got := s.d.Bytes(s.at[token], int(written))
	if !bytes.Equal(got[headerSize:], p[headerSize:]) {
		t.Fatalf("packet %d came back as %d bytes of %d", n, len(got), len(p))
	}
	a := s.at[token]
	delete(s.at, token)
	s.at[s.d.Add(2*s.pair, virtiotest.Buf{Addr: a, Len: 2048, Write: true})] = a
	s.d.Kick(2 * s.pair)
}

func engineOptions() []virtiotest.Options {
	return []virtiotest.Options{{}, {Wired: true, EventIdx: true}, {EventIdx: true, Indirect: true}}
}

// TestEngine has packets moved by an engine, which loses and regains the rings in every way.
func TestEngine(t *testing.T) {
	for i, o := range engineOptions() {
		for _, forgets := range []bool{false, true} {
			t.Run(fmt.Sprint(i, forgets), func(t *testing.T) {
				m := &motor{forgets: forgets}
				dev, d, _ := motored(t, 1, m, o)
				s := newStation(d, 0)
				for n := range 300 {
					switch {
					case n%50 == 7:
						dev.Pause()
						if m.runs() {
							t.Fatal("it is served in a pause")
						}
						dev.Resume()
					case n%50 == 23:
						dev.SetLink(false)
						if m.runs() {
							t.Fatal("it is served with the link down")
						}
						d.Send(1, 0, packet(MAC{2}, 5)) // lost
						dev.SetLink(true)
					case n%50 == 31:
						dev.Rewire(0, -1)
					case n%50 == 40:
						d.Reset()
						if m.runs() {
							t.Fatal("it is served after a reset")
						}
						d.Activate()
						s = newStation(d, 0)
					}
					s.echo(t, n)
				}
				if n := len(m.served[0].Rings); n != 2 || m.served[0].Features&virtio.FeatureVersion1 == 0 {
					t.Errorf("%d rings, features %#x", n, m.served[0].Features)
				}
			})
		}
	}
}

// TestEngineInPauses: what happens in a pause takes effect after it.
func TestEngineInPauses(t *testing.T) {
	m := &motor{}
	dev, d, _ := motored(t, 1, m, virtiotest.Options{})
	s := newStation(d, 0)
	dev.Pause()
	dev.SetLink(false)
	dev.SetLink(true)
	if m.runs() {
		t.Error("it is served in a pause")
	}
	dev.Resume()
	s.echo(t, 1)
	dev.Pause()
	dev.SetLink(false)
	dev.Resume()
	if m.runs() {
		t.Error("it is served with the link down")
	}
	d.Send(1, 0, packet(MAC{2}, 5))
	dev.Pause()
	dev.SetLink(true)
	dev.Resume()
	s.echo(t, 2)
}

// TestEngineLinks: links with an engine and without take each other's place.
func TestEngineLinks(t *testing.T) {
	m := &motor{}
	dev, d, _ := motored(t, 1, m, virtiotest.Options{})
	s := newStation(d, 0)
	s.echo(t, 1)
	if err := dev.Detach(); err != nil || m.runs() {
		t.Fatal(err, m.runs())
	}
	d.Send(1, 0, packet(MAC{2}, 5)) // lost
	plain := newCable(t, 1)
	defer plain.close()
	if err := dev.Attach(plain); err != nil {
		t.Fatal(err)
	}
	d.Send(1, 0, packet(MAC{6}, 5))
	if got := plain.take(t, 0); got[headerSize] != 6 {
		t.Error("the plain link")
	}
	if err := dev.Attach(m); err != nil {
		t.Fatal(err)
	}
	s.echo(t, 2)
	weak := &motor{cable: plain, lacks: featureMrgRxBuf}
	if err := dev.Attach(weak); err == nil || !m.runs() {
		t.Error(err)
	}
	s.echo(t, 3)
}

// TestEngineRefuses: the device's own workers move the packets then.
func TestEngineRefuses(t *testing.T) {
	m := &motor{refuses: true}
	dev, d, h := motored(t, 1, m, virtiotest.Options{})
	d.Send(1, 0, packet(MAC{4}, 5))
	if got := m.take(t, 0); got[headerSize] != 4 {
		t.Error("the packet")
	}
	dev.Pause()
	dev.Resume()
	if len(h.errs) != 1 || !errors.Is(h.errs[0], errMotor) {
		t.Errorf("%v", h.errs)
	}
	m.mu.Lock()
	m.refuses = false
	m.mu.Unlock()
	s := newStation(d, 0)
	dev.SetLink(false)
	dev.SetLink(true)
	s.echo(t, 1)
}

// TestEnginePairs: rings of all pairs are handed over, and those of a guest that knows one only
// are two.
func TestEnginePairs(t *testing.T) {
	m := &motor{lacks: 1 << 2}
	dev, d, _ := motored(t, 3, m, virtiotest.Options{})
	if n := len(m.served[0].Rings); n != 6 {
		t.Errorf("%d rings", n)
	}
	if answer, _ := d.Send(6, 1, []byte{classMQ, mqPairsSet}, []byte{3, 0}); answer[0] != ackOK {
		t.Fatal("three pairs were refused")
	}
	for pair := range 3 {
		newStation(d, pair).echo(t, pair)
	}
	h := dev.Host()
	if h == nil || len(h.Queues) != 6 || h.Queues[5].Num != 256 || h.Regions != 1 || h.Features&(1<<2) != 0 || h.Queues[1].Addr[0] != m.served[0].Rings[1].Desc {
		t.Errorf("%+v", h)
	}
	if f := dev.Limit(1<<2 | 1<<3 | virtio.FeatureRingPacked); f != 1<<3 {
		t.Errorf("features %#x", f)
	}
	dev.SetLink(false)
	if dev.Host() != nil {
		t.Error("it is said to be served with the link down")
	}
	_, _, _ = motored(t, 3, m, virtiotest.Options{Features: ^uint64(featureMQ)})
	if n := len(m.served[len(m.served)-1].Rings); n != 2 {
		t.Errorf("%d rings without MQ", n)
	}
}

// TestEngineBrokenRing: rings that make no sense break the device once it has them back.
func TestEngineBrokenRing(t *testing.T) {
	m := &motor{}
	dev, d, _ := motored(t, 1, m, virtiotest.Options{})
	_, avail, _ := d.Ring(1)
	d.Add(1, virtiotest.Buf{Addr: d.Alloc(64), Len: 64})
	avail[3] ^= 0x80 // the index is far ahead
	d.Nudge(1)
	dev.SetLink(false)
	d.AwaitBroken()
}

// BenchmarkEngineHandover measures what a pause costs.
func BenchmarkEngineHandover(b *testing.B) {
	m := &motor{}
	dev, _, _ := motored(b, 1, m, virtiotest.Options{Wired: true})
	for b.Loop() {
		dev.Pause()
		dev.Resume()
		m.served = m.served[:1]
	}
}
