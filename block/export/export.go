// Package export serves nodes to others: over NBD, and as vhost-user block devices.
//
// A Registry belongs to the control goroutine of a VM. Each connection has a goroutine that
// reads requests and carries out quick ones, and a few more for the others; all end with
// the connection, and whoever ends a connection for good waits for them. Requests reach the
// graph by a hold of the export's, which the graph's drains keep back.
//
// Commands, texts and limits are those of QEMU (qapi/block-export.json, docs/interop/nbd.txt
// there). It depends on block/graph, block/nbdproto, qmp/sockaddr, block/tlscreds and
// qmp/qapi.
package export

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"hv/block/graph"
	"hv/block/tlscreds"
	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// Host is what exports need of the VM. All but Post and Authorized are called on the control goroutine.
type Host struct {
	// Drive returns the node that a drive's id or a node's name means.
	Drive func(name string) (*graph.Node, error)
	// Node returns the node with a name, nil if there is none.
	Node func(name string) *graph.Node
	// Post has f run on the control goroutine, later.
	Post func(f func())
	// Deleted hears that an export is gone.
	Deleted func(id string)
	// Thread returns an error if there is no iothread with an id.
	Thread func(id string) error
	// Credentials returns what a server's tls-creds object has.
	Credentials func(id string) (*tlscreds.Creds, error)
	// Authorized asks an object whether somebody may come in. Any goroutine may call it.
	Authorized func(object, name string) bool
	// Descriptors gives away descriptors.
	Descriptors sockaddr.Descriptors
	// Log takes what went wrong with a client.
	Log func(err error)
}

// Registry is the exports of a VM.
type Registry struct {
	host    Host
	exports []*export // the oldest first
	nbd     *server   // nil for none
}

// New returns a registry without exports.
func New(h Host) *Registry { return &Registry{host: h} }

// backend is what makes an export reachable.
type backend interface {
	// inUse reports whether there are clients that have not hung up.
	inUse() bool
	// shutDown throws the clients out and lets no more in.
	shutDown()
	// wait returns once all have gone.
	wait()
	// end gives up what the export held.
	end()
}

// export is a node that is served.
type export struct {
	id           string
	typ          qapi.BlockExportType
	root         *graph.Child
	writable     bool
	writeThrough bool
	device       string // whose end ends it too
	backend      backend
	leaving      bool
	gone         sync.Once
}

func (r *Registry) find(id string) *export {
	i := slices.IndexFunc(r.exports, func(e *export) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return r.exports[i]
}

// wellFormed reports whether QEMU takes an id.
func wellFormed(id string) bool {
	for i, c := range []byte(id) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.' && c != '_') {
			return false
		}
	}
	return id != ""
}

func is(b *bool) bool { return b != nil && *b }

// Add makes an export.
func (r *Registry) Add(o *qapi.BlockExportOptions) error {
	_, err := r.add(o)
	return err
}

func (r *Registry) add(o *qapi.BlockExportOptions) (*export, error) {
	if !wellFormed(o.Id) {
		return nil, errors.New("Invalid block export id")
	}
	if r.find(o.Id) != nil {
		return nil, fmt.Errorf("Block export id '%s' is already in use", o.Id)
	}
	n := r.host.Node(o.NodeName)
	if n == nil {
		return nil, fmt.Errorf("Cannot find device='' nor node-name='%s'", o.NodeName)
	}
	e := &export{id: o.Id, typ: o.Type, writable: is(o.Writable), writeThrough: is(o.Writethrough)}
	if e.writable && n.Options().ReadOnly {
		return nil, errors.New("Cannot export read-only node as writable")
	}
	if o.Iothread != nil {
		if err := r.host.Thread(*o.Iothread); err != nil {
			return nil, err
		}
		if is(o.FixedIothread) && n.HasFrontEnd() {
			return nil, errors.New("Cannot change iothread of active block backend")
		}
	}
	var err error
	perm := graph.ConsistentRead
	if e.writable {
		perm |= graph.Write
	}
	var front graph.Front // what needs no more than the graph's drains has none
	if o.VhostUserBlk != nil {
		front = e
	}
	if e.root, err = n.Use(func() string { return "an unnamed block device" }, front, perm, graph.AllPerms); err != nil {
		return nil, err
	}
	if e.backend, err = r.serve(e, o); err != nil {
		return nil, errors.Join(err, e.root.Close())
	}
	r.exports = append(r.exports, e)
	return e, nil
}

// serve makes an export reachable.
func (r *Registry) serve(e *export, o *qapi.BlockExportOptions) (backend, error) {
	if o.VhostUserBlk != nil {
		return r.serveVhostUser(e, o.VhostUserBlk)
	}
	return r.serveNBD(e, o.NodeName, o.Nbd)
}

// Delete takes an export away, with its clients if hard is set.
func (r *Registry) Delete(id string, hard bool) error {
	e := r.find(id)
	switch {
	case e == nil:
		return fmt.Errorf("Export '%s' is not found", id)
	case e.leaving:
		return fmt.Errorf("Export '%s' is already shutting down", id)
	case !hard && e.backend.inUse():
		return fmt.Errorf("export '%s' still in use", id)
	}
	select {
	case <-r.leave(e):
	case <-time.After(settling):
	}
	return nil
}

// settling is how long a command waits for clients that it has thrown out. They go at once,
// but for those with a request that hangs.
const settling = 250 * time.Millisecond

// leave begins the end of an export, unless it has begun. The channel is closed when the clients
// have gone, so that the export will before the next command.
func (r *Registry) leave(e *export) <-chan struct{} {
	if e.leaving {
		return nil
	}
	e.leaving = true
	e.backend.shutDown()
	left := make(chan struct{})
	go func() {
		e.backend.wait()
		r.host.Post(func() { r.finish(e) })
		close(left)
	}()
	return left
}

// finish ends an export whose clients have gone.
func (r *Registry) finish(e *export) {
	e.gone.Do(func() {
		r.exports = slices.DeleteFunc(r.exports, func(x *export) bool { return x == e })
		e.backend.end()
		if err := e.root.Close(); err != nil {
			r.host.Log(fmt.Errorf("export %s: %w", e.id, err))
		}
		r.host.Deleted(e.id)
	})
}

// end takes exports away now, waiting for their clients' requests.
func (r *Registry) end(which func(*export) bool) {
	all := slices.DeleteFunc(slices.Clone(r.exports), func(e *export) bool { return !which(e) })
	for _, e := range all {
		r.leave(e)
	}
	for _, e := range all {
		e.backend.wait()
		r.finish(e)
	}
}

// DriveGone takes the exports away that were made of a drive that is no more.
func (r *Registry) DriveGone(device string) {
	for _, e := range slices.Clone(r.exports) {
		if device != "" && e.device == device {
			r.leave(e)
		}
	}
}

// List returns the exports, the newest first.
func (r *Registry) List() qapi.BlockExportInfoList {
	list := qapi.BlockExportInfoList{}
	for _, e := range slices.Backward(r.exports) {
		list = append(list, qapi.BlockExportInfo{Id: e.id, Type: e.typ, NodeName: e.root.Node().Name(), ShuttingDown: e.leaving})
	}
	return list
}

// Close ends all exports and the NBD server.
func (r *Registry) Close() error {
	r.end(func(*export) bool { return true })
	if r.nbd == nil {
		return nil
	}
	if l, ok := r.nbd.listener.(*net.UnixListener); ok {
		l.SetUnlinkOnClose(false) // a server that was not stopped leaves its socket
	}
	return r.StopNBD()
}
