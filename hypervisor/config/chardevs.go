package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hv/devices/qdev"
)

// Chardev is a character device back end, or the legacy form that -serial and
// -qmp take.
type Chardev struct {
	ID        string    `prop:"id"`
	Kind      string    // stdio, pty, null, file, socket, pipe, ringbuf
	Path      string    `prop:"path"`
	Abstract  bool      `prop:"abstract"`
	Tight     bool      `prop:"tight" default:"on"`
	Host      string    `prop:"host"`
	Port      string    `prop:"port"`
	FD        string    `prop:"fd"`
	Server    bool      `prop:"server"`
	Wait      bool      `prop:"wait" default:"on"`
	Reconnect uint32    `prop:"reconnect"`
	NoDelay   bool      `prop:"delay" default:"on"`
	IPv4      bool      `prop:"ipv4"`
	IPv6      bool      `prop:"ipv6"`
	Signal    bool      `prop:"signal" default:"on"`
	Append    bool      `prop:"append"`
	Size      qdev.Size `prop:"size" default:"64k"`
	LogFile   string    `prop:"logfile"`
	LogAppend bool      `prop:"logappend"`
	// Escape makes Ctrl-A a prefix for commands, as on a multiplexed console.
	Escape bool `prop:"mux"`
}

// allowed lists the keys that each kind of back end takes, beside id, mux and
// the log's.
var allowed = map[string][]string{
	"stdio": {"signal"}, "pty": {"path"}, "null": {}, "vc": {}, "pipe": {"path"}, "ringbuf": {"size"},
	"file":   {"path", "append"},
	"socket": {"path", "abstract", "tight", "host", "port", "fd", "server", "wait", "reconnect", "delay", "ipv4", "ipv6"},
}

// ChardevTypes lists what -chardev accepts.
func ChardevTypes() []string {
	return []string{"file", "null", "pipe", "pty", "ringbuf", "socket", "stdio", "vc"}
}

func (p *parser) chardev(arg string) error {
	ps, err := parsePairs(arg, "backend")
	if err != nil {
		return err
	}
	if b, _ := ps.get("backend"); wantsHelp(b) {
		return p.help("chardev", "")
	}
	p.addGroup("chardev", arg, ps, func(ps pairs) error {
		c, err := newChardev(ps)
		if err == nil {
			err = qdev.CheckID(c.ID)
		}
		if err != nil {
			return err
		}
		return p.addChardev(c)
	})
	return nil
}

func (p *parser) addChardev(c Chardev) error {
	if slices.ContainsFunc(p.cfg.Chardevs, func(o Chardev) bool { return o.ID == c.ID }) {
		return fmt.Errorf("Chardev with id '%s' already exists", c.ID)
	}
	p.cfg.Chardevs = append(p.cfg.Chardevs, c)
	return nil
}

func newChardev(ps pairs) (Chardev, error) {
	var c Chardev
	kind, _ := ps.take("backend")
	keys, ok := allowed[kind]
	if !ok {
		return c, fmt.Errorf("chardev: '%s' is not a valid char driver name%s", kind, qdev.Near(kind, ChardevTypes()))
	}
	common := []string{"id", "mux", "logfile", "logappend"}
	for _, kv := range ps {
		if !slices.Contains(keys, kv.key) && !slices.Contains(common, kv.key) {
			return c, fmt.Errorf("Invalid parameter '%s'%s", kv.key, qdev.Near(kv.key, append(common, keys...)))
		}
	}
	if err := decode(ps, &c); err != nil {
		return c, err
	}
	if c.Kind = kind; kind == "vc" {
		c.Kind = "null"
	}
	return c, c.check()
}

func (c *Chardev) check() error {
	switch c.Kind {
	case "file", "pipe":
		if c.Path == "" {
			return fmt.Errorf("chardev: %s: no filename given", c.Kind)
		}
	case "socket":
		n := 0
		for _, set := range []bool{c.Path != "", c.Host != "" || c.Port != "", c.FD != ""} {
			if set {
				n++
			}
		}
		if n != 1 {
			return errors.New("chardev: socket: one of 'path', 'host' with 'port', and 'fd' is needed")
		}
		if c.Reconnect > 0 && c.Server {
			return errors.New("chardev: socket: 'reconnect' is for clients")
		}
	}
	return nil
}

// ParseChardev reads the form that -serial and -qmp take.
func ParseChardev(s string) (Chardev, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "stdio", "pty", "null", "vc":
		if rest == "" {
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
	case "tcp":
		ps, err := parsePairs(rest, "address")
		if err != nil {
			return Chardev{}, err
		}
		address, _ := ps.take("address")
		i := strings.LastIndexByte(address, ':')
		if i < 0 {
			return Chardev{}, fmt.Errorf("tcp: HOST:PORT is expected, not '%s'", address)
		}
		host := strings.Trim(address[:i], "[]")
		return newChardev(append(ps, pair{"backend", "socket"}, pair{"host", host}, pair{"port", address[i+1:]}))
	}
	return Chardev{}, fmt.Errorf("'%s' is not a valid char driver%s", s, qdev.Near(kind, []string{"stdio", "pty", "null", "file", "pipe", "unix", "tcp", "chardev"}))
}

// serial notes a serial port: the id of its chardev, or "" for none.
func (p *parser) serial(arg string) error {
	id := "serial" + strconv.Itoa(len(p.cfg.Serials))
	rest, escape := strings.CutPrefix(arg, "mon:")
	switch {
	case arg == "none":
		id = ""
	case strings.HasPrefix(arg, "chardev:"):
		id = strings.TrimPrefix(arg, "chardev:")
	default:
		c, err := ParseChardev(rest)
		if err != nil {
			return err
		}
		c.ID, c.Escape = id, escape
		c.Signal = c.Signal && !escape
		if err := p.addChardev(c); err != nil {
			return err
		}
	}
	p.cfg.Serials = append(p.cfg.Serials, id)
	return nil
}

// named returns the id of the chardev that DEV names, or that is made for it with an id.
func (p *parser) named(dev, id string) (string, error) {
	if id, ok := strings.CutPrefix(dev, "chardev:"); ok {
		return id, nil
	}
	c, err := ParseChardev(dev)
	if err != nil {
		return "", err
	}
	c.ID = id
	return id, p.addChardev(c)
}

// qtest is -qtest; there is one at most.
func (p *parser) qtest(arg string) (err error) {
	if arg == "none" {
		return nil
	}
	p.cfg.QTest.Chardev, err = p.named(arg, "qtest")
	return err
}

// qmp is -qmp and -qmp-pretty.
func qmp(pretty bool) func(*parser, string) error {
	return func(p *parser, arg string) error {
		if arg == "none" {
			return nil
		}
		id, err := p.named(arg, "compat_monitor"+strconv.Itoa(len(p.cfg.Monitors)))
		if err != nil {
			return err
		}
		p.cfg.Monitors = append(p.cfg.Monitors, Monitor{Chardev: id, Pretty: pretty})
		return nil
	}
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
		if o.Mode != "control" {
			return fmt.Errorf("mode '%s' is not available: only control is", o.Mode)
		}
		p.cfg.Monitors = append(p.cfg.Monitors, Monitor{Chardev: o.Chardev, Pretty: o.Pretty})
		return nil
	})
	return nil
}

// checkReferences finds options that name a chardev that there is not.
func (p *parser) checkReferences() error {
	exists := func(id string) bool {
		return slices.ContainsFunc(p.cfg.Chardevs, func(c Chardev) bool { return c.ID == id })
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
