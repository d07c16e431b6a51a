package main

import (
	"fmt"
	"io"
	"strings"

	"hv/devices/qdev"
	"hv/hypervisor/config"
	"hv/hypervisor/cpuid"
	"hv/hypervisor/machine"
	"hv/net/netdev"
)

// printHelp prints what a help option asks for, in QEMU's formats where managers
// read them.
func printHelp(w io.Writer, program string, h config.Help, registry *qdev.Registry) error {
	list := func(heading string, names []string) {
		fmt.Fprintln(w, heading)
		for _, n := range names {
			fmt.Fprintln(w, n)
		}
	}
	switch h.Topic {
	case "help":
		config.PrintHelp(w, program)
	case "version":
		fmt.Fprintf(w, "hv version %s (speaks the QMP of QEMU emulator version 7.2.0)\n", version)
	case "machine":
		printMachines(w)
	case "cpu":
		printCPUs(w)
	case "device":
		if h.Arg == "" {
			registry.Help(w)
			return nil
		}
		d, err := registry.Lookup(h.Arg)
		if err != nil {
			return err
		}
		d.Help(w)
	case "accel":
		list("Accelerators supported in hv binary:", config.Accels())
	case "object":
		list("List of user creatable objects:", prefixed("  ", config.ObjectTypes()))
	case "netdev":
		var kinds []string
		for _, k := range netdev.Kinds() {
			kinds = append(kinds, string(k))
		}
		list("Available netdev backend types:", kinds)
	case "nic":
		list("Supported NIC models:", registry.Names(qdev.Network))
	case "chardev":
		list("Available chardev backend types:", prefixed("  ", config.ChardevTypes()))
	case "drive":
		formats := strings.Join(config.Drivers(), " ")
		fmt.Fprintf(w, "Supported formats: %s\nSupported formats (read-only): %s\n", formats, formats)
	}
	return nil
}

func prefixed(p string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = p + n
	}
	return out
}

func printMachines(w io.Writer) {
	fmt.Fprintln(w, "Supported machines are:")
	for _, t := range machine.Types() {
		if t.Alias != "" {
			fmt.Fprintf(w, "%-20s %s (alias of %s)\n", t.Alias, t.Desc, t.Name)
		}
		suffix := ""
		if t.Default {
			suffix = " (default)"
		}
		fmt.Fprintf(w, "%-20s %s%s\n", t.Name, t.Desc, suffix)
	}
}

func printCPUs(w io.Writer) {
	fmt.Fprintln(w, "Available CPUs:")
	for _, m := range cpuid.Models(false) {
		desc := m.Desc
		if m.AliasOf != "" {
			desc = "(alias of " + m.AliasOf + ")"
		}
		fmt.Fprintf(w, "x86 %-28s  %s\n", m.Name, desc)
	}
	fmt.Fprintln(w, "\nRecognized CPUID flags:")
	line := ""
	for _, f := range cpuid.FeatureNames() {
		if len(line)+len(f) > 76 {
			fmt.Fprintln(w, " "+line)
			line = ""
		}
		line += " " + f
	}
	fmt.Fprintln(w, " "+line)
}
