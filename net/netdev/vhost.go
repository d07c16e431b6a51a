package netdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"hv/net/tap"
	"hv/net/vhostnet"
	"hv/net/vhostuser"
	"hv/qmp/qapi"
)

// tapBackend opens -netdev tap, with the kernel's data path if that is wanted and there.
func (o *opener) tapBackend(n *qapi.NetdevTapOptions) (Backend, error) {
	t, err := o.tap(n)
	if err != nil || !wantsVhost(n) {
		return backend(t, err)
	}
	v, err := o.vhost(t, n)
	switch {
	case err == nil:
		return &vhostTap{Tap: t, Engine: v}, nil
	case value(n.Vhostforce, false):
		return nil, errors.Join(err, t.Close())
	}
	o.Log.Warn(err)
	return t, nil
}

// wantsVhost reports whether the kernel is to move a tap's packets.
func wantsVhost(n *qapi.NetdevTapOptions) bool {
	return value(n.Vhost, n.Vhostfd != nil || n.Vhostfds != nil || value(n.Vhostforce, false))
}

func (o *opener) vhost(t *tap.Tap, n *qapi.NetdevTapOptions) (*vhostnet.Engine, error) {
	cfg := vhostnet.Config{BusyPoll: value(n.PollUs, 0)}
	var names []string
	switch {
	case n.Vhostfd != nil:
		names = []string{*n.Vhostfd}
	case n.Vhostfds != nil:
		names = strings.Split(*n.Vhostfds, ":")
	}
	var err error
	if cfg.FDs, err = o.descriptors(names); err != nil {
		return nil, err
	}
	return vhostnet.Open(t, cfg)
}

// vhostTap is a tap whose packets the kernel moves.
type vhostTap struct {
	*tap.Tap
	*vhostnet.Engine
}

// Close closes the engine and the tap.
func (v *vhostTap) Close() error { return errors.Join(v.Engine.Close(), v.Tap.Close()) }

// Sockets is a chardev of which each connection is for one back end's use.
type Sockets interface {
	// Next waits for a connection, and returns net.ErrClosed once there are none any more, as after
	// Stop.
	Next() (io.ReadWriteCloser, error)
	Stop() error
	// Close gives the chardev back.
	Close() error
}

// vhostUser is a back end whose packets another process moves.
type vhostUser struct {
	*vhostuser.Link
	chardev string
	sockets Sockets
}

// vhostUser opens -netdev vhost-user.
func (o *opener) vhostUser(ctx context.Context, n *qapi.NetdevVhostUserOptions) (*vhostUser, error) {
	s, err := o.Sockets(n.Chardev, o.id)
	if err != nil {
		return nil, err
	}
	queues := value(n.Queues, 1)
	if err := vhostuser.CheckQueues(int(queues)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	l, err := vhostuser.Open(ctx, vhostuser.Config{
		Queues: int(queues),
		Connect: func() (vhostuser.Conn, error) {
			c, err := s.Next()
			if err != nil {
				return nil, err
			}
			conn, ok := c.(vhostuser.Conn)
			if !ok {
				return nil, errors.Join(fmt.Errorf("chardev \"%s\" does not support FD passing", n.Chardev), c.Close())
			}
			return conn, nil
		},
		Stop: func() { _ = s.Stop() },
		Log:  func(err error) { o.Log.Warn(err) },
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &vhostUser{l, n.Chardev, s}, nil
}

// Info implements Backend.
func (v *vhostUser) Info(queue int) string {
	return fmt.Sprintf("vhost-user%d to %s", queue, v.chardev)
}

// SharesMemory says that the back end needs guest memory that others can map.
func (v *vhostUser) SharesMemory() error { return vhostuser.ErrNotShared }

// Close ends the back end and gives the chardev back.
func (v *vhostUser) Close() error { return errors.Join(v.Link.Close(), v.sockets.Close()) }
