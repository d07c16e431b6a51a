package machine

import (
	"fmt"
	"regexp"
)

// Kind tells the boards apart.
type Kind int

// Kinds of board.
const (
	Q35 Kind = iota
	MicroVM
	None
)

// Type is a machine type that -machine names.
type Type struct {
	Kind    Kind
	Name    string // canonical name
	Alias   string // another name that is listed
	Desc    string
	Default bool
	MaxCPUs int    // the most that -smp may ask for; KVM's own limit may be lower
	RAM     string // id of the memory that it makes
	// Latest says that names of processor models without a version mean the latest.
	Latest bool
	// Versions are names of earlier versions, which are this one here.
	Versions []string
}

var types = []Type{
	{Kind: MicroVM, Name: "microvm", Desc: "minimal machine: PCI Express, serial port, ACPI events", MaxCPUs: 1024, RAM: "microvm.ram", Latest: true},
	{Kind: Q35, Name: "pc-q35-7.2", Alias: "q35", Desc: "Standard PC (Q35 + ICH9, 2009)", Default: true, MaxCPUs: 1024, RAM: "pc.ram", Versions: q35Versions},
	{Kind: None, Name: "none", Desc: "empty machine", MaxCPUs: 1, RAM: "ram"},
}

// q35Versions are QEMU's versions of q35 before the current one.
var q35Versions = []string{
	"pc-q35-2.4", "pc-q35-2.5", "pc-q35-2.6", "pc-q35-2.7", "pc-q35-2.8", "pc-q35-2.9", "pc-q35-2.10", "pc-q35-2.11", "pc-q35-2.12",
	"pc-q35-3.0", "pc-q35-3.1", "pc-q35-4.0", "pc-q35-4.0.1", "pc-q35-4.1", "pc-q35-4.2", "pc-q35-5.0", "pc-q35-5.1", "pc-q35-5.2",
	"pc-q35-6.0", "pc-q35-6.1", "pc-q35-6.2", "pc-q35-7.0", "pc-q35-7.1",
}

// Types lists the machine types in the order of -machine help.
func Types() []Type { return types }

// versioned matches the names of QEMU's other q35 and pc machines, which
// resolve to the one that there is.
var versioned = regexp.MustCompile(`^pc(-(q35|i440fx)-[1-9][0-9]?\.[0-9]+(\.[0-9]+)?)?$`)

// Lookup returns the machine type with a name, an alias or a version that
// resolves to it; "" is the default.
func Lookup(name string) (*Type, error) {
	for i := range types {
		t := &types[i]
		if name == t.Name || name == t.Alias && name != "" || name == "" && t.Default || t.Default && versioned.MatchString(name) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("unsupported machine type %q (use -machine help to list supported machines)", name)
}
