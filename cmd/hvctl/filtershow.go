package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"hv/net/rxfilter"
	"hv/net/rxsync"
)

// paint colours text for a terminal, or does not.
type paint bool

// Colours, as SGR parameters (ECMA-48 §8.3.117).
const (
	red    = "31"
	yellow = "33"
	green  = "32"
)

// painter colours on terminals, unless NO_COLOR says not to.
func (t *tool) painter() paint {
	f, ok := t.out.(*os.File)
	return paint(ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "")
}

func (p paint) in(colour, text string) string {
	if !p || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// showFilters prints both sides of each NIC's filter.
func (t *tool) showFilters(ctx context.Context, vm *rxsync.VM, links map[string]string) error {
	list, err := sides(ctx, vm, links)
	if err != nil {
		return err
	}
	defer closeSides(list)
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(t.out)
		}
		if err := s.show(t.out, t.painter()); err != nil {
			return err
		}
	}
	return nil
}

// show prints a NIC's filter: a line for each part, what the guest asks for and what the
// link lets through.
func (s *side) show(w io.Writer, p paint) error {
	fmt.Fprintf(w, "%s", s.nic.Name)
	if s.host != nil {
		fmt.Fprintf(w, " on %s (%s)", s.host.Name, strings.TrimSpace(s.host.Kind+" "+s.host.Mode))
	}
	fmt.Fprintln(w)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "\tGUEST\tLINK")
	guest, host := guestParts(s.guest), hostParts(s.host)
	for i, name := range []string{"address", "promiscuous", "addresses", "all groups", "groups", "VLANs"} {
		for j := range max(len(guest[i]), len(host[i]), 1) {
			fmt.Fprintf(tab, "%s\t%s\t%s\n", name, at(guest[i], j), at(host[i], j))
			name = ""
		}
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	text, colour := s.drift()
	_, err := fmt.Fprintf(w, "drift: %s\n", p.in(colour, text))
	return err
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// guestParts are what a guest asks for, part by part.
func guestParts(g *rxfilter.Guest) [6][]string {
	if g == nil {
		return [6][]string{{"it has no filter"}}
	}
	vlans := make([]string, len(g.VLANTable))
	sorted := slices.Sorted(slices.Values(g.VLANTable))
	for i, id := range sorted {
		vlans[i] = fmt.Sprint(id)
	}
	if g.VLANs == rxfilter.All {
		vlans = []string{"all"}
	}
	return [6][]string{
		{g.MAC.String()}, {yes(g.Promisc)}, table(g.UnicastTable, g.Unicast, g.UnicastOverflow),
		{yes(g.Multicast == rxfilter.All)}, table(g.MulticastTable, g.Multicast, g.MulticastOverflow), {strings.Join(vlans, " ")},
	}
}

// table lists addresses, or says what is taken besides.
func table(list []rxfilter.MAC, mode rxfilter.Mode, overflow bool) (out []string) {
	switch {
	case mode == rxfilter.All:
		return []string{"all"}
	case mode == rxfilter.None:
		return []string{"none"}
	}
	for _, m := range list {
		out = append(out, m.String())
	}
	slices.Sort(out)
	if overflow {
		out = append(out, "and more than fit")
	}
	return out
}

// hostParts are what a link lets through, part by part.
func hostParts(h *rxfilter.Host) [6][]string {
	switch {
	case h == nil:
		return [6][]string{{"there is none"}}
	case h.Open:
		return [6][]string{{"everything"}}
	}
	vlans := "all"
	if h.Filters {
		vlans = "those that the device below knows"
	}
	return [6][]string{
		{h.MAC.String()}, {yes(h.Promisc)}, table(h.Unicast, rxfilter.Listed, false),
		{yes(h.AllMulti)}, table(h.Joined, rxfilter.Listed, false), {vlans},
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// drift says how link and guest differ, and in which colour to say it.
func (s *side) drift() (text, colour string) {
	switch {
	case s.guest == nil:
		return "unknown, the NIC has no filter", ""
	case s.host == nil:
		return fmt.Sprintf("unknown, %v", s.err), red
	}
	d := rxfilter.Compare(rxfilter.Full(), s.guest, s.host)
	if d.None() {
		return "none", green
	}
	colour = yellow // more than the guest asks for: it filters itself
	var parts []string
	if words := ops(d.Missing); words != "" {
		parts, colour = append(parts, "the link lacks "+words), red
	}
	if words := ops(d.Extra); words != "" {
		parts = append(parts, "it has besides "+words)
	}
	if len(d.Lacks) > 0 {
		colour = red
	}
	return strings.Join(append(parts, d.Lacks...), "; "), colour
}

// ops names what operations are about.
func ops(list []rxfilter.Op) string {
	words := make([]string, len(list))
	for i, o := range list {
		words[i] = o.About()
	}
	return strings.Join(words, ", ")
}
