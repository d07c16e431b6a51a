package config

import (
	"errors"
	"fmt"
	"strings"

	"hv/block/throttle"
	"hv/devices/qdev"
)

// device is -device, as KEY=VALUE or JSON.
func (p *parser) device(arg string) error {
	ps, err := args(arg, "driver")
	if err != nil {
		return err
	}
	driver, _ := ps.get("driver")
	if wantsHelp(driver) {
		return p.help("device", "")
	}
	d, err := p.env.Devices.Lookup(driver)
	if err != nil {
		return err
	}
	if v, ok := ps.get("help"); ok && v == "on" {
		return p.help("device", d.Name)
	}
	if len(ps) == 2 && ps[1].key == "?" {
		return p.help("device", d.Name)
	}
	p.addGroup("device", arg, ps, p.buildDevice)
	return nil
}

func (p *parser) buildDevice(ps pairs) error {
	d, err := p.cfg.newDevice(ps)
	if err != nil {
		return err
	}
	p.cfg.Devices = append(p.cfg.Devices, d)
	return nil
}

// addDevice adds a device that another option implies.
func (p *parser) addDevice(driver string, props ...pair) error {
	return p.buildDevice(append(pairs{{"driver", driver}}, props...))
}

var objectTypes = []string{"authz-simple", "filter-dump", "iothread", "memory-backend-file", "memory-backend-memfd", "memory-backend-ram", "rng-builtin", "rng-random", "secret", "throttle-group", "tls-creds-x509"}

// ObjectProps returns the struct that has the properties of objects of a type, at their
// defaults; nil for what is no type of objects.
func ObjectProps(t string) any {
	o, err := newObject(t)
	if err != nil {
		return nil
	}
	return o.Props()
}

// ObjectTypes lists what -object accepts.
func ObjectTypes() []string { return objectTypes }

func (p *parser) object(arg string) error {
	ps, err := args(arg, "qom-type")
	if err != nil {
		return err
	}
	t, _ := ps.get("qom-type")
	if wantsHelp(t) {
		return p.help("object", "")
	}
	if _, err := newObject(t); err != nil {
		return err
	}
	p.addGroup("object", arg, ps, p.buildObject)
	return nil
}

// newObject returns an object of a type, with the struct for its properties.
func newObject(t string) (Object, error) {
	kind, isMemory := strings.CutPrefix(t, "memory-backend-")
	switch {
	case isMemory && (kind == "ram" || kind == "memfd" || kind == "file"):
		return Object{Type: t, Memory: &MemoryBackend{Kind: kind}}, nil
	case t == "rng-random":
		return Object{Type: t, RNG: &RNG{Filename: "/dev/urandom"}}, nil
	case t == "rng-builtin":
		return Object{Type: t, RNG: &RNG{}}, nil
	case t == "secret":
		return Object{Type: t, Secret: &Secret{}}, nil
	case t == "iothread":
		return Object{Type: t, Thread: &IOThread{}}, nil
	case t == "throttle-group":
		l := throttle.None()
		return Object{Type: t, Limits: &l}, nil
	case t == "tls-creds-x509":
		return Object{Type: t, TLS: &TLSCreds{}}, nil
	case t == "filter-dump":
		return Object{Type: t, Dump: &FilterDump{}}, nil
	case t == "authz-simple":
		return Object{Type: t, Authz: &Authz{}}, nil
	}
	return Object{}, fmt.Errorf("invalid object type: %s%s", t, qdev.Near(t, objectTypes))
}

// Props returns the struct that has the object's properties.
func (o *Object) Props() any {
	switch {
	case o.Memory != nil:
		return o.Memory
	case o.RNG != nil:
		return o.RNG
	case o.Secret != nil:
		return o.Secret
	case o.Limits != nil:
		return &struct{}{}
	case o.TLS != nil:
		return o.TLS
	case o.Authz != nil:
		return o.Authz
	case o.Dump != nil:
		return o.Dump
	}
	return o.Thread
}

func (p *parser) buildObject(ps pairs) error {
	o, err := objectOf(ps)
	if err != nil {
		return err
	}
	for _, other := range p.cfg.Objects {
		if other.ID == o.ID {
			return fmt.Errorf("attempt to add duplicate property '%s' to object (type 'container')", o.ID)
		}
	}
	p.cfg.Objects = append(p.cfg.Objects, o)
	return nil
}

// objectOf returns the object that pairs describe.
func objectOf(ps pairs) (Object, error) {
	t, _ := ps.take("qom-type")
	o, err := newObject(t)
	if err != nil {
		return o, err
	}
	o.ID, _ = ps.take("id")
	if err := qdev.CheckID(o.ID); err != nil {
		return o, err
	}
	if t == "rng-builtin" && len(ps) > 0 {
		return o, fmt.Errorf("Invalid parameter '%s'", ps[0].key)
	}
	if o.Limits != nil {
		if err := takeLimits(&ps, o.Limits); err != nil {
			return o, err
		}
	}
	if err := decode(ps, o.Props()); err != nil {
		return o, err
	}
	if m := o.Memory; m != nil {
		if err := m.check(); err != nil {
			return o, err
		}
	}
	if o.Thread != nil {
		if err := o.Thread.Check(); err != nil {
			return o, err
		}
	}
	if o.Dump != nil {
		if err := o.Dump.Check(); err != nil {
			return o, err
		}
	}
	if s := o.Secret; s != nil && (s.Data == "") == (s.File == "") {
		return o, errors.New("one of 'data' and 'file' is needed")
	}
	if c := o.TLS; c != nil && c.Endpoint != "client" && c.Endpoint != "server" {
		return o, fmt.Errorf("Parameter 'endpoint' does not accept value '%s'", c.Endpoint)
	}
	return o, nil
}

func (m *MemoryBackend) check() error {
	switch {
	case m.Size == 0:
		return errors.New("parameter 'size' is missing")
	case m.Kind == "file" && m.Path == "":
		return errors.New("parameter 'mem-path' is missing")
	case m.Kind != "file" && (m.Path != "" || m.DiscardData):
		return fmt.Errorf("mem-path and discard-data are for memory-backend-file, not -%s", m.Kind)
	case m.Kind != "memfd" && (m.HugeTLB || m.HugeTLBSize != 0):
		return fmt.Errorf("hugetlb is for memory-backend-memfd, not -%s; a file may lie in hugetlbfs", m.Kind)
	}
	return nil
}

func (p *parser) audiodev(arg string) error {
	ps, err := args(arg, "driver")
	if err != nil {
		return err
	}
	if d, _ := ps.get("driver"); d != "none" {
		return fmt.Errorf("audio driver '%s' is not available: only none is", d)
	}
	return nil
}

func (p *parser) msg(arg string) error {
	var o msgKeys
	ps, err := parsePairs(arg, "")
	if err != nil {
		return err
	}
	if err := decode(ps, &o); err != nil {
		return err
	}
	p.cfg.Timestamps, p.cfg.GuestNames = o.Timestamp, o.GuestName
	return nil
}

func (p *parser) addFD(arg string) error {
	ps, err := parsePairs(arg, "")
	if err != nil {
		return err
	}
	var o addFDKeys
	if err := decode(ps, &o); err != nil {
		return err
	}
	if o.FD <= 2 || o.Set < 0 {
		return errors.New("fd= above 2 and set= are needed")
	}
	p.cfg.FDs = append(p.cfg.FDs, AddFD{int(o.FD), int(o.Set), o.Opaque})
	return nil
}
