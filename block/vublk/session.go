package vublk

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"hv/hypervisor/mem"
)

// session is a client of a device's. It belongs to the goroutine that reads messages, but
// for back, which the device's lock guards.
type session struct {
	dev      *Device
	conn     *net.UnixConn
	features uint64
	protocol uint64
	regions  []region
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

// run answers messages until the client goes.
func (s *session) run() error {
	defer s.end()
	for {
		m, err := receive(s.conn)
		if err != nil {
			return err
		}
		err = s.handle(m)
		m.closeAll()
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
func (s *session) handle(m *message) error {
	answered, err := s.asked(m)
	if !answered && err == nil {
		err = s.told(m)
		if m.flags&flagNeedAck != 0 && s.protocol&protocolReplyAck != 0 {
			result := uint64(0)
			if err != nil {
				s.dev.cfg.Log(fmt.Errorf("vhost-user client: %w", err))
				result, err = 1, nil
			}
			return reply(s.conn, m, le.AppendUint64(nil, result))
		}
	}
	return err
}

// asked answers questions.
func (s *session) asked(m *message) (bool, error) {
	number := func(v uint64) (bool, error) { return true, reply(s.conn, m, le.AppendUint64(nil, v)) }
	switch m.request {
	case getFeatures:
		return number(s.dev.features())
	case getProtocolFeatures:
		return number(protocolFeatures)
	case getQueueNum:
		return number(uint64(len(s.queues)))
	case getVringBase:
		index, _, err := m.state()
		if err != nil {
			return true, err
		}
		q, err := s.queue(index)
		if err != nil {
			return true, err
		}
		q.stop()
		q.kickFD(-1)
		return true, reply(s.conn, m, le.AppendUint32(le.AppendUint32(nil, index), uint32(q.base)))
	case getConfig:
		return true, s.sendConfig(m)
	}
	return false, nil
}

// sendConfig answers with a part of the configuration space. An answer of another size than
// the question tells that there is none.
func (s *session) sendConfig(m *message) error {
	if len(m.payload) < 12 {
		return errors.New("short question for the configuration")
	}
	off, n := le.Uint32(m.payload), le.Uint32(m.payload[4:])
	all := s.dev.config()
	if off > configSize || n > configSize-off || int(n) > len(m.payload)-12 {
		return reply(s.conn, m, nil)
	}
	copy(m.payload[12:], all[off:off+n])
	return reply(s.conn, m, m.payload)
}

// told does what a message says.
func (s *session) told(m *message) error {
	switch m.request {
	case setOwner, resetOwner:
		return nil
	case setMemTable:
		return s.setMemory(m)
	case setBackendReqFd:
		return s.setBack(m.takeFD())
	case setConfig:
		return s.setConfig(m.payload)
	case setVringAddr:
		return s.setAddresses(m.payload)
	case setVringKick, setVringCall, setVringErr, setFeatures, setProtocolFeatures:
		v, err := m.u64()
		if err != nil {
			return err
		}
		return s.set(m, v)
	case setVringNum, setVringBase, setVringEnable:
		index, n, err := m.state()
		if err != nil {
			return err
		}
		q, err := s.queue(index)
		if err != nil {
			return err
		}
		return q.set(m.request, n)
	}
	return fmt.Errorf("unknown request %d", m.request)
}

// set does what messages of one number say.
func (s *session) set(m *message, v uint64) error {
	switch m.request {
	case setFeatures:
		if v&^s.dev.features() != 0 {
			return fmt.Errorf("features 0x%x were not offered", v&^s.dev.features())
		}
		s.stopAll()
		s.features = v
		return s.startAll()
	case setProtocolFeatures:
		if v&^protocolFeatures != 0 {
			return fmt.Errorf("protocol features 0x%x were not offered", v&^uint64(protocolFeatures))
		}
		s.protocol = v
		return nil
	}
	q, err := s.queue(uint32(v & 0xff))
	if err != nil {
		return err
	}
	fd := -1
	if v&noFD == 0 {
		if fd = m.takeFD(); fd < 0 {
			return errors.New("no descriptor came")
		}
	}
	q.stop()
	switch m.request {
	case setVringKick:
		q.kickFD(fd)
		q.started = true
	case setVringCall:
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
func (s *session) setMemory(m *message) error {
	all, err := parseRegions(m.payload)
	if err != nil {
		return err
	}
	if len(all) != len(m.fds) {
		return fmt.Errorf("memory table of %d regions with %d descriptors", len(all), len(m.fds))
	}
	s.stopAll()
	s.unmap()
	if s.mem, err = mem.New(); err != nil {
		return err
	}
	for i, r := range all {
		if err := s.mapRegion(r, m.fds[i]); err != nil {
			s.unmap()
			return fmt.Errorf("memory region %d: %w", i, err)
		}
	}
	return s.startAll()
}

func (s *session) mapRegion(r region, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && uint64(st.Size) < r.offset+r.size {
		return fmt.Errorf("its file has %d bytes, not %d", st.Size, r.offset+r.size)
	}
	b, err := unix.Mmap(fd, 0, int(r.offset+r.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	s.maps = append(s.maps, b)
	s.regions = append(s.regions, r)
	return s.mem.Add(mem.Region{Base: r.guest, Data: b[r.offset:]})
}

// guest returns where in the guest's memory an address of the client's is.
func (s *session) guest(user uint64) (uint64, error) {
	for _, r := range s.regions {
		if user >= r.user && user-r.user < r.size {
			return r.guest + (user - r.user), nil
		}
	}
	return 0, fmt.Errorf("address %#x is not in shared memory", user)
}

// setAddresses says where a queue's parts are.
func (s *session) setAddresses(b []byte) error {
	if len(b) != 40 {
		return fmt.Errorf("addresses of %d bytes", len(b))
	}
	q, err := s.queue(le.Uint32(b))
	if err != nil {
		return err
	}
	q.stop()
	q.desc, q.used, q.avail = le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])
	return q.start()
}

// setConfig changes the one thing that can be: whether writes wait for the medium.
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
		_ = send(s.back, configChanged, version, nil)
	}
}
