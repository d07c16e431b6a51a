package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// Chardev is a character device back end.
type Chardev struct {
	ID      string
	Backend qapi.ChardevBackend
	// Mux shares it between several users, with Ctrl-A as a prefix for commands.
	Mux bool
	// Link is a symbolic link that is to lead to a pseudo-terminal.
	Link string
}

// chardevKeys is the keys of all kinds of back ends.
type chardevKeys struct {
	ID        string    `prop:"id"`
	Mux       bool      `prop:"mux"`
	LogFile   string    `prop:"logfile"`
	LogAppend bool      `prop:"logappend"`
	Path      string    `prop:"path"`
	Abstract  bool      `prop:"abstract"`
	Tight     bool      `prop:"tight" default:"on"`
	Host      string    `prop:"host"`
	Port      string    `prop:"port"`
	To        uint16    `prop:"to"`
	IPv4      bool      `prop:"ipv4"`
	IPv6      bool      `prop:"ipv6"`
	LocalAddr string    `prop:"localaddr"`
	LocalPort string    `prop:"localport"`
	FD        string    `prop:"fd"`
	Server    bool      `prop:"server"`
	Wait      bool      `prop:"wait" default:"on"`
	Reconnect uint32    `prop:"reconnect"`
	Delay     bool      `prop:"delay" default:"on"`
	NoDelay   bool      `prop:"nodelay"`
	Telnet    bool      `prop:"telnet"`
	TN3270    bool      `prop:"tn3270"`
	Websocket bool      `prop:"websocket"`
	TLSCreds  string    `prop:"tls-creds"`
	TLSAuthz  string    `prop:"tls-authz"`
	Signal    bool      `prop:"signal" default:"on"`
	Append    bool      `prop:"append"`
	Size      qdev.Size `prop:"size"`
	Chardev   string    `prop:"chardev"`
	Width     uint32    `prop:"width"`
	Height    uint32    `prop:"height"`
	Cols      uint32    `prop:"cols"`
	Rows      uint32    `prop:"rows"`
	// given is the keys that were given.
	given pairs
}

// allowed lists the keys that each kind of back end takes, beside id, mux and
// the log's.
var allowed = map[string][]string{
	"stdio": {"signal"}, "pty": {"path"}, "serial": {"path"}, "null": {}, "vc": {"width", "height", "cols", "rows"}, "pipe": {"path"}, "ringbuf": {"size"}, "memory": {"size"},
	"file": {"path", "append"}, "mux": {"chardev"}, "udp": {"host", "port", "localaddr", "localport", "ipv4", "ipv6"},
	"socket": {
		"path", "abstract", "tight", "host", "port", "to", "fd", "server", "wait", "reconnect", "delay", "nodelay", "ipv4", "ipv6",
		"telnet", "tn3270", "websocket", "tls-creds", "tls-authz",
	},
}

// ChardevTypes lists what -chardev accepts.
func ChardevTypes() []string { return slices.Sorted(maps.Keys(allowed)) }

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
	kind, _ := ps.take("backend")
	if kind == "tty" {
		kind = "serial"
	}
	keys, ok := allowed[kind]
	if !ok {
		return Chardev{}, fmt.Errorf("chardev: '%s' is not a valid char driver name%s", kind, qdev.Near(kind, ChardevTypes()))
	}
	common := []string{"id", "mux", "logfile", "logappend"}
	for _, kv := range ps {
		if !slices.Contains(keys, kv.key) && !slices.Contains(common, kv.key) {
			return Chardev{}, fmt.Errorf("Invalid parameter '%s'%s", kv.key, qdev.Near(kv.key, append(common, keys...)))
		}
	}
	k := chardevKeys{given: ps}
	if err := decode(ps, &k); err != nil {
		return Chardev{}, err
	}
	c := Chardev{ID: k.ID, Mux: k.Mux, Backend: qapi.ChardevBackend{Type: qapi.ChardevBackendKind(kind)}}
	if kind == "pty" {
		c.Link = k.Path
	}
	return c, k.fill(&c.Backend)
}

func (k *chardevKeys) has(key string) bool {
	_, ok := k.given.get(key)
	return ok
}

// optional returns v if its key was given.
func optional[T any](k *chardevKeys, key string, v T) *T {
	if !k.has(key) {
		return nil
	}
	return &v
}

// fill makes a back end of its keys.
func (k *chardevKeys) fill(b *qapi.ChardevBackend) error {
	log, add := optional(k, "logfile", k.LogFile), &k.LogAppend
	common := &qapi.ChardevCommonWrapper{Data: qapi.ChardevCommon{Logfile: log, Logappend: add}}
	if (b.Type == "file" || b.Type == "pipe" || b.Type == "serial") && k.Path == "" {
		return fmt.Errorf("chardev: %s: no filename given", b.Type)
	}
	switch b.Type {
	case qapi.ChardevBackendKindStdio:
		b.Stdio = &qapi.ChardevStdioWrapper{Data: qapi.ChardevStdio{Logfile: log, Logappend: add, Signal: &k.Signal}}
	case qapi.ChardevBackendKindPty:
		b.Pty = common
	case qapi.ChardevBackendKindNull:
		b.Null = common
	case qapi.ChardevBackendKindVc:
		b.Vc = &qapi.ChardevVCWrapper{Data: qapi.ChardevVC{Logfile: log, Logappend: add}}
	case qapi.ChardevBackendKindFile:
		b.File = &qapi.ChardevFileWrapper{Data: qapi.ChardevFile{Logfile: log, Logappend: add, Out: k.Path, Append: &k.Append}}
	case qapi.ChardevBackendKindPipe:
		b.Pipe = &qapi.ChardevHostdevWrapper{Data: qapi.ChardevHostdev{Logfile: log, Logappend: add, Device: k.Path}}
	case qapi.ChardevBackendKindSerial:
		b.Serial = &qapi.ChardevHostdevWrapper{Data: qapi.ChardevHostdev{Logfile: log, Logappend: add, Device: k.Path}}
	case qapi.ChardevBackendKindRingbuf:
		b.Ringbuf = k.ringbuf(log, add)
	case qapi.ChardevBackendKindMemory:
		b.Memory = k.ringbuf(log, add)
	case qapi.ChardevBackendKindMux:
		if k.Chardev == "" {
			return errors.New("chardev: mux: no chardev given")
		}
		b.Mux = &qapi.ChardevMuxWrapper{Data: qapi.ChardevMux{Logfile: log, Logappend: add, Chardev: k.Chardev}}
	case qapi.ChardevBackendKindUdp:
		return k.udp(b, log, add)
	case qapi.ChardevBackendKindSocket:
		return k.socket(b, log, add)
	}
	return nil
}

func (k *chardevKeys) ringbuf(log *string, add *bool) *qapi.ChardevRingbufWrapper {
	w := &qapi.ChardevRingbufWrapper{Data: qapi.ChardevRingbuf{Logfile: log, Logappend: add}}
	if k.has("size") && k.Size != 0 {
		size := int64(min(k.Size, math.MaxInt64))
		w.Data.Size = &size
	}
	return w
}

// socket fills in a socket. Its defaults are not those of chardev-add.
func (k *chardevKeys) socket(b *qapi.ChardevBackend, log *string, add *bool) error {
	d := qapi.ChardevSocket{
		Logfile: log, Logappend: add, Server: &k.Server, Telnet: &k.Telnet, Tn3270: &k.TN3270, Websocket: &k.Websocket,
		TlsCreds: optional(k, "tls-creds", k.TLSCreds), TlsAuthz: optional(k, "tls-authz", k.TLSAuthz),
	}
	if k.has("delay") && k.has("nodelay") {
		return errors.New("'delay' and 'nodelay' are mutually exclusive")
	}
	if k.has("delay") || k.has("nodelay") {
		on := !k.Delay || k.NoDelay
		d.Nodelay = &on
	}
	if k.has("wait") || k.Server {
		d.Wait = &k.Wait
	}
	if k.has("reconnect") && (k.Reconnect > 0 || !k.Server) {
		seconds := int64(k.Reconnect)
		d.Reconnect = &seconds
	}
	err := k.address(&d.Addr)
	b.Socket = &qapi.ChardevSocketWrapper{Data: d}
	return err
}

// address fills in where a socket is.
func (k *chardevKeys) address(a *qapi.SocketAddressLegacy) error {
	n := 0
	for _, key := range []string{"path", "fd", "host"} {
		if k.has(key) {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("chardev: socket: only one of 'path', 'fd' and 'host' can be given")
	case k.has("path"):
		*a = qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddressWrapper{
			Data: qapi.UnixSocketAddress{Path: k.Path, Abstract: &k.Abstract, Tight: &k.Tight}}}
	case k.has("fd"):
		*a = qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeFd, Fd: &qapi.SocketFdWrapper{Data: qapi.SocketFd{Str: k.FD}}}
	case k.Port == "":
		return errors.New("chardev: socket: no port given")
	default:
		*a = k.inet(k.Host, k.Port)
		a.Inet.Data.To = optional(k, "to", k.To)
	}
	return nil
}

func (k *chardevKeys) inet(host, port string) qapi.SocketAddressLegacy {
	return qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeInet, Inet: &qapi.InetSocketAddressWrapper{Data: qapi.InetSocketAddress{
		Host: host, Port: port, Ipv4: optional(k, "ipv4", k.IPv4), Ipv6: optional(k, "ipv6", k.IPv6),
	}}}
}

func (k *chardevKeys) udp(b *qapi.ChardevBackend, log *string, add *bool) error {
	if k.Port == "" {
		return errors.New("chardev: udp: remote port not specified")
	}
	d := qapi.ChardevUdp{Logfile: log, Logappend: add, Remote: k.inet(cmp.Or(k.Host, "localhost"), k.Port)}
	if k.has("localaddr") || k.has("localport") {
		local := k.inet(k.LocalAddr, cmp.Or(k.LocalPort, "0"))
		d.Local = &local
	}
	b.Udp = &qapi.ChardevUdpWrapper{Data: d}
	return nil
}
