package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hv/devices/qdev"
)

// legacy names what ParseChardev reads.
var legacy = []string{"stdio", "pty", "null", "vc", "file", "pipe", "unix", "tcp", "telnet", "udp", "chardev"}

// ParseChardev reads the form that -serial, -monitor and -qmp take.
func ParseChardev(s string) (Chardev, error) {
	if strings.HasPrefix(s, "/dev/") {
		return newChardev(pairs{{"backend", "serial"}, {"path", s}})
	}
	kind, rest, more := strings.Cut(s, ":")
	switch kind {
	case "stdio", "pty", "null", "vc":
		if !more || kind == "vc" { // a vc's size means nothing to null
			return newChardev(pairs{{"backend", kind}})
		}
	case "file", "pipe":
		return newChardev(pairs{{"backend", kind}, {"path", rest}})
	case "unix":
		ps, err := parsePairs(rest, "path")
		if err != nil {
			return Chardev{}, err
		}
		return newChardev(append(ps, pair{"backend", "socket"}))
	case "tcp", "telnet":
		ps, err := inetPairs(kind, rest)
		if err != nil {
			return Chardev{}, err
		}
		if kind == "telnet" {
			ps = append(ps, pair{"telnet", "on"})
		}
		return newChardev(append(ps, pair{"backend", "socket"}))
	case "udp":
		remote, local, both := strings.Cut(rest, "@")
		ps, err := inetPairs(kind, remote)
		if err != nil {
			return Chardev{}, err
		}
		if both {
			at, err := inetPairs(kind, local)
			if err != nil {
				return Chardev{}, err
			}
			host, _ := at.take("host")
			port, _ := at.take("port")
			ps = append(append(ps, at...), pair{"localaddr", host}, pair{"localport", port})
		}
		return newChardev(append(ps, pair{"backend", "udp"}))
	}
	return Chardev{}, fmt.Errorf("'%s' is not a valid char driver%s", s, qdev.Near(kind, legacy))
}

// inetPairs reads HOST:PORT and the options behind it.
func inetPairs(kind, s string) (pairs, error) {
	ps, err := parsePairs(s, "address")
	if err != nil {
		return nil, err
	}
	address, _ := ps.take("address")
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return nil, fmt.Errorf("%s: HOST:PORT is expected, not '%s'", kind, address)
	}
	return append(ps, pair{"host", strings.Trim(address[:i], "[]")}, pair{"port", address[i+1:]}), nil
}

// legacyChardev reads the form of ParseChardev, or chardev:ID, and returns the id of the
// chardev that it names, or is made the one with this id. "mon:" before it asks for a
// monitor on the same chardev.
func (p *parser) legacyChardev(id, arg string) (name string, shared bool, err error) {
	if name, ok := strings.CutPrefix(arg, "chardev:"); ok {
		return name, false, nil
	}
	arg, shared = strings.CutPrefix(arg, "mon:")
	c, err := ParseChardev(arg)
	if err != nil {
		return "", false, err
	}
	c.ID, c.Mux = id, c.Mux || shared
	if shared && c.Backend.Stdio != nil {
		off := false
		c.Backend.Stdio.Data.Signal = &off
	}
	return id, shared, p.addChardev(c)
}

// serial notes a serial port: the id of its chardev, or "" for none.
func (p *parser) serial(arg string) error {
	if arg == "none" {
		p.cfg.Serials = append(p.cfg.Serials, "")
		return nil
	}
	id, shared, err := p.legacyChardev("serial"+strconv.Itoa(len(p.cfg.Serials)), arg)
	if err != nil {
		return err
	}
	p.cfg.Serials = append(p.cfg.Serials, id)
	if shared {
		p.cfg.Monitors = append(p.cfg.Monitors, Monitor{Chardev: id, Mode: Readline, Implied: true})
	}
	return nil
}

// monitor is -monitor, -qmp and -qmp-pretty.
func monitor(mode MonitorMode, pretty bool) func(*parser, string) error {
	return func(p *parser, arg string) error {
		if arg == "none" {
			return nil
		}
		id, _, err := p.legacyChardev("compat_monitor"+strconv.Itoa(p.compat), arg)
		if err != nil {
			return err
		}
		p.compat++
		p.cfg.Monitors = append(p.cfg.Monitors, Monitor{Chardev: id, Mode: mode, Pretty: pretty})
		return nil
	}
}

// qtest is -qtest; there is one at most.
func (p *parser) qtest(arg string) (err error) {
	if arg == "none" {
		return nil
	}
	p.cfg.QTest.Chardev, _, err = p.legacyChardev("qtest", arg)
	return err
}

// mon is -mon.
func (p *parser) mon(arg string) error {
	ps, err := parsePairs(arg, "chardev")
	if err != nil {
		return err
	}
	p.addGroup("mon", arg, ps, func(ps pairs) error {
		var o monKeys
		if err := decode(ps, &o); err != nil {
			return err
		}
		mode := MonitorMode(o.Mode)
		switch {
		case mode != Control && mode != Readline:
			return fmt.Errorf("Parameter 'mode' does not accept value '%s'", o.Mode)
		case o.Chardev == "":
			return errors.New("Parameter 'chardev' is missing")
		case mode == Readline && o.Pretty:
			return errors.New("'pretty' is not compatible with HMP monitors")
		}
		p.cfg.Monitors = append(p.cfg.Monitors, Monitor{Chardev: o.Chardev, Mode: mode, Pretty: o.Pretty})
		return nil
	})
	return nil
}

// finishGraphic puts the console of -nographic on the terminal, if there is no other and
// -nodefaults lets it.
func (p *parser) finishGraphic() error {
	if !p.cfg.NoGraphic || p.cfg.NoDefault || len(p.cfg.Serials) > 0 {
		return nil
	}
	others := len(p.cfg.Monitors)
	if err := p.serial("mon:stdio"); err != nil {
		return err
	}
	if others > 0 {
		p.cfg.Monitors = p.cfg.Monitors[:others]
	}
	return nil
}

// checkReferences finds options that name a chardev that there is not.
func (p *parser) checkReferences() error {
	exists := func(id string) bool {
		return slices.ContainsFunc(p.cfg.Chardevs, func(c Chardev) bool { return c.ID == id })
	}
	stdio := func(c Chardev) bool { return c.Backend.Stdio != nil }
	if p.cfg.Daemonize && slices.ContainsFunc(p.cfg.Chardevs, stdio) {
		return errors.New("cannot use stdio with -daemonize")
	}
	for _, m := range p.cfg.Monitors {
		if !exists(m.Chardev) {
			return fmt.Errorf("-mon chardev=%s: chardev \"%s\" not found", m.Chardev, m.Chardev)
		}
	}
	for _, id := range p.cfg.Serials {
		if id != "" && !exists(id) {
			return fmt.Errorf("-serial chardev:%s: chardev \"%s\" not found", id, id)
		}
	}
	if id := p.cfg.QTest.Chardev; id != "" && !exists(id) {
		return fmt.Errorf("-qtest chardev:%s: chardev \"%s\" not found", id, id)
	}
	if b := p.cfg.Machine.MemoryBackend; b != "" && !slices.ContainsFunc(p.cfg.Objects, func(o Object) bool { return o.ID == b && o.Memory != nil }) {
		return fmt.Errorf("-machine memory-backend=%s: Memory backend '%s' not found", b, b)
	}
	return nil
}
