// Package rxsync is a QMP client that has links of the host follow the NICs of a VM: an
// event says that a guest changed what it wants to receive, a query what that is now, and
// package rxfilter makes the link so.
//
// Run does its work on its caller's goroutine and has another one for each link, which it
// ends and waits for. A VM may be used by several goroutines.
//
// Which events there are and when they come is described in QEMU's qapi/net.json. It depends
// on net/rxfilter, qmp/client and qmp/qapi.
package rxsync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hv/net/rxfilter"
	"hv/qmp/client"
	"hv/qmp/qapi"
)

// Config says what to do.
type Config struct {
	VM *VM
	// Policy returns what a NIC's guest is allowed.
	Policy func(nic string) rxfilter.Policy
	// Links are the links of NICs that are not to be looked for.
	Links map[string]string
	Hurry *rxfilter.Hurry
	// Audit is how often links are compared with what they should be, beside the changes
	// that the kernel tells of.
	Audit time.Duration
	// Report is told what was done and why.
	Report func(Report)
}

// Report is what was done for a NIC, or the reason why nothing could be.
type Report struct {
	NIC, Link string
	Result    rxfilter.Result
	Err       error
	Open      bool // the link needs no filter, since it hands everything over
}

// firstTry is when a link that is missing is looked for again; each time it takes twice as
// long, up to the time between audits.
const firstTry = 100 * time.Millisecond

// Run has links follow until ctx ends, then it returns nil, or until the VM does, then
// client.ErrClosed. The links are left as they were found.
func Run(ctx context.Context, cfg Config) error {
	r := &runner{Config: cfg, nics: map[string]*nic{}, notices: make(chan notice), wait: firstTry}
	defer r.end()
	err := r.queryAll(ctx)
	audit := time.NewTicker(cfg.Audit)
	defer audit.Stop()
	for {
		switch {
		case ctx.Err() != nil:
			return nil
		case Ended(err):
			return client.ErrClosed
		case err != nil:
			return err
		}
		var again <-chan time.Time
		if r.missing() {
			again = time.After(r.wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-cfg.VM.Client.Events():
			if !ok {
				return client.ErrClosed
			}
			err = r.event(ctx, e)
		case n := <-r.notices:
			r.notice(n)
		case <-audit.C:
			r.audit()
		case <-again:
			r.wait = min(2*r.wait, cfg.Audit)
			err = r.queryAll(ctx)
		}
	}
}

// Ended says that an error is there because the VM's end of the connection is closed.
func Ended(err error) bool {
	return errors.Is(err, client.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// runner is one run.
type runner struct {
	Config
	nics    map[string]*nic
	notices chan notice
	watches sync.WaitGroup
	wait    time.Duration // until the next look for links that are missing
}

// nic is a NIC and its link.
type nic struct {
	name string
	link *rxfilter.Link // nil while there is none
	sync *rxfilter.Syncer
	stop context.CancelFunc
	said string // what was reported last and goes on
}

// notice is what the kernel says of a NIC's link.
type notice struct {
	nic  *nic
	link *rxfilter.Link
	rxfilter.Notice
}

// event does what an event asks for.
func (r *runner) event(ctx context.Context, e client.Event) error {
	switch e.Name {
	case qapi.EventNicRxFilterChanged.Name:
		var d qapi.NicRxFilterChangedEvent
		if err := d.DecodeQAPI(e.Data); err != nil {
			return fmt.Errorf("event %s: %w", e.Name, err)
		}
		if d.Name != nil && r.nics[*d.Name] != nil {
			return r.query(ctx, *d.Name)
		}
		return r.queryAll(ctx)
	case qapi.EventReset.Name, qapi.EventResume.Name, qapi.EventDeviceDeleted.Name:
		return r.queryAll(ctx) // filters are as at the start, or NICs gone
	}
	return nil
}

// query has a NIC's link follow. The NIC may be gone.
func (r *runner) query(ctx context.Context, name string) error {
	guests, err := r.VM.Filters(ctx, name)
	if refused := (*qapi.Error)(nil); errors.As(err, &refused) {
		return r.queryAll(ctx)
	}
	if err != nil {
		return err
	}
	for i := range guests {
		r.follow(r.nics[guests[i].Name], &guests[i])
	}
	return nil
}

// queryAll has all links follow, and looks for those that are missing.
func (r *runner) queryAll(ctx context.Context) error {
	guests, err := r.VM.Filters(ctx, "")
	if err != nil {
		return err
	}
	for name, n := range r.nics {
		if !slices.ContainsFunc(guests, func(g rxfilter.Guest) bool { return g.Name == name }) {
			r.drop(n)
			delete(r.nics, name)
		}
	}
	for i := range guests {
		if name := guests[i].Name; r.nics[name] == nil {
			r.nics[name] = &nic{name: name}
		}
	}
	if r.missing() {
		if err := r.find(ctx); err != nil {
			return err
		}
	}
	for i := range guests {
		r.follow(r.nics[guests[i].Name], &guests[i])
	}
	return nil
}

func (r *runner) missing() bool {
	for _, n := range r.nics {
		if n.link == nil {
			return true
		}
	}
	return false
}

// find looks for the links of NICs that have none.
func (r *runner) find(ctx context.Context) error {
	seen, err := r.VM.NICs(ctx)
	if err != nil {
		return err
	}
	for name, n := range r.nics {
		if n.link != nil {
			continue
		}
		link, err := r.Links[name], error(nil)
		if link == "" {
			link, err = linkOf(r.VM, seen, name)
		}
		if err == nil {
			err = r.adopt(n, link)
		}
		if err != nil {
			r.say(n, link, rxfilter.Result{}, err)
		}
	}
	return nil
}

// linkOf returns the name of a NIC's link.
func linkOf(vm *VM, seen []NIC, name string) (string, error) {
	for _, n := range seen {
		if n.Name == name {
			return vm.Link(&n)
		}
	}
	return "", errors.New("the VM does not tell what its link is: name one with --link")
}

// adopt opens a NIC's link.
func (r *runner) adopt(n *nic, name string) error {
	link, err := rxfilter.Open(name, r.Hurry)
	if err != nil {
		return err
	}
	if n.sync, err = rxfilter.NewSyncer(r.Policy(n.name), link); err != nil {
		link.Close()
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	n.link, n.stop, n.said, r.wait = link, stop, "", firstTry
	r.Report(Report{NIC: n.name, Link: name, Open: n.sync.Host().Open})
	r.watches.Go(func() {
		err := link.Watch(ctx, func(change rxfilter.Notice) { r.tell(ctx, notice{n, link, change}) })
		if ctx.Err() == nil && err != nil { // nothing more will be told: the audit finds out
			r.tell(ctx, notice{n, link, rxfilter.Notice{Lost: true}})
		}
	})
	return nil
}

func (r *runner) tell(ctx context.Context, n notice) {
	select {
	case r.notices <- n:
	case <-ctx.Done():
	}
}

// follow has a NIC's link follow a guest.
func (r *runner) follow(n *nic, g *rxfilter.Guest) {
	if n == nil || n.link == nil {
		return
	}
	r.done(n, n.sync.Sync(g))
}

// notice repairs a link that others changed.
func (r *runner) notice(n notice) {
	if n.nic.link != n.link || !n.nic.sync.Drifted(n.Notice) {
		return // it is told of what we did
	}
	r.refresh(n.nic)
}

func (r *runner) audit() {
	for _, n := range r.nics {
		if n.link != nil {
			r.refresh(n)
		}
	}
}

func (r *runner) refresh(n *nic) {
	res, err := n.sync.Refresh()
	if err != nil {
		r.lose(n, err)
		return
	}
	r.done(n, res)
}

// done reports a result. A link that is gone will be looked for again.
func (r *runner) done(n *nic, res rxfilter.Result) {
	if errors.Is(res.Err(), rxfilter.ErrGone) {
		r.lose(n, rxfilter.ErrGone)
		return
	}
	r.say(n, n.sync.Host().Name, res, res.Err())
}

// say reports what was done, and what is wrong unless that was said before.
func (r *runner) say(n *nic, link string, res rxfilter.Result, err error) {
	wrong := strings.Join(res.Lacks, "\n")
	if err != nil {
		wrong += err.Error()
	}
	again := wrong == n.said
	if again && len(res.Done) == 0 {
		return
	}
	if again {
		res.Lacks, err = nil, nil
	}
	n.said = wrong
	r.Report(Report{NIC: n.name, Link: link, Result: res, Err: err})
}

// lose forgets a link that is gone or can not be read.
func (r *runner) lose(n *nic, err error) {
	name := n.sync.Host().Name
	r.close(n)
	r.say(n, name, rxfilter.Result{}, err)
}

// drop leaves a link as it was found.
func (r *runner) drop(n *nic) {
	if n.link == nil {
		return
	}
	if res := n.sync.Release(); !errors.Is(res.Err(), rxfilter.ErrGone) {
		r.say(n, n.sync.Host().Name, rxfilter.Result{Done: res.Done, Failed: res.Failed}, res.Err())
	}
	r.close(n)
}

func (r *runner) close(n *nic) {
	n.stop()
	n.link.Close()
	n.link, n.sync, n.stop, r.wait = nil, nil, nil, firstTry
}

func (r *runner) end() {
	for _, n := range r.nics {
		r.drop(n)
	}
	r.watches.Wait()
}
