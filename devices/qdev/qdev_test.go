package qdev

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
)

type transport struct {
	Packed bool `prop:"packed" default:"off" desc:"packed rings"`
}

type colour string

func (colour) Values() []string { return []string{"red", "blue"} }

type config struct {
	transport
	Queues uint16           `prop:"num-queues" default:"4" desc:"number of queues"`
	Offset int32            `prop:"offset"`
	Size   Size             `prop:"size" default:"4k"`
	MAC    net.HardwareAddr `prop:"mac"`
	Colour colour           `prop:"colour" default:"red"`
	Event  OnOffAuto        `prop:"event" default:"auto"`
	Serial string           `prop:"serial"`
	Hidden int
}

func registry() *Registry {
	return NewRegistry(
		&Driver{Name: "thing-pci", Aliases: []string{"thing"}, Bus: "PCI", Category: Storage, Desc: "a thing", NewConfig: func() any { return new(config) }},
		&Driver{Name: "other", Category: Misc, NewConfig: func() any { return new(config) }},
	)
}

func TestDefaultsAndSet(t *testing.T) {
	d, err := registry().New("thing")
	if err != nil {
		t.Fatal(err)
	}
	c := d.Config.(*config)
	if c.Queues != 4 || c.Size != 4096 || c.Colour != "red" || c.Event != "auto" || c.Packed {
		t.Errorf("defaults %+v", c)
	}
	for name, value := range map[string]string{
		"num-queues": "0x10", "offset": "-5", "size": "2M", "mac": "52:54:00:01:02:03", "colour": "blue", "event": "off",
		"serial": "a b", "packed": "on", "id": "x-1", "bus": "pci.0", "addr": "3.1", "multifunction": "on",
	} {
		if err := d.Set(name, value); err != nil {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if c.Queues != 16 || c.Offset != -5 || c.Size != 2<<20 || c.MAC.String() != "52:54:00:01:02:03" || c.Colour != "blue" || !c.Packed || c.Serial != "a b" {
		t.Errorf("set %+v", c)
	}
	if d.ID != "x-1" || d.Bus != "pci.0" || d.Addr != "3.1" || !d.Multifunction || d.Label() != "x-1" {
		t.Errorf("placed %+v", d)
	}
	for name, want := range map[string]string{"packed": "on", "mac": "52:54:00:01:02:03", "size": "2097152", "num-queues": "16"} {
		if got, err := get(c, "thing-pci", name); err != nil || got != want {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if _, err := get(c, "thing-pci", "nope"); err == nil {
		t.Error("a property that is not there was read")
	}
}

func TestBadValues(t *testing.T) {
	r := registry()
	for name, value := range map[string]string{
		"num-queues": "65536", "offset": "x", "size": "4Q", "mac": "1:2", "colour": "green", "event": "maybe", "packed": "2", "id": "9", "multifunction": "x",
	} {
		d, _ := r.New("thing")
		err := d.Set(name, value)
		if err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
		if bad := (*ValueError)(nil); name != "id" && !errors.As(err, &bad) {
			t.Errorf("%s: %T", name, err)
		}
	}
	d, _ := r.New("other")
	if err := d.Set("num-queue", "1"); err == nil || !strings.Contains(err.Error(), "(near: num-queues)") {
		t.Errorf("misspelt: %v", err)
	}
	if err := d.Set("addr", "1"); err == nil {
		t.Error("a device that is not on PCI has an address")
	}
	if _, err := r.New("think"); err == nil || !strings.Contains(err.Error(), "near: thing") {
		t.Errorf("unknown driver: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]uint64{"0": 0, "512": 512, "1k": 1024, "1K": 1024, "1.5M": 3 << 19, "2G": 2 << 30, "1T": 1 << 40, "0x10": 16, "7b": 7, "15E": 15 << 60} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "k", "-1", "1.5", "16E", "1kk", "x", "99999999999999999999"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}

func TestTree(t *testing.T) {
	r, tree := registry(), &Tree{}
	a, _ := r.New("thing")
	a.ID = "a"
	b, _ := r.New("thing")
	c, _ := r.New("other")
	for _, d := range []*Instance{a, b, c} {
		if err := tree.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	if a.Path() != "/machine/peripheral/a" || c.Path() != "/machine/peripheral-anon/device[1]" || b.Label() != "thing-pci" {
		t.Errorf("paths %s, %s", a.Path(), c.Path())
	}
	again, _ := r.New("other")
	again.ID = "a"
	if err := tree.Add(again); err == nil || !strings.Contains(err.Error(), "Duplicate device ID 'a'") {
		t.Errorf("the same id twice: %v", err)
	}
	tree.Remove(a)
	if tree.Find("a") != nil || tree.Find("") != nil || len(tree.Devices()) != 2 {
		t.Error("the device is still there")
	}
}

func TestHelp(t *testing.T) {
	var b strings.Builder
	r := registry()
	r.Help(&b)
	for _, want := range []string{"Storage devices:\nname \"thing-pci\", bus PCI, alias \"thing\", desc \"a thing\"\n", "Misc devices:\nname \"other\"\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	b.Reset()
	d, _ := r.Lookup("thing")
	d.Help(&b)
	for _, want := range []string{"thing-pci options:\n", "num-queues=<uint16>", "- number of queues (default: 4)", "addr=<int32>", "event=<OnOffAuto>"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func FuzzSet(f *testing.F) {
	f.Add("num-queues", "7")
	f.Add("mac", "52:54:00:12:34:56")
	f.Add("size", "1.5G")
	f.Fuzz(func(t *testing.T, name, value string) {
		d, _ := registry().New("thing")
		if d.Set(name, value) != nil {
			return
		}
		if _, err := get(d.Config, "thing-pci", name); err != nil && name != "id" && name != "bus" && name != "addr" && name != "multifunction" {
			t.Fatal(err)
		}
	})
}

// get returns a property's current value as text.
func get(cfg any, driver, name string) (string, error) {
	for _, p := range Properties(cfg) {
		if p.Name == name {
			return text(reflect.ValueOf(cfg).Elem().FieldByIndex(p.field)), nil
		}
	}
	return "", fmt.Errorf("Property '%s.%s' not found", driver, name)
}

func text(v reflect.Value) string {
	if v.Type() == macType {
		return v.Interface().(net.HardwareAddr).String()
	}
	if v.Kind() == reflect.Bool {
		if v.Bool() {
			return "on"
		}
		return "off"
	}
	return fmt.Sprint(v.Interface())
}
