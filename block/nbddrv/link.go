package nbddrv

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/nbdproto"
)

// maxCalls is how many requests one connection has under way at most.
const maxCalls = 16

// errBroken is a request whose connection broke before it was answered.
var errBroken = errors.New("the connection broke")

// call is a request under way.
type call struct {
	q      nbdproto.Request
	v      [][]byte // a read's
	busy   bool     // it waits for its reply
	done   bool
	err    error
	extent nbdproto.Extent
	moved  uint64 // bytes that came
	wake   chan struct{}
}

// link is a connection to a server.
type link struct {
	conn  net.Conn
	offer *nbdproto.Offer
	under atomic.Int32
	free  chan int // places in calls

	send sync.Mutex // held while a request is written
	head [nbdproto.RequestSize]byte
	base [][]byte
	vec  net.Buffers

	in      nbdproto.Reader // of whoever reads
	scratch []byte

	mu      sync.Mutex
	calls   [maxCalls]call
	next    uint64
	reading bool  // somebody reads replies
	broken  error // why there will be no more
}

func newLink(o *nbdproto.Offer) *link {
	l := &link{conn: o.Conn, offer: o, free: make(chan int, maxCalls), in: nbdproto.NewReader(o.Conn)}
	for i := range l.calls {
		l.calls[i].wake = make(chan struct{}, 1)
		l.free <- i
	}
	return l
}

// kill ends the connection. Whoever reads replies fails the requests then, so that nobody
// else fills their buffers any more.
func (l *link) kill(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = err
		_ = l.conn.Close()
	}
}

// failAll ends all requests: nobody can say what becomes of them.
func (l *link) failAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.calls {
		if c := &l.calls[i]; c.busy {
			l.finish(c, errBroken)
		}
	}
}

// reason returns why the connection ended.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// leave ends the connection as a client should.
func (l *link) leave() {
	q := nbdproto.Request{Type: nbdproto.CmdDisc}
	// Nobody waits for a server that does not listen.
	_ = l.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = l.write(&q, nil)
	l.kill(net.ErrClosed)
}

// finish marks a request as answered. The caller holds mu.
func (l *link) finish(c *call, err error) {
	if c.done {
		return
	}
	c.done, c.err = true, err
	c.nudge()
}

// nudge wakes who waits, or keeps him from falling asleep.
func (c *call) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// do sends a request and returns once it is answered.
func (l *link) do(q nbdproto.Request, v [][]byte) (nbdproto.Extent, error) {
	l.under.Add(1)
	i := <-l.free
	defer func() {
		l.free <- i
		l.under.Add(-1)
	}()
	c := &l.calls[i]
	l.mu.Lock()
	if l.broken != nil {
		l.mu.Unlock()
		return nbdproto.Extent{}, errBroken
	}
	l.next++
	q.Cookie = l.next<<8 | uint64(i)
	c.q, c.v, c.busy, c.done, c.err, c.moved, c.extent = q, v, true, false, nil, 0, nbdproto.Extent{}
	l.mu.Unlock()
	var data [][]byte
	if q.Type == nbdproto.CmdWrite {
		data = v
	}
	if err := l.write(&q, data); err != nil {
		l.kill(err)
	}
	return l.wait(c)
}

// write sends a request.
func (l *link) write(q *nbdproto.Request, data [][]byte) error {
	l.send.Lock()
	defer l.send.Unlock()
	q.Put(&l.head)
	if data == nil {
		_, err := l.conn.Write(l.head[:])
		return err
	}
	l.base = append(append(l.base[:0], l.head[:]), data...)
	l.vec = l.base
	_, err := l.vec.WriteTo(l.conn)
	clear(l.base)
	return err
}

// wait returns when a request is answered. Whoever waits reads replies if nobody else
// does.
func (l *link) wait(c *call) (nbdproto.Extent, error) {
	l.mu.Lock()
	for !c.done {
		read := !l.reading
		l.reading = true
		l.mu.Unlock()
		if read {
			l.readFor(c)
		} else {
			<-c.wake
		}
		l.mu.Lock()
	}
	c.busy, c.v = false, nil
	e, err := c.extent, c.err
	l.mu.Unlock()
	return e, err
}

// readFor reads replies until the one for a request has come, and has somebody else go on
// then.
func (l *link) readFor(c *call) {
	for {
		if err := l.reply(); err != nil {
			l.kill(err)
			l.failAll()
		}
		l.mu.Lock()
		if c.done {
			l.reading = false
			l.passOn(c)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// passOn wakes one who waits for a reply. The caller holds mu.
func (l *link) passOn(from *call) {
	for i := range l.calls {
		if c := &l.calls[i]; c != from && c.busy && !c.done {
			c.nudge()
			return
		}
	}
}

// reply reads one message of the server's.
func (l *link) reply() error {
	h, err := l.in.Next(nbdproto.SimpleSize)
	if err != nil {
		return err
	}
	r, err := nbdproto.ParseSimple((*[nbdproto.SimpleSize]byte)(h))
	if err != nil {
		return err
	}
	if r.Structured {
		n, err := l.in.Next(nbdproto.ChunkSize - nbdproto.SimpleSize)
		if err != nil {
			return err
		}
		if err := r.ParseLength((*[nbdproto.ChunkSize - nbdproto.SimpleSize]byte)(n)); err != nil {
			return err
		}
	}
	c, err := l.find(r.Cookie)
	if err != nil {
		return err
	}
	if !r.Structured {
		err = l.simple(c, &r)
	} else {
		err = l.chunk(c, &r)
	}
	if err != nil || !r.Done {
		return err
	}
	return l.complete(c)
}

// find returns the request that a reply is for.
func (l *link) find(cookie uint64) (*call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := cookie & 0xff; i < maxCalls {
		if c := &l.calls[i]; c.busy && !c.done && c.q.Cookie == cookie {
			return c, nil
		}
	}
	return nil, fmt.Errorf("Protocol error: reply with cookie 0x%x to no request", cookie)
}

// complete ends a request of which all has come.
func (l *link) complete(c *call) error {
	if c.err == nil {
		switch {
		case c.q.Type == nbdproto.CmdRead && c.moved != uint64(c.q.Length):
			return fmt.Errorf("Protocol error: server sent %d bytes of %d", c.moved, c.q.Length)
		case c.q.Type == nbdproto.CmdBlockStatus && c.extent.Length == 0:
			return errors.New("Server did not reply with any status extents")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(c, c.err)
	return nil
}

// simple takes a simple reply.
func (l *link) simple(c *call, r *nbdproto.Reply) error {
	if l.offer.Structured && (c.q.Type == nbdproto.CmdRead || c.q.Type == nbdproto.CmdBlockStatus) {
		return errors.New("Protocol error: simple reply when structured reply chunk was expected")
	}
	if c.err = errorOf(r.Errno); c.err != nil || c.q.Type != nbdproto.CmdRead {
		return nil
	}
	c.moved = uint64(c.q.Length)
	return l.fill(c.v, 0, int(c.q.Length))
}

// errorOf returns an error of the server's.
func errorOf(e nbdproto.Errno) error {
	switch e {
	case 0:
		return nil
	case nbdproto.EPERM, nbdproto.EIO, nbdproto.ENOMEM, nbdproto.ENOSPC, nbdproto.EOVERFLOW, nbdproto.ENOTSUP, nbdproto.ESHUTDOWN:
		return unix.Errno(e) // Linux's numbers
	}
	return unix.EINVAL
}

// chunk takes a chunk of a structured reply.
func (l *link) chunk(c *call, r *nbdproto.Reply) error {
	switch {
	case !l.offer.Structured:
		return errors.New("Protocol error: structured reply that was not negotiated")
	case r.Type.IsError():
		return l.failure(c, r)
	case r.Type == nbdproto.ChunkNone:
		return nil
	case r.Type == nbdproto.ChunkData && c.q.Type == nbdproto.CmdRead:
		return l.data(c, r)
	case r.Type == nbdproto.ChunkHole && c.q.Type == nbdproto.CmdRead:
		return l.hole(c)
	case r.Type == nbdproto.ChunkBlockStatus && c.q.Type == nbdproto.CmdBlockStatus:
		return l.status(c, r)
	}
	return fmt.Errorf("Unexpected reply type %d for request of type %s", r.Type, c.q.Type)
}

// came counts what came of a read, which is no more than was asked for.
func (c *call) came(n uint64) error {
	if c.moved += n; c.moved > uint64(c.q.Length) {
		return errors.New("Protocol error: server sent more than was asked for")
	}
	return nil
}

func (l *link) data(c *call, r *nbdproto.Reply) error {
	off, err := l.in.Next(8)
	if err != nil {
		return err
	}
	n := uint64(r.Length - 8)
	at, err := nbdproto.DataPlace((*[8]byte)(off), n, c.q.Offset, c.q.Length)
	if err != nil {
		return err
	}
	if err := c.came(n); err != nil {
		return err
	}
	return l.fill(c.v, at, int(n))
}

func (l *link) hole(c *call) error {
	h, err := l.in.Next(12)
	if err != nil {
		return err
	}
	at, n, err := nbdproto.ParseHole((*[12]byte)(h), c.q.Offset, c.q.Length)
	if err != nil {
		return err
	}
	if err := c.came(uint64(n)); err != nil {
		return err
	}
	return each(c.v, at, int(n), func(b []byte) error { clear(b); return nil })
}

// payload reads a small payload.
func (l *link) payload(n uint32) ([]byte, error) {
	if int(n) > cap(l.scratch) {
		l.scratch = make([]byte, n)
	}
	b := l.scratch[:n]
	return b, l.in.Read(b)
}

func (l *link) status(c *call, r *nbdproto.Reply) error {
	b, err := l.payload(r.Length)
	if err != nil {
		return err
	}
	id, e, err := nbdproto.ParseExtents(b, c.q.Length)
	switch {
	case err != nil:
		return err
	case id != l.offer.ContextID:
		return fmt.Errorf("Protocol error: unexpected context id %d for NBD_REPLY_TYPE_BLOCK_STATUS, when negotiated context id is %d", id, l.offer.ContextID)
	case c.extent.Length != 0:
		return errors.New("Several BLOCK_STATUS chunks in reply")
	}
	c.extent = e
	return nil
}

func (l *link) failure(c *call, r *nbdproto.Reply) error {
	b, err := l.payload(r.Length)
	if err != nil {
		return err
	}
	e, _, err := nbdproto.ParseError(b)
	if err == nil && c.err == nil {
		c.err = errorOf(e)
	}
	return err
}

// fill reads n bytes to a place in buffers.
func (l *link) fill(v [][]byte, at, n int) error {
	return each(v, at, n, l.in.Read)
}

// each calls f with the parts of buffers that a range is.
func each(v [][]byte, at, n int, f func([]byte) error) error {
	for _, b := range v {
		if at >= len(b) {
			at -= len(b)
			continue
		}
		b = b[at:min(at+n, len(b))]
		at = 0
		if n -= len(b); len(b) > 0 {
			if err := f(b); err != nil {
				return err
			}
		}
		if n == 0 {
			break
		}
	}
	return nil
}
