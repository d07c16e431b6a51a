package vublk

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/vhostwire"
	"hv/hypervisor/mem"
)

// session is a client of a device's. It belongs to the goroutine that reads messages, but
// for back, which the device's lock guards.
type session struct {
	dev      *Device
	conn     *net.UnixConn
	features uint64
	protocol uint64
	regions  []vhostwire.Region
	mem      *mem.Memory
	maps     [][]byte
	queues   []*vring
	back     *net.UnixConn // for messages of ours
}

func newSession(d *Device, c *net.UnixConn) *session {
	s := &session{dev: d, conn: c}
	for i := range d.cfg.Queues {
		s.queues = append(s.queues, &vring{session: s, index: int(i), call: -1, err: -1})
	}
	return s
}

// errAnswer ends a session with a client that answers where it is to ask.
var errAnswer = errors.New("the client answers where it is to ask")

// run answers messages until the client goes.
func (s *session) run() error {
	defer s.end()
	for {
		m, err := vhostwire.Receive(s.conn)
		if err != nil {
			return err
		}
		if err = errAnswer; m.Flags&vhostwire.FlagReply == 0 {
			err = s.handle(m)
		}
		m.CloseAll()
		if err != nil {
			return err
		}
	}
}

func (s *session) end() {
	_ = s.conn.Close()
	s.stopAll()
	for _, q := range s.queues {
		q.close()
	}
	s.unmap()
	s.dev.mu.Lock()
	defer s.dev.mu.Unlock()
	if s.back != nil {
		_ = s.back.Close()
		s.back = nil
	}
}

func (s *session) stopAll() {
	for _, q := range s.queues {
		q.stop()
	}
}

func (s *session) unmap() {
	for _, b := range s.maps {
		_ = unix.Munmap(b)
	}
	s.maps, s.regions, s.mem = nil, nil, nil
}

// handle answers a message.
func (s *session) handle(m *vhostwire.Message) error {
	answered, err := s.asked(m)
	if !answered && err == nil {
		err = s.told(m)
		if m.Flags&vhostwire.FlagNeedAck != 0 && s.protocol&vhostwire.ProtocolReplyAck != 0 {
			result := uint64(0)
			if err != nil {
				s.dev.cfg.Log(fmt.Errorf("vhost-user client: %w", err))
				result, err = 1, nil
			}
			return vhostwire.Reply(s.conn, m, vhostwire.U64(result))
		}
	}
	return err
}

// asked answers questions.
func (s *session) asked(m *vhostwire.Message) (bool, error) {
	number := func(v uint64) (bool, error) { return true, vhostwire.Reply(s.conn, m, vhostwire.U64(v)) }
	switch m.Request {
	case vhostwire.GetFeatures:
		return number(s.dev.features())
	case vhostwire.GetProtocolFeatures:
		return number(protocolFeatures)
	case vhostwire.GetQueueNum:
		return number(uint64(len(s.queues)))
	case vhostwire.GetVringBase:
		index, _, err := m.State()
		if err != nil {
			return true, err
		}
		q, err := s.queue(index)
		if err != nil {
			return true, err
		}
		q.stop()
		q.kickFD(-1)
		return true, vhostwire.Reply(s.conn, m, vhostwire.State(index, uint32(q.base)))
	case vhostwire.GetConfig:
		return true, s.sendConfig(m)
	}
	return false, nil
}

// sendConfig answers with a part of the configuration space. An answer of another size than
// the question tells that there is none.
func (s *session) sendConfig(m *vhostwire.Message) error {
	if len(m.Payload) < 12 {
		return errors.New("short question for the configuration")
	}
	off, n := le.Uint32(m.Payload), le.Uint32(m.Payload[4:])
	all := s.dev.config()
	if off > configSize || n > configSize-off || int(n) > len(m.Payload)-12 {
		return vhostwire.Reply(s.conn, m, nil)
	}
	copy(m.Payload[12:], all[off:off+n])
	return vhostwire.Reply(s.conn, m, m.Payload)
}

// told does what a message says.
func (s *session) told(m *vhostwire.Message) error {
	switch m.Request {
	case vhostwire.SetOwner, vhostwire.ResetOwner:
		return nil
	case vhostwire.SetMemTable:
		return s.setMemory(m)
	case vhostwire.SetBackendReqFD:
		return s.setBack(m.TakeFD())
	case vhostwire.SetConfig:
		return s.setConfig(m.Payload)
	case vhostwire.SetVringAddr:
		return s.setAddresses(m.Payload)
	case vhostwire.SetVringKick, vhostwire.SetVringCall, vhostwire.SetVringErr, vhostwire.SetFeatures, vhostwire.SetProtocolFeatures:
		v, err := m.U64()
		if err != nil {
			return err
		}
		return s.set(m, v)
	case vhostwire.SetVringNum, vhostwire.SetVringBase, vhostwire.SetVringEnable:
		index, n, err := m.State()
		if err != nil {
			return err
		}
		q, err := s.queue(index)
		if err != nil {
			return err
		}
		return q.set(m.Request, n)
	}
	return fmt.Errorf("unknown request %d", m.Request)
}

// set does what messages of one number say.
func (s *session) set(m *vhostwire.Message, v uint64) error {
	switch m.Request {
	case vhostwire.SetFeatures:
		if v&^s.dev.features() != 0 {
			return fmt.Errorf("features 0x%x were not offered", v&^s.dev.features())
		}
		s.stopAll()
		s.features = v
		return s.startAll()
	case vhostwire.SetProtocolFeatures:
		if v&^protocolFeatures != 0 {
			return fmt.Errorf("protocol features 0x%x were not offered", v&^uint64(protocolFeatures))
		}
		s.protocol = v
		return nil
	}
	q, err := s.queue(uint32(v & vhostwire.RingMask))
	if err != nil {
		return err
	}
	fd := -1
	if v&vhostwire.NoFD == 0 {
		if fd = m.TakeFD(); fd < 0 {
			return errors.New("no descriptor came")
		}
	}
	q.stop()
	switch m.Request {
	case vhostwire.SetVringKick:
		q.kickFD(fd)
		q.started = true
	case vhostwire.SetVringCall:
		replaceFD(&q.call, fd)
	default:
		replaceFD(&q.err, fd)
	}
	return q.start()
}

func (s *session) queue(index uint32) (*vring, error) {
	if int(index) >= len(s.queues) {
		return nil, fmt.Errorf("there is no queue %d", index)
	}
	return s.queues[index], nil
}

func (s *session) startAll() error {
	for _, q := range s.queues {
		if err := q.start(); err != nil {
			return err
		}
	}
	return nil
}

// setMemory maps the client's memory. Queues stand still meanwhile.
func (s *session) setMemory(m *vhostwire.Message) error {
	all, err := vhostwire.ParseRegions(m.Payload)
	if err != nil {
		return err
	}
	if len(all) != len(m.FDs) {
		return fmt.Errorf("memory table of %d regions with %d descriptors", len(all), len(m.FDs))
	}
	s.stopAll()
	s.unmap()
	if s.mem, err = mem.New(); err != nil {
		return err
	}
	for i, r := range all {
		if err := s.mapRegion(r, m.FDs[i]); err != nil {
			s.unmap()
			return fmt.Errorf("memory region %d: %w", i, err)
		}
	}
	return s.startAll()
}

func (s *session) mapRegion(r vhostwire.Region, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && uint64(st.Size) < r.Offset+r.Size {
		return fmt.Errorf("its file has %d bytes, not %d", st.Size, r.Offset+r.Size)
	}
	b, err := unix.Mmap(fd, 0, int(r.Offset+r.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	s.maps = append(s.maps, b)
	s.regions = append(s.regions, r)
	return s.mem.Add(mem.Region{Base: r.Guest, Data: b[r.Offset:]})
}

// guest returns where in the guest's memory an address of the client's is.
func (s *session) guest(user uint64) (uint64, error) {
	for _, r := range s.regions {
		if user >= r.User && user-r.User < r.Size {
			return r.Guest + (user - r.User), nil
		}
	}
	return 0, fmt.Errorf("address %#x is not in shared memory", user)
}

// setAddresses says where a queue's parts are.
func (s *session) setAddresses(b []byte) error {
	at, err := vhostwire.ParseAddresses(b)
	if err != nil {
		return err
	}
	q, err := s.queue(at.Index)
	if err != nil {
		return err
	}
	q.stop()
	q.desc, q.used, q.avail = at.Desc, at.Used, at.Avail
	return q.start()
}

// vhostwire.SetConfig changes the one thing that can be: whether writes wait for the medium.
func (s *session) setConfig(b []byte) error {
	if len(b) != 13 || le.Uint32(b) != configWCE || le.Uint32(b[4:]) != 1 {
		return errors.New("only the write cache can be set")
	}
	s.dev.writeThrough.Store(b[12] == 0)
	return nil
}

// setBack takes the channel for messages of ours.
func (s *session) setBack(fd int) error {
	if fd < 0 {
		return errors.New("no descriptor came")
	}
	f := os.NewFile(uintptr(fd), "backend channel")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.Join(errors.New("the channel is no UNIX socket"), c.Close())
	}
	s.dev.mu.Lock()
	defer s.dev.mu.Unlock()
	if s.back != nil {
		_ = s.back.Close()
	}
	s.back = u
	return nil
}

// configChanged tells the client to look at the configuration again. The caller holds the
// device's lock.
func (s *session) configChanged() {
	if s.back != nil {
		// A client that does not listen has no use for it.
		_ = vhostwire.Send(s.back, vhostwire.Message{Request: vhostwire.ConfigChanged})
	}
}
