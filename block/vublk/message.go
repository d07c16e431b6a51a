package vublk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// Requests of a front end's, and of ours.
const (
	getFeatures         = 1
	setFeatures         = 2
	setOwner            = 3
	resetOwner          = 4
	setMemTable         = 5
	setVringNum         = 8
	setVringAddr        = 9
	setVringBase        = 10
	getVringBase        = 11
	setVringKick        = 12
	setVringCall        = 13
	setVringErr         = 14
	getProtocolFeatures = 15
	setProtocolFeatures = 16
	getQueueNum         = 17
	setVringEnable      = 18
	setBackendReqFd     = 21
	getConfig           = 24
	setConfig           = 25

	configChanged = 2 // ours
)

// Protocol features.
const (
	protocolMQ         = 1 << 0
	protocolReplyAck   = 1 << 3
	protocolBackendReq = 1 << 5
	protocolConfig     = 1 << 9
	protocolFeatures   = protocolMQ | protocolReplyAck | protocolBackendReq | protocolConfig
)

// Sizes and limits of messages.
const (
	headerSize  = 12
	maxPayload  = 512
	maxRegions  = 8
	regionSize  = 32
	version     = 1
	flagReply   = 1 << 2
	flagNeedAck = 1 << 3
	noFD        = 1 << 8 // in a message about a queue's descriptor
)

// message is a request of the front end's.
type message struct {
	request uint32
	flags   uint32
	payload []byte
	fds     []int
}

// closeAll closes the descriptors that nobody took.
func (m *message) closeAll() {
	for _, fd := range m.fds {
		_ = unix.Close(fd)
	}
	m.fds = nil
}

// takeFD gives away the first descriptor, -1 if there is none.
func (m *message) takeFD() int {
	if len(m.fds) == 0 {
		return -1
	}
	fd := m.fds[0]
	m.fds = m.fds[1:]
	return fd
}

// u64 returns the payload of messages that have one number.
func (m *message) u64() (uint64, error) {
	if len(m.payload) != 8 {
		return 0, fmt.Errorf("request %d of %d bytes", m.request, len(m.payload))
	}
	return le.Uint64(m.payload), nil
}

// state returns the payload of messages about a queue: its index, and a number.
func (m *message) state() (index, number uint32, err error) {
	v, err := m.u64()
	return uint32(v), uint32(v >> 32), err
}

// receive reads a message. Descriptors come with its first byte.
func receive(c *net.UnixConn) (*message, error) {
	h, oob := make([]byte, headerSize), make([]byte, unix.CmsgSpace(4*maxRegions))
	n, oobn, _, _, err := c.ReadMsgUnix(h, oob)
	m := &message{fds: descriptors(oob[:oobn])}
	if err == nil && n == 0 {
		err = net.ErrClosed
	}
	if err == nil && n < headerSize {
		err = readAll(c, h[n:])
	}
	if err != nil {
		m.closeAll()
		return nil, err
	}
	m.request, m.flags = le.Uint32(h), le.Uint32(h[4:])
	size := le.Uint32(h[8:])
	if m.flags&3 != version || m.flags&flagReply != 0 || size > maxPayload {
		m.closeAll()
		return nil, fmt.Errorf("bad message: request %d, flags 0x%x, %d bytes", m.request, m.flags, size)
	}
	m.payload = make([]byte, size)
	if err := readAll(c, m.payload); err != nil {
		m.closeAll()
		return nil, err
	}
	return m, nil
}

func readAll(c *net.UnixConn, b []byte) error {
	for len(b) > 0 {
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// descriptors returns those that came with a message.
func descriptors(oob []byte) (fds []int) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range all {
		if some, err := unix.ParseUnixRights(&all[i]); err == nil {
			fds = append(fds, some...)
		}
	}
	return fds
}

// reply answers a message.
func reply(c *net.UnixConn, m *message, payload []byte) error {
	return send(c, m.request, version|flagReply, payload)
}

func send(c *net.UnixConn, request, flags uint32, payload []byte) error {
	b := le.AppendUint32(nil, request)
	b = le.AppendUint32(b, flags)
	b = le.AppendUint32(b, uint32(len(payload)))
	_, err := c.Write(append(b, payload...))
	return err
}

// region is a part of the front end's memory.
type region struct{ guest, size, user, offset uint64 }

// parseRegions reads a memory table.
func parseRegions(b []byte) ([]region, error) {
	if len(b) < 8 {
		return nil, errors.New("short memory table")
	}
	n := int(le.Uint32(b))
	if n > maxRegions || len(b) < 8+n*regionSize {
		return nil, fmt.Errorf("memory table of %d regions in %d bytes", n, len(b))
	}
	var all []region
	for i := range n {
		r := b[8+i*regionSize:]
		x := region{le.Uint64(r), le.Uint64(r[8:]), le.Uint64(r[16:]), le.Uint64(r[24:])}
		if x.size == 0 || x.guest+x.size < x.guest || x.user+x.size < x.user || x.offset+x.size < x.offset || x.offset+x.size > 1<<62 {
			return nil, fmt.Errorf("memory region %d makes no sense", i)
		}
		all = append(all, x)
	}
	return all, nil
}
