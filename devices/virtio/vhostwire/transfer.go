package vhostwire

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// header decodes the head of a message.
func header(b []byte) (m Message, size uint32, err error) {
	m = Message{Request: Request(le.Uint32(b)), Flags: le.Uint32(b[4:])}
	size = le.Uint32(b[8:])
	if m.Flags&versionMask != version || size > maxPayload {
		err = fmt.Errorf("bad vhost-user message: request %d, flags %#x, %d bytes", m.Request, m.Flags, size)
	}
	return m, size, err
}

// Receive reads a message. Its descriptors come with its first byte and are the caller's.
func Receive(c Conn) (*Message, error) {
	h, oob := make([]byte, headerSize), make([]byte, unix.CmsgSpace(4*MaxRegions))
	n, oobn, _, _, err := c.ReadMsgUnix(h, oob)
	m := &Message{FDs: descriptors(oob[:oobn])}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err == nil {
		_, err = io.ReadFull(c, h[n:])
	}
	if err == nil {
		err = m.read(c, h)
	}
	if err != nil {
		m.CloseAll()
		return nil, err
	}
	return m, nil
}

// read reads what follows a header.
func (m *Message) read(c Conn, h []byte) error {
	head, size, err := header(h)
	if err != nil {
		return err
	}
	m.Request, m.Flags, m.Payload = head.Request, head.Flags, make([]byte, size)
	_, err = io.ReadFull(c, m.Payload)
	return err
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

// Send writes a message. The descriptors in it stay the caller's.
func Send(c Conn, m Message) error {
	b := le.AppendUint32(nil, uint32(m.Request))
	b = le.AppendUint32(b, m.Flags|version)
	b = le.AppendUint32(b, uint32(len(m.Payload)))
	b = append(b, m.Payload...)
	var oob []byte
	if len(m.FDs) > 0 {
		oob = unix.UnixRights(m.FDs...)
	}
	n, _, err := c.WriteMsgUnix(b, oob, nil)
	if err == nil && n < len(b) {
		_, err = c.Write(b[n:])
	}
	return err
}

// Reply answers a message.
func Reply(c Conn, to *Message, payload []byte) error {
	return Send(c, Message{Request: to.Request, Flags: FlagReply, Payload: payload})
}
