// Package nbddrv is the driver nbd: an export of an NBD server as a node.
//
// Requests may come concurrently; Close comes last. Each request sends itself, and one of
// those who wait reads replies for all, so that a single request needs nobody else. A server
// that can be used over several connections is, once there is enough to do. What a server
// says is checked and bounded: one that breaks the rules loses its connection. A goroutine
// of the driver's makes connections again; Close ends it.
//
// Options and texts are QEMU's (BlockdevOptionsNbd). It depends on block/graph,
// block/nbdproto, qmp/sockaddr, block/tlscreds and qmp/qapi.
package nbddrv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/nbdproto"
	"hv/block/tlscreds"
	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// Config says what to use, and how.
type Config struct {
	Server      *qapi.SocketAddress
	Descriptors sockaddr.Descriptors
	Export      string
	// Context is what block status is asked of, base:allocation if it is empty.
	Context  string
	Creds    *tlscreds.Creds // nil for none
	Hostname string          // whom the server's certificate must be of
	// ReconnectDelay is how long requests wait for a server that was lost.
	ReconnectDelay time.Duration
	// OpenTimeout is how long Open tries; zero is once.
	OpenTimeout time.Duration
	// Log takes why a server was lost.
	Log func(error)
}

// Times of connecting.
const (
	// patience is how long a handshake may take.
	patience = 30 * time.Second
	// The pause between attempts grows from one to the other.
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// maxLinks is how many connections there are to a server that can be used over several.
const maxLinks = 4

// Driver is an export of a server's.
type Driver struct {
	cfg   Config
	offer nbdproto.Offer // of the first connection
	align int64

	ctx   context.Context // ends with the driver
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu      sync.Mutex
	links   []*link
	lost    time.Time     // when the last one went
	changed chan struct{} // closed when there is one again, or never will be
	dialing bool          // somebody connects

	partial sync.Mutex // held while a part of a block is written
}

// Open connects to a server.
func Open(cfg Config) (*Driver, error) {
	if cfg.Context == "" {
		cfg.Context = nbdproto.BaseAllocation
	}
	ctx, end := context.WithCancel(context.Background())
	d := &Driver{cfg: cfg, ctx: ctx, end: end, changed: make(chan struct{})}
	l, err := d.first()
	if err != nil {
		end()
		return nil, err
	}
	d.offer, d.align = *l.offer, int64(l.offer.MinBlock)
	d.links = append(d.links, l)
	return d, nil
}

// first makes the first connection, in as many attempts as there is time for.
func (d *Driver) first() (*link, error) {
	deadline := time.Now().Add(d.cfg.OpenTimeout)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		l, err := d.dial()
		left := time.Until(deadline)
		if err == nil || left <= 0 {
			return l, err
		}
		select {
		case <-time.After(min(pause, left)):
		case <-d.ctx.Done():
			return nil, d.ctx.Err()
		}
	}
}

// dial makes a connection.
func (d *Driver) dial() (*link, error) {
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	c, err := sockaddr.Dial(ctx, d.cfg.Server, d.cfg.Descriptors)
	if err != nil {
		return nil, err
	}
	// Nobody waits for a server that does not answer, or when the driver ends.
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	w := nbdproto.Wish{Export: d.cfg.Export, Context: d.cfg.Context}
	if d.cfg.Creds != nil {
		w.StartTLS = func(c net.Conn) (net.Conn, error) { return d.cfg.Creds.Connect(c, d.cfg.Hostname) }
	}
	offer, err := nbdproto.Connect(c, w)
	if err == nil {
		err = d.suits(offer)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return newLink(offer), nil
}

// suits returns an error for a server that is not what it was.
func (d *Driver) suits(o *nbdproto.Offer) error {
	was := &d.offer
	switch {
	case was.Conn == nil:
		if d.cfg.Context != nbdproto.BaseAllocation && !o.Context {
			return fmt.Errorf("requested x-dirty-bitmap %s not found", d.cfg.Context)
		}
		return nil
	case o.Size != was.Size:
		return fmt.Errorf("the server's export has %d bytes now, not %d", o.Size, was.Size)
	case o.MinBlock != was.MinBlock || o.MaxBlock < was.MaxBlock:
		return errors.New("the server wants blocks of other sizes now")
	case (o.Flags^was.Flags)&(nbdproto.ReadOnly|nbdproto.SendFlush) != 0:
		return errors.New("the server can do other things now")
	}
	return nil
}

// ReadOnly reports whether the server takes no writes.
func (d *Driver) ReadOnly() bool { return d.has(nbdproto.ReadOnly) }

func (d *Driver) has(flag uint16) bool { return d.offer.Flags&flag != 0 }

// take returns a connection, after waiting for one as long as requests may.
func (d *Driver) take() (*link, error) {
	for {
		d.mu.Lock()
		if l := d.pick(); l != nil {
			d.mu.Unlock()
			return l, nil
		}
		changed, left := d.changed, time.Until(d.lost.Add(d.cfg.ReconnectDelay))
		d.mu.Unlock()
		if left <= 0 || d.ctx.Err() != nil {
			return nil, unix.EIO
		}
		t := time.NewTimer(left)
		select {
		case <-changed:
		case <-t.C:
		case <-d.ctx.Done():
		}
		t.Stop()
	}
}

// busy is how many requests a connection has when another one would help.
const busy = 4

// pick returns the connection with the least to do, and has another made if all have
// enough. The caller holds mu.
func (d *Driver) pick() (best *link) {
	least := int32(0)
	for _, l := range d.links {
		if n := l.under.Load(); best == nil || n < least {
			best, least = l, n
		}
	}
	if best != nil && least >= busy && len(d.links) < maxLinks && d.has(nbdproto.CanMultiConn) && !d.dialing {
		d.dialing = true
		d.tasks.Go(d.another)
	}
	return best
}

// another makes one more connection. If that cannot be had the ones there are must do.
func (d *Driver) another() {
	l, err := d.dial()
	if err == nil {
		d.add(l)
	}
}

// add takes a connection into use.
func (d *Driver) add(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dialing = false
	if d.ctx.Err() != nil {
		l.kill(net.ErrClosed)
		return
	}
	d.links = append(d.links, l)
	close(d.changed)
	d.changed = make(chan struct{})
}

// drop takes a connection out of use that broke.
func (d *Driver) drop(l *link, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, x := range d.links {
		if x != l {
			continue
		}
		d.links = append(d.links[:i], d.links[i+1:]...)
		if d.ctx.Err() == nil {
			d.cfg.Log(fmt.Errorf("NBD server %s: %w", sockaddr.Text(d.cfg.Server), err))
		}
		if len(d.links) == 0 {
			d.lost, d.dialing = time.Now(), true
			d.tasks.Go(d.again)
		}
		return
	}
}

// again connects until there is a connection, or the driver ends.
func (d *Driver) again() {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		l, err := d.dial()
		if err == nil {
			d.add(l)
			return
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-d.ctx.Done():
			t.Stop()
			return
		}
	}
}

// do carries a request out, on another connection if one breaks and it may wait.
func (d *Driver) do(q nbdproto.Request, v [][]byte) (nbdproto.Extent, error) {
	for {
		l, err := d.take()
		if err != nil {
			return nbdproto.Extent{}, err
		}
		e, err := l.do(q, v)
		if !errors.Is(err, errBroken) {
			return e, err
		}
		d.drop(l, l.reason())
	}
}

// Close leaves the server.
func (d *Driver) Close() error {
	d.end()
	d.tasks.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.links {
		l.leave()
	}
	d.links = nil
	return nil
}

// Permit refuses writers of an export that is not to be written to.
func (d *Driver) Permit(perm, _ graph.Perm) error {
	if d.ReadOnly() && perm&(graph.Write|graph.WriteUnchanged) != 0 {
		return errors.New("Can't reopen read-only NBD mount as read/write")
	}
	return nil
}

// Filename returns a name for a server's export, as it can be given to others; nothing if it
// needs more than a name.
func Filename(a *qapi.SocketAddress, export string) string {
	switch {
	case a.Inet != nil && (a.Inet.Ipv4 != nil || a.Inet.Ipv6 != nil || a.Inet.To != nil):
		return ""
	case a.Unix != nil && export != "":
		return "nbd+unix:///" + export + "?socket=" + a.Unix.Path
	case a.Unix != nil:
		return "nbd+unix://?socket=" + a.Unix.Path
	case a.Inet != nil && export != "":
		return "nbd://" + a.Inet.Host + ":" + a.Inet.Port + "/" + export
	case a.Inet != nil:
		return "nbd://" + a.Inet.Host + ":" + a.Inet.Port
	}
	return ""
}
