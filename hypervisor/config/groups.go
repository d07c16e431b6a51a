package config

import (
	"fmt"
	"maps"
	"slices"

	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// smpKeys are the keys of -smp.
type smpKeys struct {
	CPUs    uint32 `prop:"cpus"`
	MaxCPUs uint32 `prop:"maxcpus"`
	Sockets uint32 `prop:"sockets"`
	Dies    uint32 `prop:"dies"`
	Cores   uint32 `prop:"cores"`
	Threads uint32 `prop:"threads"`
}

// memoryKeys are the keys of -m.
type memoryKeys struct {
	Size  qdev.Size `prop:"size"`
	Slots uint32    `prop:"slots"`
	Max   qdev.Size `prop:"maxmem"`
}

// nameKeys are the keys of -name.
type nameKeys struct {
	Guest   string `prop:"guest"`
	Process string `prop:"process"`
	Threads bool   `prop:"debug-threads"`
}

// bootKeys are the keys of -boot, which are read and not used.
type bootKeys struct {
	Order  string `prop:"order"`
	Once   string `prop:"once"`
	Menu   bool   `prop:"menu"`
	Strict bool   `prop:"strict"`
	Splash uint32 `prop:"splash-time"`
}

// rtcKeys are the keys of -rtc.
type rtcKeys struct {
	Base     string `prop:"base" default:"utc"`
	Clock    string `prop:"clock" default:"host"`
	DriftFix string `prop:"driftfix" default:"none"`
}

// overcommitKeys are the keys of -overcommit.
type overcommitKeys struct {
	MemLock bool `prop:"mem-lock"`
	CPUPM   bool `prop:"cpu-pm"`
}

// monKeys are the keys of -mon.
type monKeys struct {
	ID      string `prop:"id"`
	Chardev string `prop:"chardev"`
	Mode    string `prop:"mode" default:"readline"`
	Pretty  bool   `prop:"pretty"`
}

// msgKeys are the keys of -msg.
type msgKeys struct {
	Timestamp bool `prop:"timestamp"`
	GuestName bool `prop:"guest-name"`
}

// addFDKeys are the keys of -add-fd.
type addFDKeys struct {
	FD     int64  `prop:"fd" default:"-1"`
	Set    int64  `prop:"set" default:"-1"`
	Opaque string `prop:"opaque"`
}

// optionGroup is an option with keys, by the name that QEMU has for it.
type optionGroup struct {
	name string
	keys any      // a pointer to the struct that has them, if any
	text []string // further keys, that are words
	flag []string // that are on or off
	nums []string // and that are numbers
}

// optionGroups are the options that take keys. Those of devices, objects and network
// back ends depend on their kind, and are told by other commands.
func optionGroups() []optionGroup {
	switches := func(v []string) bool { return slices.Contains(v, "on") || slices.Contains(v, "off") }
	var flags []string
	for _, key := range slices.Sorted(maps.Keys(harmless)) {
		if switches(harmless[key]) {
			flags = append(flags, key)
		}
	}
	return []optionGroup{
		{name: "machine", text: []string{"type", "accel", "memory-backend"}, flag: flags},
		{name: "accel"},
		{name: "smp-opts", keys: &smpKeys{}},
		{name: "memory", keys: &memoryKeys{}},
		{name: "object"},
		{name: "name", keys: &nameKeys{}},
		{name: "smbios"},
		{name: "boot-opts", keys: &bootKeys{}},
		{name: "rtc", keys: &rtcKeys{}},
		{name: "overcommit", keys: &overcommitKeys{}},
		{name: "device"},
		{name: "drive", text: []string{"file", "if", "format", "cache", "media", "serial", "aio", "discard", "detect-zeroes", "locking", "rerror", "werror",
			"node-name", "throttling.group"}, nums: limitKeys(),
			flag: []string{"read-only", "readonly", "snapshot", "copy-on-read", "cache.writeback", "cache.direct", "cache.no-flush", "auto-read-only",
				"force-share", "stats-account-invalid", "stats-account-failed"}},
		{name: "netdev"},
		{name: "nic"},
		{name: "net"},
		{name: "chardev", keys: &chardevKeys{}, text: []string{"backend"}},
		{name: "mon", keys: &monKeys{}},
		{name: "action", text: []string{"reboot", "shutdown", "panic", "watchdog"}},
		{name: "msg", keys: &msgKeys{}},
		{name: "add-fd", keys: &addFDKeys{}},
		{name: "global", text: []string{"driver", "property", "value"}},
	}
}

// CommandLineOptions describes the options that take keys, or the one of that name.
func CommandLineOptions(name *string) (qapi.CommandLineOptionInfoList, error) {
	var out qapi.CommandLineOptionInfoList
	for _, g := range optionGroups() {
		if name == nil || *name == g.name {
			out = append(out, qapi.CommandLineOptionInfo{Option: g.name, Parameters: g.parameters()})
		}
	}
	if name != nil && len(out) == 0 {
		return nil, fmt.Errorf("invalid option name: %s", *name)
	}
	return out, nil
}

func (g *optionGroup) parameters() qapi.CommandLineParameterInfoList {
	var out qapi.CommandLineParameterInfoList
	if g.keys != nil {
		for _, p := range qdev.Properties(g.keys) {
			if p.Name != "id" { // it names the whole
				out = append(out, parameter(p))
			}
		}
	}
	for _, key := range g.text {
		out = append(out, qapi.CommandLineParameterInfo{Name: key, Type: qapi.CommandLineParameterTypeString})
	}
	for _, key := range g.nums {
		out = append(out, qapi.CommandLineParameterInfo{Name: key, Type: qapi.CommandLineParameterTypeNumber})
	}
	for _, key := range g.flag {
		out = append(out, qapi.CommandLineParameterInfo{Name: key, Type: qapi.CommandLineParameterTypeBoolean})
	}
	return out
}

// parameter describes a key. The default of a number is for our own use.
func parameter(p qdev.Property) qapi.CommandLineParameterInfo {
	info := qapi.CommandLineParameterInfo{Name: p.Name, Type: qapi.CommandLineParameterTypeNumber}
	switch p.Type {
	case "str", "OnOffAuto":
		info.Type = qapi.CommandLineParameterTypeString
	case "bool":
		info.Type = qapi.CommandLineParameterTypeBoolean
	case "size":
		info.Type = qapi.CommandLineParameterTypeSize
	}
	if p.Default != "" && info.Type != qapi.CommandLineParameterTypeNumber {
		info.Default = &p.Default
	}
	if p.Desc != "" {
		info.Help = &p.Desc
	}
	return info
}
