package config

import (
	"slices"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

func TestCommandLineOptions(t *testing.T) {
	all, err := CommandLineOptions(nil)
	if err != nil || len(all) != len(optionGroups()) {
		t.Fatalf("%d options, %v", len(all), err)
	}
	for _, c := range []struct{ option, key, want string }{
		{"memory", "maxmem", "size"}, {"smp-opts", "dies", "number"}, {"msg", "timestamp", "boolean"},
		{"machine", "type", "string"}, {"machine", "usb", "boolean"}, {"chardev", "backend", "string"},
		{"chardev", "size", "size"}, {"rtc", "base", "string utc"}, {"chardev", "server", "boolean"},
	} {
		one, err := CommandLineOptions(&c.option)
		if err != nil || len(one) != 1 || one[0].Option != c.option {
			t.Fatalf("%s: %+v, %v", c.option, one, err)
		}
		i := slices.IndexFunc(one[0].Parameters, func(p qapi.CommandLineParameterInfo) bool { return p.Name == c.key })
		if i < 0 {
			t.Errorf("%s has no %s", c.option, c.key)
			continue
		}
		got := string(one[0].Parameters[i].Type)
		if d := one[0].Parameters[i].Default; d != nil {
			got += " " + *d
		}
		if got != c.want {
			t.Errorf("%s.%s is a %s, not a %s", c.option, c.key, got, c.want)
		}
	}
	unknown := "nope"
	if _, err := CommandLineOptions(&unknown); err == nil || err.Error() != "invalid option name: nope" {
		t.Error(err)
	}
}

// TestToldKeysAreTaken gives each key that is told to its option: none is unknown.
func TestToldKeysAreTaken(t *testing.T) {
	values := map[qapi.CommandLineParameterType]string{"string": "x", "boolean": "on", "number": "4", "size": "1G"}
	line := map[string]string{
		"machine": "-machine q35,", "smp-opts": "-smp ", "memory": "-m ", "name": "-name ", "boot-opts": "-boot ", "rtc": "-rtc ",
		"overcommit": "-overcommit ", "drive": "-drive if=none,file=f,format=raw,id=d,", "mon": "-mon ", "action": "-action ",
		"msg": "-msg ", "add-fd": "-add-fd ",
	}
	all, _ := CommandLineOptions(nil)
	for _, o := range all {
		for _, p := range o.Parameters {
			if line[o.Option] == "" {
				continue // what it takes depends on its kind
			}
			_, err := Parse(strings.Fields(line[o.Option]+p.Name+"="+values[p.Type]), testEnv())
			if err != nil && (strings.Contains(err.Error(), "Invalid parameter") || strings.Contains(err.Error(), "Property")) {
				t.Errorf("%s.%s: %v", o.Option, p.Name, err)
			}
		}
	}
}
