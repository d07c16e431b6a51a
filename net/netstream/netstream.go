// Package netstream is a network back end on a stream socket: frames one after the
// other, each behind its length, as QEMU's netdevs stream and socket have them.
//
// A Link has a goroutine for what the guest sends and one that keeps the connection and
// passes on what comes. Without a connection frames of the guest are dropped. Close
// ends and waits for both.
//
// It depends on net/relay.
package netstream

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"hv/net/relay"
)

// Config says where the far end is, in exactly one of three ways.
type Config struct {
	// Dial connects; when it has failed, or the connection ended, it is called again after
	// Reconnect, if that is not 0.
	Dial      func(ctx context.Context) (net.Conn, error)
	Reconnect time.Duration
	// Listener takes clients, one after the other.
	Listener net.Listener
	// Conn is a connection that is there.
	Conn net.Conn
}

// Watcher is told of connections, one thing at a time.
type Watcher interface {
	Connected(c net.Conn)
	Disconnected()
	// Failed tells what went wrong: no connection came about, or one broke.
	Failed(err error)
}

// Link is the back end.
type Link struct {
	*relay.Link
	cfg   Config
	watch Watcher
	end   context.CancelFunc
	wg    sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn // nil for none
}

// Open returns a link that is being connected.
func Open(cfg Config, w Watcher) (*Link, error) {
	r, err := relay.New()
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	l := &Link{Link: r, cfg: cfg, watch: w, end: end}
	l.wg.Go(l.send)
	l.wg.Go(func() { l.keep(ctx) })
	return l, nil
}

// Close ends the link.
func (l *Link) Close() error {
	l.end()
	if l.cfg.Listener != nil {
		l.cfg.Listener.Close()
	}
	l.mu.Lock()
	if l.conn != nil {
		l.conn.Close()
	}
	l.mu.Unlock()
	err := l.Link.Close()
	l.wg.Wait()
	return err
}

// keep has a connection, and another one after it, until it is ended.
func (l *Link) keep(ctx context.Context) {
	f := newFrames()
	for {
		c, again, err := l.connect(ctx)
		if c != nil {
			err = l.serve(ctx, f, c)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.watch.Failed(err)
		}
		if !again {
			return
		}
		if l.cfg.Dial != nil && !wait(ctx, l.cfg.Reconnect) {
			return
		}
	}
}

// connect returns the next connection, and whether there may be one after it.
func (l *Link) connect(ctx context.Context) (c net.Conn, again bool, err error) {
	switch {
	case l.cfg.Listener != nil:
		c, err = l.cfg.Listener.Accept()
		return c, err == nil, err
	case l.cfg.Dial != nil:
		c, err = l.cfg.Dial(ctx)
		return c, l.cfg.Reconnect > 0, err
	}
	return l.cfg.Conn, false, nil
}

// wait returns true after d, or false when ctx is done.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve passes frames of a connection to the guest until it ends.
func (l *Link) serve(ctx context.Context, f *frames, c net.Conn) error {
	l.set(c)
	defer func() {
		l.set(nil)
		c.Close()
	}()
	if ctx.Err() != nil {
		return nil // Close has not seen the connection
	}
	l.watch.Connected(c)
	defer l.watch.Disconnected()
	f.begin(c)
	for {
		b, err := f.next()
		if err != nil {
			return broken(err)
		}
		if err := l.Send(b); err != nil {
			return err
		}
	}
}

// broken returns the error of a connection that did not just end.
func broken(err error) error {
	if errors.Is(err, errOversized) {
		return err
	}
	return nil
}

func (l *Link) set(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
}

func (l *Link) current() net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// send passes the guest's frames to whoever is connected.
func (l *Link) send() {
	buf := relay.Buffer()
	for {
		frame, err := l.Receive(buf)
		if err != nil {
			return
		}
		c := l.current()
		if c == nil {
			continue
		}
		if _, err := c.Write(seal(buf, frame)); err != nil {
			c.Close() // the reader notices
		}
	}
}
