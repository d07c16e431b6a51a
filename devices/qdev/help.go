package qdev

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Help lists the drivers, by category, as -device help does.
func (r *Registry) Help(w io.Writer) {
	drivers := r.Drivers()
	for c, heading := range categoryNames {
		first := true
		for _, d := range drivers {
			if d.Category != Category(c) {
				continue
			}
			if first {
				fmt.Fprintf(w, "%s devices:\n", heading)
				first = false
			}
			fmt.Fprintln(w, d.line())
		}
		if !first {
			fmt.Fprintln(w)
		}
	}
}

// Names lists the drivers of a category.
func (r *Registry) Names(c Category) []string {
	var names []string
	for _, d := range r.Drivers() {
		if d.Category == c {
			names = append(names, d.Name)
		}
	}
	return names
}

func (d *Driver) line() string {
	s := fmt.Sprintf("name %q", d.Name)
	if d.Bus != "" {
		s += ", bus " + d.Bus
	}
	for _, a := range d.Aliases {
		s += fmt.Sprintf(", alias %q", a)
	}
	if d.Desc != "" {
		s += fmt.Sprintf(", desc %q", d.Desc)
	}
	return s
}

// Help lists the driver's properties, as -device DRIVER,help does.
func (d *Driver) Help(w io.Writer) {
	props := Properties(d.NewConfig())
	if d.Bus == "PCI" {
		props = append(props,
			Property{Name: "addr", Type: "int32", Desc: "slot and optional function number, example: 06.0 or 06"},
			Property{Name: "multifunction", Type: "bool", Default: "off"})
	}
	slices.SortFunc(props, func(a, b Property) int { return strings.Compare(a.Name, b.Name) })
	fmt.Fprintf(w, "%s options:\n", d.Name)
	for _, p := range props {
		line := fmt.Sprintf("  %s=<%s>", p.Name, p.Type)
		if p.Desc != "" {
			line = fmt.Sprintf("%-24s - %s", line, p.Desc)
		}
		if p.Default != "" {
			line += fmt.Sprintf(" (default: %s)", p.Default)
		}
		fmt.Fprintln(w, line)
	}
}
