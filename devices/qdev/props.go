package qdev

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Size is a property in bytes that takes QEMU's suffixes (k, M, G, T, P, E).
type Size uint64

// OnOffAuto is a property that can be left to the device.
type OnOffAuto string

// Values lists what the property accepts.
func (OnOffAuto) Values() []string { return []string{"auto", "on", "off"} }

// OnError is a property that says what becomes of requests that fail.
type OnError string

// Values lists what the property accepts.
func (OnError) Values() []string { return []string{"report", "ignore", "enospc", "stop", "auto"} }

// enum is a string type that accepts certain values only.
type enum interface{ Values() []string }

// Property describes one property of a driver.
type Property struct {
	Name, Type, Desc string
	Default          string
	// Link is the type of the object under /objects that the property names; "" for a
	// property that names none.
	Link  string
	field []int
}

var macType = reflect.TypeFor[net.HardwareAddr]()

// Properties returns the properties of a configuration struct, given as a
// pointer to one, in the order of its fields.
func Properties(cfg any) []Property {
	return collect(reflect.TypeOf(cfg).Elem(), nil)
}

func collect(t reflect.Type, index []int) []Property {
	var out []Property
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			out = append(out, collect(f.Type, at)...)
			continue
		}
		if name := f.Tag.Get("prop"); name != "" {
			out = append(out, Property{Name: name, Type: typeName(f.Type), Desc: f.Tag.Get("desc"), Default: f.Tag.Get("default"), Link: f.Tag.Get("link"), field: at})
		}
	}
	return out
}

// typeName names a Go type as QEMU's help does.
func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[OnOffAuto]():
		return "OnOffAuto"
	case reflect.TypeFor[OnError]():
		return "BlockdevOnError"
	case macType:
		return "str"
	}
	switch t.Kind() {
	case reflect.String:
		return "str"
	case reflect.Bool, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return t.Kind().String()
	}
	panic("a property cannot be a " + t.String())
}

// SetDefaults sets every property to the default of its tag.
func SetDefaults(cfg any) error {
	for _, p := range Properties(cfg) {
		if p.Default == "" {
			continue
		}
		if err := assign(p, reflect.ValueOf(cfg).Elem().FieldByIndex(p.field), "default", p.Default); err != nil {
			return err
		}
	}
	return nil
}

// Set sets a property of the driver's configuration from its text.
func Set(cfg any, driver, name, value string) error {
	var names []string
	for _, p := range Properties(cfg) {
		if p.Name == name {
			return assign(p, reflect.ValueOf(cfg).Elem().FieldByIndex(p.field), driver, value)
		}
		names = append(names, p.Name)
	}
	return fmt.Errorf("Property '%s.%s' not found%s", driver, name, Near(name, names))
}

// assign parses value into the field v of property p.
func assign(p Property, v reflect.Value, driver, value string) error {
	bad := func(want string) error { return &ValueError{driver, p.Name, value, want} }
	switch v.Type() {
	case reflect.TypeFor[Size]():
		n, err := ParseSize(value)
		if err != nil {
			return bad("a size with an optional suffix k, M, G, T, P or E")
		}
		v.SetUint(n)
		return nil
	case macType:
		mac, err := net.ParseMAC(value)
		if err != nil || len(mac) != 6 {
			return bad("a MAC address such as 52:54:00:12:34:56")
		}
		v.Set(reflect.ValueOf(mac))
		return nil
	}
	if e, ok := v.Interface().(enum); ok && !slices.Contains(e.Values(), value) {
		return bad("one of " + strings.Join(e.Values(), ", "))
	}
	switch k := v.Kind(); {
	case k == reflect.String:
		v.SetString(value)
	case k == reflect.Bool:
		var b bool
		if err := setBool(&b, driver, p.Name, value); err != nil {
			return err
		}
		v.SetBool(b)
	case v.CanUint():
		n, err := strconv.ParseUint(value, 0, v.Type().Bits())
		if err != nil {
			return bad(fmt.Sprintf("a number from 0 to %d", ^uint64(0)>>(64-v.Type().Bits())))
		}
		v.SetUint(n)
	default:
		n, err := strconv.ParseInt(value, 0, v.Type().Bits())
		if err != nil {
			return bad(fmt.Sprintf("a number of %d bits", v.Type().Bits()))
		}
		v.SetInt(n)
	}
	return nil
}

func setBool(b *bool, driver, name, value string) error {
	v, err := ParseBool(value)
	if err != nil {
		return &ValueError{driver, name, value, "'on' or 'off'"}
	}
	*b = v
	return nil
}

// ValueError is a value that a property does not take.
type ValueError struct {
	Driver, Property, Value string
	Want                    string // what is expected instead
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("property '%s.%s' does not accept '%s': %s expected", e.Driver, e.Property, e.Value, e.Want)
}

// ParseBool reads on or off, and the other words that QEMU takes for them.
func ParseBool(s string) (bool, error) {
	switch s {
	case "on", "yes", "true", "y":
		return true, nil
	case "off", "no", "false", "n":
		return false, nil
	}
	return false, fmt.Errorf("'on' or 'off' expected")
}

// ParseSize reads a number of bytes with an optional binary suffix.
func ParseSize(s string) (uint64, error) {
	digits, shift := s, 0
	if s != "" {
		if i := strings.IndexByte("bkmgtpe", s[len(s)-1]|0x20); i >= 0 && !strings.HasPrefix(s, "0x") {
			digits, shift = s[:len(s)-1], 10*i
		}
	}
	if whole, frac, ok := strings.Cut(digits, "."); ok && whole != "" && frac != "" && shift > 0 {
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil || f < 0 || f >= float64(uint64(1)<<(63-shift)) {
			return 0, fmt.Errorf("bad size '%s'", s)
		}
		return uint64(f * float64(uint64(1)<<shift)), nil
	}
	n, err := strconv.ParseUint(digits, 0, 64)
	if err != nil || n<<shift>>shift != n {
		return 0, fmt.Errorf("bad size '%s'", s)
	}
	return n << shift, nil
}
