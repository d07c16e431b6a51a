// Package netdev opens the network back ends of a VM from what -netdev and netdev_add
// say of them: one function a kind.
//
// Open and Close are for one goroutine at a time; what a back end does on its own is
// told to its Host from goroutines of its own, which Close waits for.
//
// Options, defaults and messages are QEMU 7.2's (qapi/net.json), but for those of
// macvtap and reconnect, which it does not have. It depends on the packages of the
// kinds in net, qmp/sockaddr, qmp/strerror and qmp/qapi.
package netdev

import (
	"context"
	"fmt"

	"github.com/sirupsen/logrus"

	"hv/qmp/qapi"
)

// Backend is an open back end: a link for a NIC.
type Backend interface {
	// Queues, QueueFD, SetOffload and EnableQueue are what devices want of a link.
	Queues() int
	QueueFD(i int) int
	SetOffload(csum, tso4, tso6, ecn, ufo bool) error
	EnableQueue(i int, on bool) error
	// Info describes it as `info network` does.
	Info(queue int) string
	Close() error
}

// Host is what back ends need of the VM. What it is told must not wait for the back end.
type Host struct {
	// Descriptor gives away the descriptor that an option names.
	Descriptor func(name string) (int, error)
	// Connected and Disconnected are told what stream sockets do.
	Connected    func(id string, addr *qapi.SocketAddress)
	Disconnected func(id string)
	// Lost is told when what a back end stands on is gone.
	Lost func(id string, err error)
	// Sockets gives a back end the connections of a chardev, which nobody else may have.
	Sockets func(chardev, user string) (Sockets, error)
	Log     logrus.FieldLogger
}

// opener opens a back end for a VM.
type opener struct {
	Host
	id string
}

// Open opens a back end. On an error nothing is left behind. ctx bounds the wait of those that wait for
// their far end.
func Open(ctx context.Context, n *qapi.Netdev, h Host) (Backend, error) {
	o := &opener{Host: h, id: n.Id}
	o.Log = h.Log.WithField("netdev", n.Id)
	switch {
	case n.Tap != nil:
		return o.tapBackend(n.Tap)
	case n.Macvtap != nil:
		return backend(o.macvtap(n.Macvtap))
	case n.Stream != nil:
		return backend(o.stream(n.Stream))
	case n.Dgram != nil:
		return backend(o.dgram(n.Dgram))
	case n.Socket != nil:
		return o.socket(n.Socket)
	case n.User != nil:
		return backend(o.user(n.User))
	case n.VhostUser != nil:
		return backend(o.vhostUser(ctx, n.VhostUser))
	}
	return nil, fmt.Errorf("network backend '%s' is not compiled into this binary", n.Type)
}

// backend makes an interface of a pointer, nil of one that came with an error.
func backend[T Backend](b T, err error) (Backend, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Kinds lists the kinds that there are, in QEMU's order.
func Kinds() []qapi.NetClientDriver {
	return []qapi.NetClientDriver{
		qapi.NetClientDriverSocket, qapi.NetClientDriverStream, qapi.NetClientDriverDgram, qapi.NetClientDriverTap,
		qapi.NetClientDriverUser, qapi.NetClientDriverVhostUser, qapi.NetClientDriverMacvtap,
	}
}
