package hmp

import (
	"encoding/json"
	"fmt"
)

// infoMigrateCommands show migration.
func infoMigrateCommands() []*command {
	return []*command{
		show("query-migrate", "migrate", "", "", "show how a migration goes", (*call).infoMigrate),
		show("query-migrate-capabilities", "migrate_capabilities", "", "", "show what migration may do", (*call).infoMigrateCapabilities),
		show("query-migrate-parameters", "migrate_parameters", "", "", "show how migration is done", (*call).infoMigrateParameters),
	}
}

// field is a member of an object and how it is printed. Members that are absent are
// not.
type field struct {
	key, format string
	shift       int  // the number is printed in units of 1<<shift
	nonzero     bool // and only if it is not zero
}

var (
	migrateFields = []field{
		{key: "total-time", format: "total time: %d ms\n"}, {key: "expected-downtime", format: "expected downtime: %d ms\n"},
		{key: "downtime", format: "downtime: %d ms\n"}, {key: "setup-time", format: "setup: %d ms\n"},
	}
	migrateRAM = []field{
		{key: "transferred", format: "transferred ram: %d kbytes\n", shift: 10}, {key: "mbps", format: "throughput: %0.2f mbps\n"},
		{key: "remaining", format: "remaining ram: %d kbytes\n", shift: 10}, {key: "total", format: "total ram: %d kbytes\n", shift: 10},
		{key: "duplicate", format: "duplicate: %d pages\n"}, {key: "skipped", format: "skipped: %d pages\n"}, {key: "normal", format: "normal: %d pages\n"},
		{key: "normal-bytes", format: "normal bytes: %d kbytes\n", shift: 10}, {key: "dirty-sync-count", format: "dirty sync count: %d\n"},
		{key: "page-size", format: "page size: %d kbytes\n", shift: 10}, {key: "multifd-bytes", format: "multifd bytes: %d kbytes\n", shift: 10},
		{key: "pages-per-second", format: "pages-per-second: %d\n"},
		{key: "dirty-pages-rate", format: "dirty pages rate: %d pages\n", nonzero: true},
		{key: "postcopy-requests", format: "postcopy request count: %d\n", nonzero: true},
		{key: "precopy-bytes", format: "precopy ram: %d kbytes\n", shift: 10, nonzero: true},
		{key: "downtime-bytes", format: "downtime ram: %d kbytes\n", shift: 10, nonzero: true},
		{key: "postcopy-bytes", format: "postcopy ram: %d kbytes\n", shift: 10, nonzero: true},
		{key: "dirty-sync-missed-zero-copy", format: "Zero-copy-send fallbacks happened: %d times\n", nonzero: true},
	}
	migrateDisk = []field{
		{key: "transferred", format: "transferred disk: %d kbytes\n", shift: 10}, {key: "remaining", format: "remaining disk: %d kbytes\n", shift: 10},
		{key: "total", format: "total disk: %d kbytes\n", shift: 10},
	}
	migrateThrottle = []field{{key: "cpu-throttle-percentage", format: "cpu throttle percentage: %d\n"}}

	migrateParameters = []field{
		{key: "announce-initial", format: "%s: %d ms\n"}, {key: "announce-max", format: "%s: %d ms\n"},
		{key: "announce-rounds", format: "%s: %d\n"}, {key: "announce-step", format: "%s: %d ms\n"},
		{key: "compress-level", format: "%s: %d\n"}, {key: "compress-threads", format: "%s: %d\n"}, {key: "compress-wait-thread", format: "%s: %s\n"},
		{key: "decompress-threads", format: "%s: %d\n"}, {key: "throttle-trigger-threshold", format: "%s: %d\n"},
		{key: "cpu-throttle-initial", format: "%s: %d\n"}, {key: "cpu-throttle-increment", format: "%s: %d\n"}, {key: "cpu-throttle-tailslow", format: "%s: %s\n"},
		{key: "max-cpu-throttle", format: "%s: %d\n"}, {key: "tls-creds", format: "%s: '%s'\n"}, {key: "tls-hostname", format: "%s: '%s'\n"},
		{key: "max-bandwidth", format: "%s: %d bytes/second\n"}, {key: "downtime-limit", format: "%s: %d ms\n"}, {key: "x-checkpoint-delay", format: "%s: %d ms\n"},
		{key: "block-incremental", format: "%s: %s\n"}, {key: "multifd-channels", format: "%s: %d\n"}, {key: "multifd-compression", format: "%s: %s\n"},
		{key: "xbzrle-cache-size", format: "%s: %d bytes\n"}, {key: "max-postcopy-bandwidth", format: "%s: %d\n"}, {key: "tls-authz", format: "%s: '%s'\n"},
	}
)

// members is an object whose members are looked up one by one.
type members map[string]json.RawMessage

// fields prints those members of an object that there are.
func (c *call) fields(m members, list []field) {
	for _, f := range list {
		b, ok := m[f.key]
		v := scalar(b)
		n, isInt := v.(int64)
		if !ok || f.nonzero && isInt && n == 0 {
			continue
		}
		switch {
		case isInt && f.key == "mbps":
			v = float64(n)
		case isInt:
			v = n >> f.shift
		}
		c.printf(f.format, v)
	}
}

func (c *call) infoMigrate() error {
	var m struct {
		Status, Desc  string
		Blocked       []string `json:"blocked-reasons"`
		RAM, Disk     members
		ErrorDesc     string `json:"error-desc"`
		SocketAddress []struct {
			Type, Host, Port, Path string
		} `json:"socket-address"`
	}
	var all members
	if err := c.query("query-migrate", nil, &m); err != nil {
		return err
	}
	if err := c.query("query-migrate", nil, &all); err != nil {
		return err
	}
	if len(m.Blocked) > 0 {
		c.printf("Outgoing migration blocked:\n")
		for _, r := range m.Blocked {
			c.printf("  %s\n", r)
		}
	}
	if m.Status != "" {
		c.printf("Migration status: %s%s\n", m.Status, choose(m.Status == "failed" && m.ErrorDesc != "", " ("+m.ErrorDesc+")", ""))
		c.fields(all, migrateFields)
	}
	c.fields(m.RAM, migrateRAM)
	c.fields(m.Disk, migrateDisk)
	c.fields(all, migrateThrottle)
	if m.SocketAddress != nil {
		c.printf("socket address: [\n")
		for _, a := range m.SocketAddress {
			c.printf("\t%s\n", choose(a.Type == "unix", "unix:"+a.Path, fmt.Sprintf("tcp:%s:%s", a.Host, a.Port)))
		}
		c.printf("]\n")
	}
	return nil
}

func (c *call) infoMigrateCapabilities() error {
	var list []struct {
		Capability string
		State      bool
	}
	err := c.query("query-migrate-capabilities", nil, &list)
	for _, i := range list {
		c.printf("%s: %s\n", i.Capability, onOff(i.State))
	}
	return err
}

func onOff(b bool) string { return choose(b, "on", "off") }

func (c *call) infoMigrateParameters() error {
	var m members
	if err := c.query("query-migrate-parameters", nil, &m); err != nil {
		return err
	}
	for _, f := range migrateParameters {
		b, ok := m[f.key]
		if !ok {
			continue
		}
		v := scalar(b)
		if on, ok := v.(bool); ok {
			v = onOff(on)
		}
		c.printf(f.format, f.key, v)
	}
	return nil
}
