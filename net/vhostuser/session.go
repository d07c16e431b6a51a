package vhostuser

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"hv/devices/virtio/vhost"
	"hv/devices/virtio/vhostwire"
)

// session is a connection. Its requests are made by one goroutine at a time, and another
// one reads the answers.
type session struct {
	conn     Conn
	patience time.Duration
	answers  chan *vhostwire.Message
	asking   atomic.Bool
	dead     chan struct{} // closed when the connection is
	once     sync.Once
	why      error // before dead is closed

	features uint64 // of the back end
	protocol uint64 // features that were agreed on
	queues   int    // pairs that the back end can serve
	serving  int    // rings that it has
}

func newSession(c Conn, patience time.Duration) *session {
	return &session{conn: c, patience: patience, answers: make(chan *vhostwire.Message), dead: make(chan struct{})}
}

// end closes the connection. why is nil if that is as it should be.
func (s *session) end(why error) {
	s.once.Do(func() {
		s.why = why
		_ = s.conn.Close()
		close(s.dead)
	})
}

// wait returns when the connection is closed, and why.
func (s *session) wait() error {
	<-s.dead
	return s.why
}

// read takes answers until the connection ends. One that nobody asked for ends it.
func (s *session) read() {
	for {
		m, err := vhostwire.Receive(s.conn)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				err = nil
			}
			s.end(err)
			return
		}
		m.CloseAll() // no answer has descriptors
		if !s.asking.Load() {
			s.end(fmt.Errorf("it answers request %d, which was not made", m.Request))
			return
		}
		select {
		case s.answers <- m:
		case <-s.dead:
			return
		}
	}
}

func (s *session) send(m vhostwire.Message) error {
	err := s.conn.SetWriteDeadline(time.Now().Add(s.patience))
	if err == nil {
		err = vhostwire.Send(s.conn, m)
	}
	if err != nil {
		return s.fault(fmt.Errorf("request %d: %w", m.Request, err))
	}
	return nil
}

// ask sends a request and returns the answer, which is one to that request.
func (s *session) ask(m vhostwire.Message) (*vhostwire.Message, error) {
	s.asking.Store(true)
	defer s.asking.Store(false)
	if err := s.send(m); err != nil {
		return nil, err
	}
	limit := time.NewTimer(s.patience)
	defer limit.Stop()
	select {
	case a := <-s.answers:
		if a.Request != m.Request || a.Flags&vhostwire.FlagReply == 0 {
			return nil, s.fault(fmt.Errorf("request %d: the answer is one to request %d, flags %#x", m.Request, a.Request, a.Flags))
		}
		return a, nil
	case <-s.dead:
		return nil, fmt.Errorf("%w: %w", ErrNoBackend, cmp.Or(s.why, error(net.ErrClosed)))
	case <-limit.C:
		return nil, s.fault(fmt.Errorf("request %d: %w", m.Request, errTimeout))
	}
}

// fault ends the connection because of an error.
func (s *session) fault(err error) error {
	s.end(err)
	return err
}

// number asks for a number.
func (s *session) number(r vhostwire.Request) (uint64, error) {
	a, err := s.ask(vhostwire.Message{Request: r})
	if err != nil {
		return 0, err
	}
	return a.U64()
}

// tell says something, and returns the back end's opinion if it gives one.
func (s *session) tell(r vhostwire.Request, payload []byte, fds ...int) error {
	m := vhostwire.Message{Request: r, Payload: payload, FDs: fds}
	if s.protocol&vhostwire.ProtocolReplyAck == 0 {
		return s.send(m)
	}
	m.Flags = vhostwire.FlagNeedAck
	a, err := s.ask(m)
	if err != nil {
		return err
	}
	if v, err := a.U64(); err != nil || v != 0 {
		return errors.Join(fmt.Errorf("request %d: the back end refuses it", r), err)
	}
	return nil
}

// tellFD says which descriptor belongs to a ring, -1 is none.
func (s *session) tellFD(r vhostwire.Request, ring, fd int) error {
	if fd < 0 {
		return s.tell(r, vhostwire.U64(uint64(ring)|vhostwire.NoFD))
	}
	return s.tell(r, vhostwire.U64(uint64(ring)), fd)
}

// Features that the back end decides on, of virtio 1.2 §5.1.3 and §6: checksums, segmentation
// offloads, merged buffers, announcements, several queues, hashes, and those of rings.
const (
	featureCtrlOffloads = 1 << 2
	featureMQ           = 1 << 22
	featureVersion1     = 1 << 32

	userFeatures = 1<<0 | 1<<1 | 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12 | 1<<13 | 1<<14 | 1<<15 |
		1<<21 | featureMQ | 1<<24 | 1<<27 | 1<<28 | 1<<29 | featureVersion1 | 1<<33 | 1<<34 | 1<<40 | 0xf<<54 | 1<<57 | 1<<60

	protocolFeatures = vhostwire.ProtocolMQ | vhostwire.ProtocolRARP | vhostwire.ProtocolReplyAck | vhostwire.ProtocolNetMTU | vhostwire.ProtocolStatus
)

// negotiate finds out what the back end can do.
func (s *session) negotiate() (err error) {
	s.queues = 1
	if s.features, err = s.number(vhostwire.GetFeatures); err != nil {
		return err
	}
	if s.features&featureVersion1 == 0 {
		return errors.New("it does not know virtio 1.0")
	}
	if s.features&vhostwire.FeatureProtocol != 0 {
		if err := s.negotiateProtocol(); err != nil {
			return err
		}
	}
	return s.tell(vhostwire.SetOwner, nil)
}

func (s *session) negotiateProtocol() error {
	p, err := s.number(vhostwire.GetProtocolFeatures)
	if err != nil {
		return err
	}
	p &= protocolFeatures
	if err := s.send(vhostwire.Message{Request: vhostwire.SetProtocolFeatures, Payload: vhostwire.U64(p)}); err != nil {
		return err
	}
	s.protocol = p
	if p&vhostwire.ProtocolMQ == 0 {
		s.features &^= featureMQ
		return nil
	}
	n, err := s.number(vhostwire.GetQueueNum)
	s.queues = int(min(n, maxQueues))
	return err
}

const ringsPerPair = 2

// Device status (virtio 1.2 §2.1).
const (
	statusAccepted = 1 | 2 | 8
	statusReady    = statusAccepted | 4
)

// serve hands everything over.
func (s *session) serve(u vhost.Setup, table []byte, fds []int, enabled []bool) error {
	features := u.Features&userFeatures | s.features&vhostwire.FeatureProtocol
	if err := s.tell(vhostwire.SetFeatures, vhostwire.U64(features)); err != nil {
		return err
	}
	if u.MTU != 0 && s.protocol&vhostwire.ProtocolNetMTU != 0 {
		if err := s.tell(vhostwire.NetSetMTU, vhostwire.U64(uint64(u.MTU))); err != nil {
			return err
		}
	}
	if err := s.status(statusAccepted); err != nil {
		return err
	}
	if err := s.tell(vhostwire.SetMemTable, table, fds...); err != nil {
		return err
	}
	s.serving = len(u.Rings)
	for i, r := range u.Rings {
		if err := s.ring(i, r); err != nil {
			return err
		}
	}
	for pair := range len(u.Rings) / ringsPerPair {
		if err := s.enable(pair, enabled[pair]); err != nil {
			return err
		}
	}
	return s.status(statusReady)
}

// memory encodes the memory table.
func memory(all []vhost.Region) (table []byte, fds []int, err error) {
	if len(all) > vhostwire.MaxRegions {
		return nil, nil, vhost.ErrTooMuchMemory
	}
	var regions []vhostwire.Region
	for _, r := range all {
		if r.FD < 0 {
			return nil, nil, ErrNotShared
		}
		regions = append(regions, vhostwire.Region{Guest: r.Guest, Size: r.Size, User: r.User, Offset: r.Offset})
		fds = append(fds, r.FD)
	}
	return vhostwire.Regions(regions), fds, nil
}

// ring hands ring i over. With the descriptor of its kicks the back end may begin.
func (s *session) ring(i int, r vhost.Ring) error {
	n := uint32(i)
	if err := s.tell(vhostwire.SetVringNum, vhostwire.State(n, uint32(r.Size))); err != nil {
		return err
	}
	if err := s.tell(vhostwire.SetVringBase, vhostwire.State(n, r.Base)); err != nil {
		return err
	}
	at := vhostwire.Addresses{Index: n, Desc: r.Desc, Used: r.Device, Avail: r.Driver}
	if err := s.tell(vhostwire.SetVringAddr, at.Append(nil)); err != nil {
		return err
	}
	if err := s.tellFD(vhostwire.SetVringCall, i, r.Call); err != nil {
		return err
	}
	return s.tellFD(vhostwire.SetVringKick, i, r.Kick)
}

// enable switches a queue pair on or off. Without protocol features rings are always on.
func (s *session) enable(pair int, on bool) error {
	if s.features&vhostwire.FeatureProtocol == 0 {
		return nil
	}
	v := uint32(0)
	if on {
		v = 1
	}
	for i := range ringsPerPair {
		if err := s.tell(vhostwire.SetVringEnable, vhostwire.State(uint32(ringsPerPair*pair+i), v)); err != nil {
			return err
		}
	}
	return nil
}

// status tells the back end the device's status, if it wants to know.
func (s *session) status(v uint64) error {
	if s.protocol&vhostwire.ProtocolStatus == 0 {
		return nil
	}
	return s.tell(vhostwire.SetStatus, vhostwire.U64(v))
}

// halt takes the rings back and returns how far they were served.
func (s *session) halt() (bases []uint32, err error) {
	for i := range s.serving {
		a, err := s.ask(vhostwire.Message{Request: vhostwire.GetVringBase, Payload: vhostwire.State(uint32(i), 0)})
		if err != nil {
			return nil, err
		}
		index, base, err := a.State()
		if err == nil && index != uint32(i) {
			err = fmt.Errorf("the back end answers about ring %d, not %d", index, i)
		}
		if err != nil {
			return nil, err
		}
		bases = append(bases, base)
	}
	s.serving = 0
	return bases, s.status(0)
}

// rarp has the back end announce an address.
func (s *session) rarp(mac [6]byte) error {
	var b [8]byte
	copy(b[:], mac[:])
	return s.tell(vhostwire.SendRARP, b[:])
}
