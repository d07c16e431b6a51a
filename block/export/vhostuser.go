package export

import (
	"errors"
	"net"

	"hv/block/vublk"
	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// vhostUser is an export as the back end of a disk.
type vhostUser struct{ *vublk.Device }

func (v vhostUser) inUse() bool { return v.InUse() }
func (v vhostUser) shutDown()   { v.ShutDown() }
func (v vhostUser) wait()       { v.Wait() }
func (v vhostUser) end()        {}

// serveVhostUser has front ends come to an export.
func (r *Registry) serveVhostUser(e *export, o *qapi.BlockExportOptionsVhostUserBlk) (backend, error) {
	cfg := vublk.Config{Root: e.root, Writable: e.writable, WriteThrough: e.writeThrough, BlockSize: 512, Queues: 1, Log: r.host.Log}
	if o.LogicalBlockSize != nil {
		if err := vublk.CheckBlockSize(*o.LogicalBlockSize); err != nil {
			return nil, err
		}
		cfg.BlockSize = uint32(*o.LogicalBlockSize)
	}
	if o.NumQueues != nil {
		if err := vublk.CheckQueues(*o.NumQueues); err != nil {
			return nil, err
		}
		cfg.Queues = *o.NumQueues
	}
	if o.Addr.Unix == nil && o.Addr.Fd == nil {
		return nil, errors.New("Only socket address types 'unix' and 'fd' are supported")
	}
	l, err := sockaddr.Listen(&o.Addr, r.host.Descriptors)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("Only socket address types 'unix' and 'fd' are supported"), l.Close())
	}
	return vhostUser{vublk.Serve(u, cfg)}, nil
}

// Quiesce and Unquiesce make an export a graph.Front, which the graph's drains hold back.
func (e *export) Quiesce() {}

// Unquiesce does nothing.
func (e *export) Unquiesce() {}

// Resized tells clients that the node has another size.
func (e *export) Resized() {
	if v, ok := e.backend.(vhostUser); ok {
		v.Device.Resized()
	}
}
