package cpuid

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Spec is a parsed -cpu argument.
type Spec struct {
	Model string
	// toggles are feature switches in the order given.
	toggles []toggle
	// Enforce makes a feature that the host lacks an error, Check a warning.
	Enforce, Check bool
	HideKVM        bool // kvm=off
	PhysBits       int  // 0 for the host's
	Vendor         string
	Brand          string
	TSCKHz         int
	family         *int
	model          *int
	stepping       *int
	// Migratable leaves out what cannot be migrated.
	Migratable bool
}

type toggle struct {
	at   bit
	name string
	on   bool
}

// numeric are properties with a number as their value.
var numeric = map[string]func(s *Spec, n int){
	"family":        func(s *Spec, n int) { s.family = &n },
	"model":         func(s *Spec, n int) { s.model = &n },
	"stepping":      func(s *Spec, n int) { s.stepping = &n },
	"phys-bits":     func(s *Spec, n int) { s.PhysBits = n },
	"tsc-frequency": func(s *Spec, n int) { s.TSCKHz = n / 1000 },
}

// switches are properties that are on or off without being features.
var switches = map[string]func(s *Spec, on bool) error{
	"enforce":         func(s *Spec, on bool) error { s.Enforce = on; return nil },
	"check":           func(s *Spec, on bool) error { s.Check = on; return nil },
	"kvm":             func(s *Spec, on bool) error { s.HideKVM = !on; return nil },
	"migratable":      func(s *Spec, on bool) error { s.Migratable = on; return nil },
	"host-phys-bits":  only(true),
	"l3-cache":        only(true),
	"pmu":             only(false),
	"hv-passthrough":  only(false),
	"host-cache-info": only(false),
}

// only accepts the one setting that hv has.
func only(have bool) func(*Spec, bool) error {
	return func(_ *Spec, on bool) error {
		if on != have {
			return fmt.Errorf("is only available as %s", onOff(have))
		}
		return nil
	}
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// Parse reads a -cpu argument: MODEL[,+FEATURE|,-FEATURE|,PROP=VALUE...]. "" is
// the default model, qemu64.
func Parse(arg string) (Spec, error) {
	fields := strings.Split(arg, ",")
	s := Spec{Model: fields[0], Check: true, Migratable: true}
	if s.Model == "" {
		s.Model = "qemu64"
	}
	if s.Model != "host" && s.Model != "max" && lookup(s.Model) == nil {
		return s, &UnknownError{What: "CPU model", Name: s.Model, Known: names()}
	}
	at := features()
	for _, f := range fields[1:] {
		if err := s.apply(f, at); err != nil {
			return s, err
		}
	}
	return s, nil
}

func names() []string {
	var all []string
	for _, m := range Models() {
		all = append(all, m.Name)
	}
	return all
}

// UnknownError is a model or property that there is not.
type UnknownError struct {
	What, Name string
	Known      []string
}

func (e *UnknownError) Error() string { return fmt.Sprintf("unable to find %s '%s'", e.What, e.Name) }

func (s *Spec) apply(field string, at map[string]bit) error {
	if field == "" {
		return errors.New("empty CPU property")
	}
	key, value, hasValue := strings.Cut(field, "=")
	on := true
	switch {
	case key == "":
		return fmt.Errorf("CPU property without a name in '%s'", field)
	case key[0] == '+' && !hasValue:
		key = key[1:]
	case key[0] == '-' && !hasValue:
		key, on = key[1:], false
	case !hasValue:
		value = "on"
	}
	if name, ok := aliases[key]; ok {
		key = name
	}
	if set, ok := numeric[key]; ok && hasValue {
		n, err := strconv.ParseInt(value, 0, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("CPU property '%s' expects a number, not '%s'", key, value)
		}
		set(s, int(n))
		return nil
	}
	switch {
	case key == "vendor" && hasValue:
		if len(value) != 12 {
			return fmt.Errorf("CPU property 'vendor' expects 12 characters, not '%s'", value)
		}
		s.Vendor = value
		return nil
	case key == "model-id" && hasValue:
		s.Brand = value
		return nil
	}
	if hasValue {
		if value != "on" && value != "off" {
			return fmt.Errorf("CPU property '%s' expects 'on' or 'off', not '%s'", key, value)
		}
		on = value == "on"
	}
	if f, ok := switches[key]; ok {
		if err := f(s, on); err != nil {
			return fmt.Errorf("CPU property '%s' %w", key, err)
		}
		return nil
	}
	b, ok := at[key]
	if !ok {
		return &UnknownError{What: "CPU property", Name: key, Known: slices.Concat(FeatureNames(), []string{"enforce", "check", "kvm", "phys-bits"})}
	}
	s.toggles = append(s.toggles, toggle{b, key, on})
	return nil
}
