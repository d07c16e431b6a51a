package config

import (
	"fmt"
	"io"
	"strings"
)

// option is one command-line option.
type option struct {
	name    string
	aliases []string
	arg     string // placeholder in the help; "" for an option without argument
	help    string
	apply   func(p *parser, arg string) error
}

// options is the whole command line. It is a function so that the table may
// name functions that look options up.
func options() []option {
	return []option{
		// Standard options.
		{"h", []string{"help"}, "", "print this list", helpTopic("help")},
		{"version", nil, "", "print the version", helpTopic("version")},
		{"machine", []string{"M"}, "[type=]NAME[,PROP=VALUE...]", "machine type ('-machine help' lists them)", (*parser).machine},
		{"accel", nil, "[accel=]kvm|qtest", "accelerator; the first that can be used of those given", (*parser).accel},
		{"enable-kvm", nil, "", "same as -accel kvm", func(p *parser, _ string) error { return p.accelName(AccelKVM) }},
		{"cpu", nil, "MODEL[,+FEATURE|,-FEATURE|,PROP=VALUE...]", "processor model ('-cpu help' lists them)", (*parser).cpu},
		{"smp", nil, "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]", "processors and their topology", (*parser).smp},
		{"m", nil, "[size=]MEGS[,slots=N,maxmem=SIZE]", "RAM, in MiB unless a suffix says otherwise", (*parser).memory},
		{"object", nil, "TYPE,id=ID[,PROP=VALUE...]", "a memory back end, entropy source, secret or I/O thread", (*parser).object},
		{"name", nil, "[guest=]NAME[,process=NAME][,debug-threads=on|off]", "name of the VM, and of its socket in /run/vm", (*parser).vmName},
		{"uuid", nil, "UUID", "machine UUID", (*parser).uuid},
		{"smbios", nil, "type=N,KEY=VALUE...", "SMBIOS fields", (*parser).smbios},
		{"boot", nil, "[order=]DRIVES[,once=DRIVES][,menu=on|off][,strict=on|off]", "accepted; kernels are started directly", (*parser).boot},
		{"rtc", nil, "[base=utc|localtime|DATETIME][,clock=host|vm][,driftfix=none]", "the guest's clock", (*parser).rtc},
		{"overcommit", nil, "[mem-lock=on|off]", "lock the guest's RAM in the host's memory", (*parser).overcommit},
		{"S", nil, "", "do not start the processors: wait for 'cont'", func(p *parser, _ string) error { p.cfg.Paused = true; return nil }},
		// Kernel.
		{"kernel", nil, "FILE", "kernel: a bzImage or an ELF file with a PVH entry", setText(func(c *Config) *string { return &c.Kernel })},
		{"initrd", nil, "FILE", "initial RAM disk", setText(func(c *Config) *string { return &c.Initrd })},
		{"append", nil, "CMDLINE", "kernel command line", setText(func(c *Config) *string { return &c.Append })},
		// Devices.
		{"device", nil, "DRIVER[,PROP=VALUE...]", "a device ('-device help' lists them, '-device DRIVER,help' their properties)", (*parser).device},
		{"drive", nil, "file=FILE[,format=FORMAT][,if=none|virtio][,id=ID][,snapshot=on|off][,PROP=VALUE...]", "a disk; '-drive format=help' lists the formats", (*parser).drive},
		{"snapshot", nil, "", "write to temporary files instead of the drives' images", func(p *parser, _ string) error { p.cfg.Snapshot = true; return nil }},
		{"blockdev", nil, "driver=DRIVER,node-name=NAME[,OPTION=VALUE...]", "a node of a disk's back end", (*parser).blockdev},
		{"netdev", nil, "TYPE,id=ID[,PROP=VALUE...]", "a network back end ('-netdev help' lists the types)", (*parser).netdev},
		{"nic", nil, "[TYPE][,model=MODEL][,mac=ADDR][,PROP=VALUE...]|none", "a network back end, user by default, with its device", (*parser).nic},
		{"net", nil, "nic[,model=MODEL][,macaddr=ADDR][,netdev=ID]|TYPE[,PROP=VALUE...]|none", "a device, or the back end of one: the old way to say -nic", (*parser).net},
		{"chardev", nil, "BACKEND,id=ID[,PROP=VALUE...]", "a character device back end", (*parser).chardev},
		{"serial", nil, "DEV", "serial port: stdio, pty, null, none, file:, unix:, tcp:, telnet:, udp:, pipe:, chardev:, mon:stdio", (*parser).serial},
		{"parallel", nil, "none", "no parallel port", onlyNone},
		{"nographic", nil, "", "serial port on the terminal", func(p *parser, _ string) error { p.cfg.NoGraphic = true; return nil }},
		{"display", nil, "none", "no display", onlyNone},
		{"vga", nil, "none", "no VGA", onlyNone},
		{"audio", nil, "[driver=]none", "no audio", (*parser).audiodev},
		{"audiodev", nil, "driver=none,id=ID", "no audio", (*parser).audiodev},
		{"preconfig", nil, "", "wait for x-exit-preconfig before the machine is built", func(p *parser, _ string) error { p.cfg.Preconfig = true; return nil }},
		{"nodefaults", nil, "", "nothing that was not asked for", func(p *parser, _ string) error { p.cfg.NoDefault = true; return nil }},
		{"no-user-config", nil, "", "accepted; there are no files to read", ignore},
		{"no-hpet", nil, "", "accepted; there is no HPET", ignore},
		// Monitors.
		{"qmp", nil, "DEV", "QMP on unix:PATH,server=on,wait=off, tcp:HOST:PORT,..., stdio, chardev:ID", monitor(Control, false)},
		{"qmp-pretty", nil, "DEV", "QMP with indented replies", monitor(Control, true)},
		{"mon", nil, "[chardev=]ID[,mode=control|readline][,pretty=on|off]", "QMP or a human monitor on a character device", (*parser).mon},
		{"monitor", nil, "DEV", "a human monitor on what -serial takes, or none", monitor(Readline, false)},
		{"qtest", nil, "DEV", "qtest on a character device, in the forms of -qmp", (*parser).qtest},
		{"qtest-log", nil, "FILE|none", "log of qtest; standard error without it", setText(func(c *Config) *string { return &c.QTest.Log })},
		// What happens when.
		{"no-reboot", nil, "", "end instead of resetting", func(p *parser, _ string) error { return p.action("reboot=shutdown") }},
		{"no-shutdown", nil, "", "stop instead of ending", func(p *parser, _ string) error { return p.action("shutdown=pause") }},
		{"action", nil, "reboot=reset|shutdown,shutdown=poweroff|pause,panic=pause|shutdown|exit-failure|none,watchdog=...", "what guest events do", (*parser).action},
		{"watchdog-action", nil, "reset|shutdown|poweroff|inject-nmi|pause|debug|none", "what a watchdog does when its time is over",
			func(p *parser, arg string) error { return p.watchdogAction(pair{"watchdog-action", arg}) }},
		// Process.
		{"pidfile", nil, "FILE", "write the process id to FILE", setText(func(c *Config) *string { return &c.PIDFile })},
		{"daemonize", nil, "", "go to the background once the VM is set up", func(p *parser, _ string) error { p.cfg.Daemonize = true; return nil }},
		{"D", nil, "FILE", "log to FILE instead of standard error", setText(func(c *Config) *string { return &c.LogFile })},
		{"msg", nil, "[timestamp=on|off][,guest-name=on|off]", "form of messages", (*parser).msg},
		{"add-fd", nil, "fd=FD,set=N[,opaque=TEXT]", "pass a descriptor to descriptor set N", (*parser).addFD},
		{"global", nil, "DRIVER.PROP=VALUE", "default of a device's property", (*parser).global},
		{"set", nil, "GROUP.ID.PROP=VALUE", "change an option that was given with id=ID", (*parser).set},
		{"readconfig", nil, "FILE", "read options from FILE", (*parser).readconfig},
	}
}

// find returns the option with a name.
func find(table []option, name string) (*option, bool) {
	for i := range table {
		o := &table[i]
		if o.name == name {
			return o, true
		}
		for _, a := range o.aliases {
			if a == name {
				return o, true
			}
		}
	}
	return nil, false
}

// PrintHelp writes what -help shows.
func PrintHelp(w io.Writer, program string) {
	fmt.Fprintf(w, "usage: %s [options]\n\n", program)
	for _, o := range options() {
		left := "-" + strings.TrimSpace(strings.Join(append([]string{o.name}, o.aliases...), "|-")+" "+o.arg)
		if len(left) > 30 {
			fmt.Fprintf(w, "%s\n%32s%s\n", left, "", o.help)
		} else {
			fmt.Fprintf(w, "%-32s%s\n", left, o.help)
		}
	}
}

func ignore(*parser, string) error { return nil }

func helpTopic(topic string) func(*parser, string) error {
	return func(p *parser, _ string) error { return p.help(topic, "") }
}

func setText(field func(*Config) *string) func(*parser, string) error {
	return func(p *parser, arg string) error { *field(p.cfg) = arg; return nil }
}

// onlyNone accepts what switches a device off that hv does not have.
func onlyNone(_ *parser, arg string) error {
	if arg != "none" {
		return fmt.Errorf("'%s' is not available here: only 'none' is", arg)
	}
	return nil
}
