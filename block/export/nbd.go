package export

import (
	"errors"
	"fmt"
	"sync"

	"hv/block/bitmap"
	"hv/block/graph"
	"hv/block/nbdproto"
	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// context is what the number of a metadata context stands for: allocation, depth, or a
// bitmap.
type context struct {
	depth  bool
	bitmap *bitmap.Bitmap
}

// nbdExport is an export of the NBD server's.
type nbdExport struct {
	nbdproto.Export
	*export
	server   *server
	contexts []context
	align    int64 // what requests must be aligned to below

	mu      sync.Mutex
	conns   map[*conn]struct{} // nil once it is closed
	kept    int                // for how many clients
	clients sync.WaitGroup
	partial sync.Mutex // held while a part of a block is written
}

// AddNBD is nbd-server-add: the export ends with the drive that it is of.
func (r *Registry) AddNBD(a *qapi.NbdServerAddOptions, drive bool) error {
	n, err := r.host.Drive(a.Device)
	if err != nil {
		return err
	}
	nbd := &qapi.BlockExportOptionsNbd{BlockExportOptionsNbdBase: a.BlockExportOptionsNbdBase}
	if nbd.Name == nil {
		nbd.Name = &a.Device
	}
	writable := is(a.Writable) && !n.Options().ReadOnly
	o := &qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: *nbd.Name, NodeName: n.Name(), Writable: &writable, Nbd: nbd}
	if a.Bitmap != nil {
		nbd.Bitmaps = &qapi.BlockDirtyBitmapOrStrList{{Local: a.Bitmap}}
	}
	e, err := r.add(o)
	if err == nil && drive {
		e.device = a.Device
	}
	return err
}

// DeleteNBD is nbd-server-remove.
func (r *Registry) DeleteNBD(name string, hard bool) error {
	if e := r.find(name); e != nil && e.typ != qapi.BlockExportTypeNbd {
		return fmt.Errorf("Block export '%s' is not an NBD export", name)
	}
	return r.Delete(name, hard)
}

// serveNBD lets clients of the NBD server come to an export.
func (r *Registry) serveNBD(e *export, node string, o *qapi.BlockExportOptionsNbd) (backend, error) {
	s := r.nbd
	if s == nil {
		return nil, errors.New("NBD server not running")
	}
	x := &nbdExport{export: e, server: s, conns: map[*conn]struct{}{}, align: alignment(e.root.Node())}
	x.Name, x.Of = node, x
	if o.Name != nil {
		x.Name = *o.Name
	}
	if o.Description != nil {
		x.Description = *o.Description
	}
	switch {
	case len(x.Name) > nbdproto.MaxString:
		return nil, fmt.Errorf("export name '%s' too long", x.Name)
	case len(x.Description) > nbdproto.MaxString:
		return nil, fmt.Errorf("description '%s' too long", x.Description)
	case s.Export(x.Name) != nil:
		return nil, fmt.Errorf("NBD server already has export named '%s'", x.Name)
	}
	perm, shared := e.root.Perms()
	if err := e.root.SetPerm(perm, shared&^graph.Resize); err != nil {
		return nil, err
	}
	x.Flags = nbdproto.HasFlags | nbdproto.SendFlush | nbdproto.SendFUA | nbdproto.SendCache | nbdproto.ReadOnly
	if e.writable {
		x.Flags ^= nbdproto.ReadOnly | nbdproto.SendTrim | nbdproto.SendWriteZeroes | nbdproto.SendFastZero
	}
	if s.max != 1 {
		x.Flags |= nbdproto.CanMultiConn
	}
	x.Size, x.MinBlock = uint64(e.root.Size())&^511, uint32(x.align)
	x.addContext(nbdproto.BaseAllocation, context{})
	if is(o.AllocationDepth) {
		x.addContext("qemu:allocation-depth", context{depth: true})
	}
	if err := x.addBitmaps(r, o.Bitmaps); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exports = append(s.exports, x)
	return x, nil
}

func (x *nbdExport) addContext(name string, c context) {
	x.Contexts = append(x.Contexts, name)
	x.contexts = append(x.contexts, c)
}

// alignment returns what requests of a node must be aligned to: nodes around the host's page
// cache want sectors.
func alignment(n *graph.Node) int64 {
	if n.Options().Direct {
		return 512
	}
	for _, c := range n.Children() {
		if a := alignment(c.Node()); a > 1 {
			return a
		}
	}
	return 1
}

// keep has the export stay for one more client, unless it is on its way out.
func (x *nbdExport) keep() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conns == nil {
		return false
	}
	x.kept++
	x.clients.Add(1)
	return true
}

// enter lets a client in for which the export was kept, unless it is on its way out by now.
func (x *nbdExport) enter(c *conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conns == nil {
		return false
	}
	x.conns[c] = struct{}{}
	return true
}

// left notes that a client has gone for which the export was kept.
func (x *nbdExport) left(c *conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.conns, c)
	x.kept--
	x.clients.Done()
}

func (x *nbdExport) inUse() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.kept
	for c := range x.conns {
		if sockaddr.HungUp(c.c) {
			n--
		}
	}
	return n > 0
}

func (x *nbdExport) shutDown() {
	x.server.remove(x)
	x.mu.Lock()
	defer x.mu.Unlock()
	for c := range x.conns {
		c.close()
	}
	x.conns = nil
}

func (x *nbdExport) wait() { x.clients.Wait() }

func (x *nbdExport) end() { x.setBusy(false) }
