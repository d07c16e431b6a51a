package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"hv/net/rxfilter"
	"hv/net/rxsync"
	"hv/qmp/client"
)

const (
	// usualInterval is over which time rates are taken.
	usualInterval = time.Second
	// clearScreen puts the cursor into the corner and clears what is there (ECMA-48 §8.3.21,
	// §8.3.39).
	clearScreen = "\x1b[H\x1b[J"
)

// net prints the NICs of a VM, once or again and again.
func (t *tool) net(ctx context.Context, args []string) error {
	o, err := getopt(args, "", []string{"link=", "interval=", "watch"})
	if err == nil {
		err = o.wants(1, 1, "which VM?")
	}
	if err != nil {
		return usageError(fmt.Sprintf("net: %v", err))
	}
	links, err := o.byNIC("link")
	if err != nil {
		return err
	}
	interval := usualInterval
	if o.has("interval") {
		if interval, err = time.ParseDuration(o.value("interval") + "s"); err != nil || interval <= 0 {
			return usageError(fmt.Sprintf("--interval: '%s' is no number of seconds", o.value("interval")))
		}
	}
	vm, err := t.connectVM(ctx, o.args[0])
	if err != nil {
		return err
	}
	defer vm.Client.Close()
	n := netTable{tool: t, vm: vm, links: links, interval: interval, watch: o.has("watch")}
	if err = n.run(ctx); n.watch && (ctx.Err() != nil || rxsync.Ended(err)) {
		return nil
	}
	return err
}

// netTable is the table of a VM's NICs.
type netTable struct {
	*tool
	vm       *rxsync.VM
	links    map[string]string
	interval time.Duration
	watch    bool
}

func (n *netTable) run(ctx context.Context) error {
	for shown := 0; ; shown++ {
		if err := n.once(ctx, shown); err != nil || !n.watch {
			return err
		}
	}
}

// once takes the rates over an interval and prints the table.
func (n *netTable) once(ctx context.Context, shown int) error {
	list, err := sides(ctx, n.vm, n.links)
	if err != nil {
		return err
	}
	defer closeSides(list)
	begin := time.Now()
	for _, s := range list {
		if s.host != nil {
			s.before, s.err = s.link.Traffic()
		}
	}
	timer := time.NewTimer(n.interval)
	defer timer.Stop()
	if err := n.wait(ctx, timer.C); err != nil {
		return err
	}
	p := n.painter()
	switch {
	case shown > 0 && bool(p):
		fmt.Fprint(n.out, clearScreen)
	case shown > 0:
		fmt.Fprintln(n.out)
	}
	return n.print(list, time.Since(begin), p)
}

// wait waits for a time while it throws events away.
func (n *netTable) wait(ctx context.Context, over <-chan time.Time) error {
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-n.vm.Client.Events():
			if !ok {
				return client.ErrClosed
			}
		}
	}
}

func (n *netTable) print(list []*side, took time.Duration, p paint) error {
	w := tabwriter.NewWriter(n.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NIC\tMODEL\tADDRESS\tNETDEV\tLINK\tTO GUEST\tFROM GUEST\tDROPS")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.nic.Name, dash(s.nic.Model), s.address(), s.netdev(), s.linkName(), s.rates(took))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range list {
		text, colour := s.drift()
		fmt.Fprintf(n.out, "%s: guest: %s\n", s.nic.Name, summary(s.guest))
		if s.host != nil {
			fmt.Fprintf(n.out, "%s: link: %s\n", s.nic.Name, hostSummary(s.host))
		}
		if _, err := fmt.Fprintf(n.out, "%s: drift: %s\n", s.nic.Name, p.in(colour, text)); err != nil {
			return err
		}
	}
	return nil
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// address is the one that the guest uses now.
func (s *side) address() string {
	if s.guest != nil {
		return s.guest.MAC.String()
	}
	return dash(s.nic.MAC)
}

func (s *side) netdev() string {
	if s.nic.Netdev == "" {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", s.nic.Netdev, s.nic.Kind)
}

func (s *side) linkName() string {
	if s.host == nil {
		return "-"
	}
	return s.host.Name
}

// rates prints what went over the link in a time.
func (s *side) rates(took time.Duration) string {
	if s.host == nil {
		return "-\t-\t-"
	}
	now, err := s.link.Traffic()
	if err != nil {
		return "-\t-\t-"
	}
	drops := now.ToGuest.Drops - s.before.ToGuest.Drops + now.FromGuest.Drops - s.before.FromGuest.Drops
	return rate(s.before.ToGuest, now.ToGuest, took) + "\t" + rate(s.before.FromGuest, now.FromGuest, took) + "\t" + perSecond(drops, took)
}

func rate(before, now rxfilter.Flow, took time.Duration) string {
	return fmt.Sprintf("%s p/s %s/s", perSecond(now.Packets-before.Packets, took), size(int64(float64(now.Bytes-before.Bytes)/took.Seconds())))
}

func perSecond(n uint64, took time.Duration) string {
	return strconv.FormatFloat(float64(n)/took.Seconds(), 'f', 0, 64)
}

// summary is a guest's filter in a line.
func summary(g *rxfilter.Guest) string {
	if g == nil {
		return "no filter"
	}
	text := g.MAC.String()
	if g.Promisc {
		text += ", promiscuous"
	}
	text += ", " + count(g.Unicast, len(g.UnicastTable), "more address", "more addresses")
	text += ", " + count(g.Multicast, len(g.MulticastTable), "group", "groups")
	vlans := 0
	for _, id := range g.VLANTable {
		if id != 0 {
			vlans++
		}
	}
	return text + ", " + count(g.VLANs, vlans, "VLAN", "VLANs")
}

func count(mode rxfilter.Mode, n int, one, many string) string {
	switch {
	case mode == rxfilter.All:
		return "all " + many
	case mode == rxfilter.None || n == 0:
		return "no " + many
	case n == 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// hostSummary is a link's filter in a line.
func hostSummary(h *rxfilter.Host) string {
	if h.Open {
		return "everything"
	}
	text := h.MAC.String()
	if h.Promisc {
		text += ", promiscuous"
	}
	text += ", " + count(rxfilter.Listed, len(h.Unicast), "more address", "more addresses")
	mode := rxfilter.Listed
	if h.AllMulti {
		mode = rxfilter.All
	}
	return text + ", " + count(mode, len(h.Joined), "group", "groups")
}
