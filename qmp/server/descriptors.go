package server

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// maxDescriptors is how many descriptors one message can carry (SCM_MAX_FD of Linux).
const maxDescriptors = 253

// messageReader is a connection that can carry descriptors, a *net.UnixConn.
type messageReader interface {
	ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
}

// batch is the descriptors that came together. They belong to the values that were
// read since, and when those have been dealt with and others came, the rest is closed.
type batch struct {
	mu   sync.Mutex
	fds  []int
	uses int
}

// hold says that somebody may still take a descriptor.
func (b *batch) hold() *batch {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uses++
	return b
}

// release undoes hold.
func (b *batch) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.uses--; b.uses == 0 {
		b.close()
	}
}

// close closes what nobody took. The caller has the lock.
func (b *batch) close() {
	for _, fd := range b.fds {
		_ = unix.Close(fd)
	}
	b.fds = nil
}

// take gives the first descriptor away and closes the others.
func (b *batch) take() (int, bool) {
	if b == nil {
		return -1, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.fds) == 0 {
		return -1, false
	}
	fd := b.fds[0]
	b.fds = b.fds[1:]
	b.close()
	return fd, true
}

// Descriptor returns the descriptor that the client sent with the command whose
// handler has the context ctx. It is the caller's to close. Of several that came with
// one command the first is returned and the others are closed, as QEMU does.
//
// A command that is executed out of band has none.
func Descriptor(ctx context.Context) (int, bool) {
	s, ok := ctx.Value(sessionKey{}).(*session)
	if !ok {
		return -1, false
	}
	return s.inBand.fds.take()
}

// receive reads from the client, and what descriptors come along. Those that came
// before are closed as soon as no value can want them any more.
func (s *session) receive(b []byte) (int, error) {
	c, ok := s.rwc.(messageReader)
	if !ok {
		return s.rwc.Read(b)
	}
	if s.oobBuf == nil {
		s.oobBuf = make([]byte, unix.CmsgSpace(4*maxDescriptors))
	}
	n, oobn, _, _, err := c.ReadMsgUnix(b, s.oobBuf)
	if fds := parseRights(s.oobBuf[:max(oobn, 0)]); len(fds) > 0 {
		s.came.release()
		s.came = (&batch{fds: fds}).hold()
	}
	return max(n, 0), err
}

// parseRights returns the descriptors in control messages. What is no such thing is
// ignored.
func parseRights(oob []byte) []int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var all []int
	for i := range msgs {
		if n := len(msgs[i].Data); n == 0 || n%4 != 0 {
			continue // which the parser would trip over
		}
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}
