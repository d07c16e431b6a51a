package export

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"hv/block/nbdproto"
)

// Limits of what one connection has under way.
const (
	maxRequests = 16       // carried out beside each other
	maxBytes    = 64 << 20 // of data
	// inlineSize is the largest request that the reader carries out itself.
	inlineSize = 64 << 10
	// batchSize is how many bytes of replies wait for each other at most.
	batchSize = 256 << 10
	// slow is what the reader does not wait for again for a while.
	slow = 200 * time.Microsecond
	// penalty is how many requests go to others after a slow one.
	penalty = 256
)

// conn is a client in the transmission phase.
//
// Its reader takes requests off the connection. Those that were quick lately, with data from
// the page cache say, it carries out itself, and sends the replies of all that had arrived
// together; the rest goes to workers.
type conn struct {
	exp        *nbdExport
	c          net.Conn
	structured bool
	contexts   []int

	in      nbdproto.Reader
	out     []byte // replies of the reader's that wait
	own     *slot  // the reader's
	penalty int

	tasks   chan *slot
	workers sync.WaitGroup
	started int

	send sync.Mutex // held while a reply is written

	mu    sync.Mutex
	room  sync.Cond
	free  []*slot
	under int   // requests that workers have
	bytes int64 // of theirs
	ended error // why nothing more can be sent
}

func newConn(e *nbdExport, s *nbdproto.Session) *conn {
	c := &conn{
		exp: e, c: s.Conn, structured: s.Structured, contexts: s.Contexts, tasks: make(chan *slot, maxRequests),
		own: &slot{}, in: nbdproto.NewReader(s.Conn),
	}
	c.room.L = &c.mu
	return c
}

// close has the connection end.
func (c *conn) close() { _ = c.c.Close() }

// fail ends the connection because of an error.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.ended == nil {
		c.ended = err
	}
	c.mu.Unlock()
	c.close()
}

// run serves the client until it leaves.
func (c *conn) run() error {
	err := c.read()
	if err == nil {
		err = c.flush()
	}
	close(c.tasks)
	c.workers.Wait()
	c.close()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return c.ended
	}
	return err
}

// read takes requests until the client goes, which is no error.
func (c *conn) read() error {
	for {
		if !c.in.Has(nbdproto.RequestSize) {
			if err := c.flush(); err != nil {
				return err
			}
		}
		h, err := c.in.Next(nbdproto.RequestSize)
		if err != nil {
			return err
		}
		q, err := nbdproto.ParseRequest((*[nbdproto.RequestSize]byte)(h))
		if err != nil {
			return err
		}
		if q.Type == nbdproto.CmdDisc {
			return nil
		}
		if err := c.request(q); err != nil {
			return err
		}
	}
}

// request has a request carried out.
func (c *conn) request(q nbdproto.Request) error {
	moves := q.Type == nbdproto.CmdRead || q.Type == nbdproto.CmdWrite
	if (moves || q.Type == nbdproto.CmdCache) && q.Length > nbdproto.MaxPayload {
		c.out = c.answer(c.out, &q, nbdproto.EINVAL, fmt.Sprintf("len (%d) is larger than max len (%d)", q.Length, nbdproto.MaxPayload))
		if q.Type == nbdproto.CmdWrite {
			// What comes next is data that nobody reads.
			return errors.Join(c.flush(), errors.New("Request handling failed in intermediate state"))
		}
		return nil
	}
	if moves && q.Length <= inlineSize && c.exp.align == 1 {
		if c.penalty == 0 {
			return c.inline(q)
		}
		c.penalty--
	}
	s := c.take(q)
	if q.Type == nbdproto.CmdWrite {
		if err := c.in.Read(s.data(q.Length)); err != nil {
			return err
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.tasks <- s
	return nil
}

// inline carries a request out at once. A read's data goes straight behind its head.
func (c *conn) inline(q nbdproto.Request) error {
	var payload []byte
	if q.Type == nbdproto.CmdWrite {
		payload = c.own.data(q.Length)
		if err := c.in.Read(payload); err != nil {
			return err
		}
	}
	e, text := c.check(&q)
	if e != 0 {
		c.out = c.answer(c.out, &q, e, text)
		return nil
	}
	began := time.Now()
	if q.Type == nbdproto.CmdRead {
		c.out = c.readInto(c.out, &q, c.own)
	} else {
		e, text = c.exp.write(&q, payload, c.own)
		c.out = c.answer(c.out, &q, e, text)
	}
	if time.Since(began) > slow {
		c.penalty = penalty
	}
	if len(c.out) >= batchSize {
		return c.flush()
	}
	return nil
}

// flush sends the reader's replies.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.write(c.out)
	c.out = c.out[:0]
	return err
}

// write sends bytes that belong together.
func (c *conn) write(b []byte) error {
	c.send.Lock()
	defer c.send.Unlock()
	_, err := c.c.Write(b)
	return err
}

// take returns a place for a request, once there is one, and sees that somebody carries it
// out.
func (c *conn) take(q nbdproto.Request) *slot {
	size := int64(0)
	if q.Type <= nbdproto.CmdWrite {
		size = int64(q.Length)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.under == maxRequests || c.under > 0 && c.bytes+size > maxBytes {
		c.room.Wait()
	}
	c.under++
	c.bytes += size
	var s *slot
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
	} else {
		s = &slot{}
	}
	s.q, s.size = q, size
	if c.started < c.under {
		c.started++
		c.workers.Go(c.work)
	}
	return s
}

func (c *conn) give(s *slot) {
	s.shrink()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under--
	c.bytes -= s.size
	c.free = append(c.free, s)
	c.room.Signal()
}

// work carries requests out.
func (c *conn) work() {
	for s := range c.tasks {
		if err := c.handle(s); err != nil {
			c.fail(fmt.Errorf("Failed to send reply: %w", err))
		}
		c.give(s)
	}
}
