package formats

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"hv/block/blockopts"
	"hv/block/graph"
	"hv/block/nbddrv"
	"hv/block/tlscreds"
	"hv/qmp/qapi"
)

// Network is what nodes need that lie on other machines.
type Network struct {
	// Descriptors gives sockets away that were handed over.
	Descriptors func(name string) (int, error)
	// Credentials returns what a client's tls-creds object has.
	Credentials func(id string) (*tlscreds.Creds, error)
	// Log takes why a server was lost.
	Log func(error)
}

// nbd opens an export of an NBD server.
func (x *Opener) nbd(s graph.Spec, o *qapi.BlockdevOptionsNbd, from inherited) (*graph.Node, error) {
	cfg := nbddrv.Config{Server: &o.Server, Descriptors: x.Network.Descriptors, Log: x.Network.Log}
	for _, f := range []struct{ from, to *string }{{o.Export, &cfg.Export}, {o.XDirtyBitmap, &cfg.Context}, {o.TlsHostname, &cfg.Hostname}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	for _, f := range []struct {
		from *uint32
		to   *time.Duration
	}{{o.ReconnectDelay, &cfg.ReconnectDelay}, {o.OpenTimeout, &cfg.OpenTimeout}} {
		if f.from != nil {
			*f.to = time.Duration(*f.from) * time.Second
		}
	}
	if o.TlsCreds != nil {
		var err error
		if cfg.Creds, err = x.Network.Credentials(*o.TlsCreds); err != nil {
			return nil, err
		}
		if o.TlsHostname == nil && o.Server.Inet != nil {
			cfg.Hostname = o.Server.Inet.Host
		}
	}
	d, err := nbddrv.Open(cfg)
	if err != nil {
		return nil, err
	}
	if d.ReadOnly() && from.auto {
		s.Options.ReadOnly = true
	}
	if d.ReadOnly() && !s.Options.ReadOnly {
		return nil, errors.Join(errors.New("request on write denied without write permission"), d.Close())
	}
	opened := false
	s.Open = func([]*graph.Child) (graph.Driver, error) { opened = true; return d, nil }
	name := nbddrv.Filename(&o.Server, cfg.Export)
	if name == "" {
		e := qapi.NewEncoder(false)
		(&qapi.BlockdevOptions{Driver: qapi.BlockdevDriverNbd, Nbd: &qapi.BlockdevOptionsNbd{
			Server: o.Server, Export: o.Export, TlsCreds: o.TlsCreds, TlsHostname: o.TlsHostname,
		}}).EncodeQAPI(e)
		name = "json:" + string(e.Bytes())
	}
	s.Filename = func() string { return name }
	n, err := x.Graph.Open(s)
	if err != nil && !opened {
		err = errors.Join(err, d.Close())
	}
	return n, err
}

// nbdSchemes are the schemes of an NBD server's URLs, and what they go over.
var nbdSchemes = map[string]string{"nbd": "inet", "nbd+tcp": "inet", "nbd+unix": "unix"}

// nbdPort is where NBD servers are, unless they are elsewhere.
const nbdPort = "10809"

// nbdName adds the options that a name of an NBD server's export means.
func nbdName(name string, t blockopts.Tree) (blockopts.Tree, error) {
	t = t.Without("filename")
	for _, key := range []string{"host", "port", "path"} {
		if _, said := t[key]; said {
			return nil, fmt.Errorf("Option '%s' cannot be used with a file name", key)
		}
	}
	if strings.Contains(name, "://") {
		return nbdURL(name, t)
	}
	name, export, named := strings.Cut(name, ":exportname=")
	if named && export != "" {
		t = t.With("export", export)
	}
	rest, ok := strings.CutPrefix(name, "nbd:")
	if !ok {
		return nil, errors.New("File name string for NBD must start with 'nbd:'")
	}
	if path, ok := strings.CutPrefix(rest, "unix:"); ok {
		return t.With("server", blockopts.Tree{"type": "unix", "path": path}), nil
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return nil, fmt.Errorf("error parsing address '%s'", rest)
	}
	return t.With("server", blockopts.Tree{"type": "inet", "host": host, "port": port}), nil
}

func nbdURL(name string, t blockopts.Tree) (blockopts.Tree, error) {
	bad := errors.New("No valid URL specified")
	u, err := url.Parse(name)
	if err != nil || u.Opaque != "" {
		return nil, bad
	}
	if export := strings.TrimPrefix(u.Path, "/"); export != "" {
		t = t.With("export", export)
	}
	q := u.Query()
	switch socket := q.Get("socket"); nbdSchemes[u.Scheme] {
	case "unix":
		if u.Host != "" || socket == "" || len(q) != 1 {
			return nil, bad
		}
		return t.With("server", blockopts.Tree{"type": "unix", "path": socket}), nil
	case "inet":
		port := u.Port()
		if port == "" {
			port = nbdPort
		}
		if u.Hostname() == "" || len(q) > 0 {
			return nil, bad
		}
		return t.With("server", blockopts.Tree{"type": "inet", "host": u.Hostname(), "port": port}), nil
	}
	return nil, bad
}

// nbdServer has options of the old form say where the server is.
func nbdServer(t blockopts.Tree) (blockopts.Tree, error) {
	path, unix := t.Text("path")
	host, inet := t.Text("host")
	port, ported := t.Text("port")
	_, said := t["server"]
	switch {
	case said && (unix || inet || ported):
		return nil, errors.New("Cannot use 'server' and path/host/port at the same time")
	case unix && inet:
		return nil, errors.New("path and host may not be used at the same time")
	case unix && ported, ported && !inet:
		return nil, errors.New("port may not be used without host")
	case unix:
		t = t.With("server", blockopts.Tree{"type": "unix", "path": path})
	case inet:
		if !ported {
			port = nbdPort
		}
		t = t.With("server", blockopts.Tree{"type": "inet", "host": host, "port": port})
	case !said:
		return nil, errors.New("NBD server address missing")
	}
	return t.Without("path").Without("host").Without("port"), nil
}
