package cpuid

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Model is a processor model that -cpu names.
type Model struct {
	Name, Desc string
	// AliasOf is the version that a name without one stands for.
	AliasOf                 string
	Vendor                  string // 12 characters
	Family, Model, Stepping int
	level, xlevel           uint32 // highest leaves, basic and extended
	features                set
	also                    []string // other names
}

const (
	intel = "GenuineIntel"
	amd   = "AuthenticAMD"
)

// The models that are not in the table.
const (
	modelHost = "host"
	modelMax  = "max"
	modelBase = "base"
)

// DefaultModel is what a machine has without -cpu.
const DefaultModel = "qemu64"

// table describes the models, one a line, with fields between bars: name, other names,
// vendor, family, model, stepping, highest basic and extended leaf, brand, the
// model whose features it has too, and the differences from that.
//
//go:embed models.txt
var table string

// versions are the models of the table, in its order: versions of one are next
// to each other, the oldest first.
var versions = sync.OnceValue(func() []*Model {
	var all []*Model
	for line := range strings.Lines(table) {
		m, err := parseModel(strings.TrimSuffix(line, "\n"), all)
		if err != nil {
			panic(fmt.Sprintf("cpuid: models.txt: %s: %v", line, err))
		}
		all = append(all, m)
	}
	return all
})

// parseModel reads a line of the table; before are the models above it.
func parseModel(line string, before []*Model) (*Model, error) {
	f := strings.Split(line, "|")
	if len(f) != 11 {
		return nil, fmt.Errorf("%d fields", len(f))
	}
	m := &Model{Name: f[0], also: strings.FieldsFunc(f[1], func(r rune) bool { return r == ',' }), Vendor: f[2], Desc: f[8], features: newSet()}
	var n [5]uint64
	for i, bits := range [...]int{8, 8, 4, 32, 32} {
		var err error
		if n[i], err = strconv.ParseUint(f[3+i], 0, bits); err != nil {
			return nil, err
		}
	}
	m.Family, m.Model, m.Stepping, m.level, m.xlevel = int(n[0]), int(n[1]), int(n[2]), uint32(n[3]), uint32(n[4])
	if f[9] != "-" {
		i := slices.IndexFunc(before, func(o *Model) bool { return o.Name == f[9] })
		if i < 0 {
			return nil, fmt.Errorf("no model %s", f[9])
		}
		copy(m.features, before[i].features)
	}
	for _, d := range strings.Fields(f[10]) {
		if features()[d[1:]].mask == 0 {
			return nil, fmt.Errorf("no feature %s", d)
		}
		m.features.put(d[0] == '+', d[1:])
	}
	return m, nil
}

// family returns a versioned model's name without the version.
func (m *Model) family() string { return m.Name[:strings.LastIndex(m.Name, "-v")] }

// Models lists the named models, and the special ones. Names without a version
// stand for the first, or with latest for the last.
func Models(latest bool) []Model {
	all := []Model{
		{Name: modelHost, Desc: "processor with all supported host features"},
		{Name: modelMax, Desc: "Enables all features supported by the accelerator in the current host"},
		{Name: modelBase, Desc: "base CPU model type with no features enabled"},
	}
	last := ""
	for _, m := range versions() {
		if m.family() != last {
			last = m.family()
			all = append(all, *lookup(last, latest))
		}
		for _, name := range m.also {
			all = append(all, *lookup(name, latest))
		}
		all = append(all, *m)
	}
	return all
}

// lookup returns the model with a name of any kind, nil for the special ones and
// those that there are not.
func lookup(name string, latest bool) *Model {
	var found *Model
	for _, m := range versions() {
		switch {
		case m.Name == name:
			return m
		case slices.Contains(m.also, name), m.family() == name && (found == nil || latest):
			found = m
		}
	}
	if found == nil {
		return nil
	}
	alias := *found
	alias.Name, alias.AliasOf = name, found.Name
	return &alias
}

// TypeName returns the QOM type of a model.
func TypeName(model string) string { return model + "-x86_64-cpu" }

// Static tells whether the model never changes, MigrationSafe whether it means the
// same on every host.
func (m *Model) Static() bool        { return m.Name == modelBase }
func (m *Model) MigrationSafe() bool { return m.Name != modelHost && m.Name != modelMax }

// known tells whether there is a model with a name.
func known(name string) bool {
	return name == modelHost || name == modelMax || name == modelBase || lookup(name, false) != nil
}
