package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"hv/net/rxfilter"
	"hv/net/rxsync"
	"hv/qmp/client"
)

const filterUsage = `usage: hvctl rxfilter sync VM --policy [NIC=]POLICY [OPTION...]
       hvctl rxfilter show VM [--link NIC=IFNAME...]

sync has the host's links follow what the guest's NICs want to receive, until it is
interrupted or the VM ends; then they are again as before. show prints both sides.

  --policy [NIC=]POLICY   what a guest gets of what it asks for: none, multicast,
                          listed (those of --allow) or full
  --allow [NIC=]MAC,...   addresses that the guest may take, for policy listed
  --link NIC=IFNAME       a NIC's link, if the VM does not tell
  --wait                  wait for the VM to start, and when it has ended for the next one
  --audit SECONDS         how often links are looked at besides (30)
  --no-expedite           leave /sys/kernel/rcu_expedited alone, by which a change of an
                          address takes the kernel less than 1 ms rather than 15
`

const (
	// knob is what makes a change of a macvtap's address fast.
	knob = "/sys/kernel/rcu_expedited"
	// usualAudit is how often links are looked at.
	usualAudit = 30 * time.Second
	// comeBack is how often a VM that is waited for is looked for.
	comeBack = 200 * time.Millisecond
)

// rxfilter runs a command on the filters of NICs.
func (t *tool) rxfilter(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usageError("rxfilter: which command?")
	}
	verb := args[0]
	long := []string{"link="}
	switch verb {
	case "help", "--help", "-h":
		_, err := io.WriteString(t.out, filterUsage)
		return err
	case "show":
	case "sync":
		long = append(long, "policy=", "allow=", "audit=", "wait", "no-expedite")
	default:
		return usageError(fmt.Sprintf("rxfilter: there is no command '%s'", verb))
	}
	o, err := getopt(args[1:], "", long)
	switch {
	case err != nil:
		return usageError(fmt.Sprintf("rxfilter %s: %v", verb, err))
	case len(o.args) != 1:
		return usageError(fmt.Sprintf("rxfilter %s: which VM?", verb))
	}
	links, err := o.byNIC("link")
	if err != nil {
		return err
	}
	if verb == "sync" {
		return t.syncFilters(ctx, &o, links)
	}
	vm, err := t.connectVM(ctx, o.args[0])
	if err != nil {
		return err
	}
	defer vm.Client.Close()
	return t.showFilters(ctx, vm, links)
}

// byNIC reads the values NIC=VALUE of an option.
func (o *options) byNIC(name string) (map[string]string, error) {
	out := map[string]string{}
	for _, x := range o.given {
		if x.name != name {
			continue
		}
		nic, value, ok := strings.Cut(x.value, "=")
		if !ok || nic == "" || value == "" {
			return nil, usageError(fmt.Sprintf("--%s: '%s' is not NIC=VALUE", name, x.value))
		}
		out[nic] = value
	}
	return out, nil
}

// connectVM connects to a VM and finds out which process it is.
func (t *tool) connectVM(ctx context.Context, name string) (*rxsync.VM, error) {
	conn, err := t.connect(ctx, name)
	if err != nil {
		return nil, err
	}
	c, err := client.New(ctx, conn)
	if err != nil {
		return nil, err
	}
	return &rxsync.VM{Client: c, PID: rxsync.Peer(conn)}, nil
}

// policies are what guests get, by NIC; that of "" is for those that are not named.
type policies map[string]rxfilter.Policy

func (p policies) of(nic string) rxfilter.Policy {
	if one, ok := p[nic]; ok {
		return one
	}
	return p[""]
}

// policies reads --policy and --allow.
func (o *options) policies() (policies, error) {
	names, allowed := map[string]string{}, map[string][]rxfilter.MAC{}
	for _, x := range o.given {
		if x.name != "policy" && x.name != "allow" {
			continue
		}
		nic, value, ok := strings.Cut(x.value, "=")
		if !ok {
			nic, value = "", x.value
		}
		if x.name == "policy" {
			names[nic] = value
			continue
		}
		macs, err := rxfilter.ParseMACs(value)
		if err != nil {
			return nil, usageError(err.Error())
		}
		allowed[nic] = append(allowed[nic], macs...)
	}
	if len(names) == 0 {
		return nil, usageError("rxfilter sync: which --policy?")
	}
	out := policies{}
	for nic, name := range names {
		p, err := rxfilter.NewPolicy(name, allowed[nic])
		if err != nil {
			return nil, usageError(err.Error())
		}
		out[nic] = p
		delete(allowed, nic)
	}
	for nic := range allowed {
		return nil, usageError(fmt.Sprintf("--allow is for NIC '%s', which has no policy of its own", nic))
	}
	return out, nil
}

// syncFilters has links follow.
func (t *tool) syncFilters(ctx context.Context, o *options, links map[string]string) error {
	rules, err := o.policies()
	if err != nil {
		return err
	}
	cfg := rxsync.Config{Policy: rules.of, Links: links, Audit: usualAudit, Report: t.report}
	if o.has("audit") {
		if cfg.Audit, err = time.ParseDuration(o.value("audit") + "s"); err != nil || cfg.Audit <= 0 {
			return usageError(fmt.Sprintf("--audit: '%s' is no number of seconds", o.value("audit")))
		}
	}
	if !o.has("no-expedite") {
		if cfg.Hurry, err = rxfilter.NewHurry(knob); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w (does it run as root? --no-expedite does without)", err)
		}
		defer cfg.Hurry.Close()
	}
	for {
		err := t.syncOnce(ctx, o, cfg)
		if errors.Is(err, client.ErrClosed) {
			fmt.Fprintln(t.errOut, "hvctl: the VM has ended")
			err = nil
		}
		if err != nil || !o.has("wait") || ctx.Err() != nil {
			return err
		}
	}
}

// syncOnce does so for the time of one VM.
func (t *tool) syncOnce(ctx context.Context, o *options, cfg rxsync.Config) (err error) {
	cfg.VM, err = t.connectVM(ctx, o.args[0])
	if err != nil && o.has("wait") {
		if cfg.VM, err = t.awaitVM(ctx, o.args[0]); cfg.VM == nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	defer cfg.VM.Client.Close()
	return rxsync.Run(ctx, cfg)
}

// awaitVM waits for a VM to answer. If ctx ends before, there is none.
func (t *tool) awaitVM(ctx context.Context, name string) (*rxsync.VM, error) {
	tick := time.NewTicker(comeBack)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case <-tick.C:
		}
		vm, err := t.connectVM(ctx, name)
		if wrong := usageError(""); err == nil || errors.As(err, &wrong) {
			return vm, err
		}
	}
}

// report prints what was done for a NIC.
func (t *tool) report(r rxsync.Report) {
	who := r.NIC
	if r.Link != "" {
		who += " on " + r.Link
	}
	if len(r.Result.Done) > 0 {
		fmt.Fprintf(t.out, "%s: %s\n", who, &r.Result)
	}
	for _, l := range r.Result.Lacks {
		fmt.Fprintf(t.out, "%s: %s\n", who, l)
	}
	if r.Err != nil {
		fmt.Fprintf(t.out, "%s: failed: %s\n", who, strings.ReplaceAll(r.Err.Error(), "\n", "; "))
	}
	switch {
	case r.Open:
		fmt.Fprintf(t.out, "%s: hands everything over, there is nothing to follow\n", who)
	case len(r.Result.Done)+len(r.Result.Lacks) == 0 && r.Err == nil:
		fmt.Fprintf(t.out, "%s: follows\n", who)
	}
}

// side is one NIC: what its guest asks for and what its link is.
type side struct {
	nic    rxsync.NIC
	guest  *rxfilter.Guest // nil if it does not tell
	host   *rxfilter.Host  // nil if it has no link, or err says why not
	link   *rxfilter.Link
	err    error
	before rxfilter.Traffic
}

// sides looks at the NICs of a VM. Their links are open.
func sides(ctx context.Context, vm *rxsync.VM, links map[string]string) ([]*side, error) {
	nics, err := vm.NICs(ctx)
	if err != nil {
		return nil, err
	}
	guests, err := vm.Filters(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, g := range guests { // a NIC that is not listed has its filter shown all the same
		if !slices.ContainsFunc(nics, func(n rxsync.NIC) bool { return n.Name == g.Name }) {
			nics = append(nics, rxsync.NIC{Name: g.Name, MAC: g.MAC.String()})
		}
	}
	var out []*side
	for _, n := range nics {
		s := &side{nic: n}
		if i := slices.IndexFunc(guests, func(g rxfilter.Guest) bool { return g.Name == n.Name }); i >= 0 {
			s.guest = &guests[i]
		}
		s.open(vm, links[n.Name])
		out = append(out, s)
	}
	return out, nil
}

func (s *side) open(vm *rxsync.VM, name string) {
	if name == "" {
		if name, s.err = vm.Link(&s.nic); s.err != nil {
			return
		}
	}
	if s.link, s.err = rxfilter.Open(name, nil); s.err != nil {
		return
	}
	h, err := s.link.Read()
	if err != nil {
		s.err = err
		return
	}
	s.host = &h
}

func closeSides(list []*side) {
	for _, s := range list {
		if s.link != nil {
			s.link.Close()
		}
	}
}
