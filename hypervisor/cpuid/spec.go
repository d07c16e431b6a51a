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
	level, xlevel  *int // highest leaves
	minLevel       int
	minXLevel      int
	// Migratable leaves out what cannot be migrated.
	Migratable bool
	// Latest makes names without a version stand for the last one, as some boards
	// have it.
	Latest bool
}

type toggle struct {
	at   place
	name string
	on   bool
}

// numeric are properties with a number as their value.
var numeric = map[string]func(s *Spec, n int){
	"family":        func(s *Spec, n int) { s.family = &n },
	"model":         func(s *Spec, n int) { s.model = &n },
	"stepping":      func(s *Spec, n int) { s.stepping = &n },
	"level":         func(s *Spec, n int) { s.level = &n },
	"xlevel":        func(s *Spec, n int) { s.xlevel = &n },
	"min-level":     func(s *Spec, n int) { s.minLevel = n },
	"min-xlevel":    func(s *Spec, n int) { s.minXLevel = n },
	"phys-bits":     func(s *Spec, n int) { s.PhysBits = n },
	"tsc-frequency": func(s *Spec, n int) { s.TSCKHz = n / 1000 },
}

// limits are the most that numeric properties may be, where that is less than any.
var limits = map[string]int64{"family": 255 + 15, "model": 255, "stepping": 15, "phys-bits": 52,
	"level": 1<<32 - 1, "xlevel": 1<<32 - 1, "min-level": 1<<32 - 1, "min-xlevel": 1<<32 - 1}

// switches are properties that are on or off without being features.
var switches = map[string]func(s *Spec, on bool){
	"enforce":    func(s *Spec, on bool) { s.Enforce = on },
	"check":      func(s *Spec, on bool) { s.Check = on },
	"kvm":        func(s *Spec, on bool) { s.HideKVM = !on },
	"migratable": func(s *Spec, on bool) { s.Migratable = on },
}

// fixed are QEMU's other properties, each with the one value that hv has.
var fixed = map[string]any{
	"host-phys-bits": true, "host-phys-bits-limit": int64(0), "l3-cache": true, "legacy-cache": true, "lmce": false, "pmu": false,
	"cpuid-0xb": true, "tcg-cpuid": true, "vmware-cpuid-freq": false, "full-cpuid-auto-level": true, "fill-mtrr-mask": true,
	"kvm-no-smi-migration": false, "kvm-pv-enforce-cpuid": false, "start-powered-off": false, "ucode-rev": int64(0),
	"lbr-fmt": uint64(1<<64 - 64), "lbr_fmt": uint64(1<<64 - 64), "x-force-features": false, "x-intel-pt-auto-level": true,
	"x-migrate-smi-count": true, "x-vendor-cpuid-only": true,
	"hv-passthrough": false, "hv-enforce-cpuid": false, "hv-relaxed": false, "hv-vapic": false, "hv-crash": false, "hv-time": false,
	"hv-vpindex": false, "hv-runtime": false, "hv-synic": false, "hv-stimer": false, "hv-stimer-direct": false, "hv-reset": false,
	"hv-frequencies": false, "hv-reenlightenment": false, "hv-tlbflush": false, "hv-tlbflush-ext": false, "hv-tlbflush-direct": false,
	"hv-ipi": false, "hv-evmcs": false, "hv-avic": false, "hv-apicv": false, "hv-xmm-input": false, "hv-syndbg": false,
	"hv-emsr-bitmap": false, "hv-spinlocks": int64(1<<32 - 1), "hv-vendor-id": "", "hv-no-nonarch-coresharing": "off",
	"hv-version-id-build": int64(14393), "hv-version-id-major": int64(10), "hv-version-id-minor": int64(0),
	"hv-version-id-spack": int64(0), "hv-version-id-sbranch": int64(0), "hv-version-id-snumber": int64(0),
	"x-hv-max-vps": int64(-1), "x-hv-synic-kvm-only": false,
}

// fixedTo refuses to change a property that has one value only.
func fixedTo(key string, have, v any) error {
	if want, ok := v.(int64); ok && have == uint64(want) || v == have {
		return nil
	}
	if b, ok := have.(bool); ok {
		have = map[bool]string{true: "on", false: "off"}[b]
	}
	return fmt.Errorf("CPU property '%s' is only available as %v", key, have)
}

// NewSpec returns the model with a name, as it is.
func NewSpec(model string) (Spec, error) {
	s := Spec{Model: model, Check: true, Migratable: true}
	if !known(model) {
		return s, &UnknownError{What: "CPU model", Name: model, Known: names()}
	}
	return s, nil
}

// Parse reads a -cpu argument: MODEL[,+FEATURE|,-FEATURE|,PROP=VALUE...]. "" is
// the default model, qemu64.
func Parse(arg string) (Spec, error) {
	fields := strings.Split(arg, ",")
	if fields[0] == "" {
		fields[0] = DefaultModel
	}
	s, err := NewSpec(fields[0])
	if err != nil {
		return s, err
	}
	for _, f := range fields[1:] {
		if err := s.apply(f); err != nil {
			return s, err
		}
	}
	return s, nil
}

func names() []string {
	var all []string
	for _, m := range Models(false) {
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

// apply applies one of the fields that follow the model's name.
func (s *Spec) apply(field string) error {
	if field == "" {
		return errors.New("empty CPU property")
	}
	key, value, hasValue := strings.Cut(field, "=")
	switch {
	case key == "":
		return fmt.Errorf("CPU property without a name in '%s'", field)
	case hasValue:
		v, err := read(key, value)
		if err != nil {
			return err
		}
		return s.Set(key, v)
	case key[0] == '+' || key[0] == '-':
		return s.Set(key[1:], key[0] == '+')
	}
	return s.Set(key, true)
}

// read reads a property's value as its kind wants it.
func read(key, value string) (any, error) {
	have := fixed[key]
	_, signed := have.(int64)
	_, unsigned := have.(uint64)
	_, text := have.(string)
	switch {
	case numeric[key] != nil || signed || unsigned:
		n, err := strconv.ParseInt(value, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("CPU property '%s' expects a number, not '%s'", key, value)
		}
		return n, nil
	case key == "vendor", key == "model-id", text:
		return value, nil
	case value != "on" && value != "off":
		return nil, fmt.Errorf("CPU property '%s' expects 'on' or 'off', not '%s'", key, value)
	}
	return value == "on", nil
}

// TypeError is a value of the wrong kind for a property.
type TypeError struct{ Name, Want string }

func (e *TypeError) Error() string {
	return fmt.Sprintf("Invalid parameter type for '%s', expected: %s", e.Name, e.Want)
}

// Set sets a property to a bool, an int64 or a string.
func (s *Spec) Set(key string, v any) error {
	if name, ok := aliases[key]; ok {
		key = name
	}
	if set, ok := numeric[key]; ok {
		n, ok := v.(int64)
		if !ok {
			return &TypeError{key, "integer"}
		}
		if limit, ok := limits[key]; n < 0 || ok && n > limit {
			return fmt.Errorf("CPU property '%s' cannot be %d", key, n)
		}
		set(s, int(n))
		return nil
	}
	if key == "vendor" || key == "model-id" {
		return s.setText(key, v)
	}
	if key == "host-cache-info" && s.likeHost() {
		return fixedTo(key, false, v)
	}
	if have, ok := fixed[key]; ok {
		return fixedTo(key, have, v)
	}
	set, isSwitch := switches[key]
	at, isFeature := features()[key]
	if !isSwitch && !isFeature {
		return &UnknownError{What: "CPU property", Name: key, Known: slices.Concat(FeatureNames(), []string{"enforce", "check", "kvm", "phys-bits"})}
	}
	on, ok := v.(bool)
	switch {
	case !ok:
		return &TypeError{key, "boolean"}
	case isSwitch:
		set(s, on)
	default:
		s.toggles = append(s.toggles, toggle{at, key, on})
	}
	return nil
}

func (s *Spec) setText(key string, v any) error {
	text, ok := v.(string)
	switch {
	case !ok:
		return &TypeError{key, "string"}
	case key == "model-id":
		s.Brand = text
	case len(text) != 12 && text != "":
		return fmt.Errorf("CPU property 'vendor' expects 12 characters, not '%s'", text)
	default:
		s.Vendor = text
	}
	return nil
}
