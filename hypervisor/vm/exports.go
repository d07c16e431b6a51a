package vm

import (
	"fmt"

	"hv/block/blockqmp"
	"hv/block/export"
	"hv/block/tlscreds"
	"hv/hypervisor/config"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// What blockqmp needs of exports.
var (
	_ blockqmp.Exporter = (*VM)(nil)
	_ blockqmp.Threads  = (*VM)(nil)
)

// makeExports makes the list of exports, empty. They end before the nodes go.
func (v *VM) makeExports() {
	v.exports = export.New(export.Host{
		Drive: v.FindNode, Node: v.blocks.graph.Find, Post: v.control.Post, Thread: v.FindThread,
		Deleted: func(id string) {
			events.Emit(v.events, qapi.EventBlockExportDeleted, qapi.BlockExportDeletedEvent{Id: id})
		},
		Credentials: func(id string) (*tlscreds.Creds, error) { return v.credentials(id, true) },
		Authorized:  v.authorized, Descriptors: v.fds.Param,
		Log: func(err error) { v.opt.Log.Warn(err) },
	})
	v.undo.later(v.exports.Close)
}

// Exports returns the VM's exports. Control goroutine only.
func (v *VM) Exports() *export.Registry { return v.exports }

// IsDrive reports whether there is a drive with an id. Control goroutine only.
func (v *VM) IsDrive(id string) bool { return v.blocks.find(id) != nil }

// FindThread returns an error if there is no iothread with an id. Control goroutine only.
func (v *VM) FindThread(id string) error {
	if o := v.objects.find(id); o == nil || o.Thread == nil {
		return fmt.Errorf("iothread \"%s\" not found", id)
	}
	return nil
}

// credentials returns what a tls-creds object has, for one end of a connection.
func (v *VM) credentials(id string, server bool) (*tlscreds.Creds, error) {
	o := v.objects.find(id)
	switch {
	case o == nil:
		return nil, fmt.Errorf("No TLS credentials with id '%s'", id)
	case o.creds == nil:
		return nil, fmt.Errorf("Object with id '%s' is not TLS credentials", id)
	}
	return o.creds, o.creds.Check(server)
}

// addCredentials makes a tls-creds object, from the files that it names.
func (v *VM) addCredentials(o config.Object) error {
	c := o.TLS
	creds, err := tlscreds.Load(tlscreds.Config{Dir: c.Dir, Server: c.Endpoint == "server", VerifyPeer: c.VerifyPeer, Unchecked: !c.SanityCheck})
	if err != nil {
		return err
	}
	if err := v.objects.add(o); err != nil {
		return err
	}
	v.objects.find(o.ID).creds = creds
	return nil
}

// authorized asks an authz object whether somebody may come in. Any goroutine may call it.
func (v *VM) authorized(object, name string) bool {
	who, ok := v.objects.identities.Load(object)
	return ok && who == name
}
