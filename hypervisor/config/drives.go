package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hv/block/blockopts"
	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// cacheModes are the values of cache=, as cache.writeback, cache.direct and
// cache.no-flush.
var cacheModes = map[string][3]bool{
	"writeback": {true, false, false}, "none": {true, true, false}, "unsafe": {true, false, true},
	"writethrough": {false, false, false}, "directsync": {false, true, false},
}

func (p *parser) drive(arg string) error {
	ps, err := parsePairs(arg, "")
	if err != nil {
		return err
	}
	if f, _ := ps.get("format"); wantsHelp(f) {
		return p.help("drive", "")
	}
	p.addGroup("drive", arg, ps, func(ps pairs) error { return p.buildDrive(arg, ps) })
	return nil
}

// buildDrive reads a drive: what its own keys do not take describes the node.
func (p *parser) buildDrive(text string, ps pairs) error {
	d := Drive{Text: text, Options: blockopts.Tree{}, Attach: true}
	if err := d.takeAccounts(&ps); err != nil {
		return err
	}
	serial, hasSerial := ps.take("serial")
	for _, kv := range []struct {
		key   string
		apply func(string) error
	}{
		{"if", d.setInterface}, {"cache", d.setCache(ps)}, {"media", d.setMedia}, {"readonly", d.setReadOnly}, {"read-only", d.setReadOnly},
		{"format", d.setFormat(ps)}, {"id", setString(&d.ID)}, {"file", setString(&d.File)},
		{"cache.writeback", d.setWriteBack},
		{"aio", d.setAIO}, {"locking", d.setLocking}, {"rerror", setString(&d.ReadError)}, {"werror", setString(&d.WriteError)},
	} {
		if v, ok := ps.take(kv.key); ok {
			if err := kv.apply(v); err != nil {
				return err
			}
		}
	}
	if hasSerial && !d.Attach {
		return errors.New("serial= belongs to the -device")
	}
	for _, kv := range ps {
		if err := d.Options.Put(kv.key, kv.value); err != nil {
			return err
		}
	}
	if d.ID == "" {
		d.ID = fmt.Sprintf("%s%d", map[bool]string{true: "virtio", false: "none"}[d.Attach], len(p.cfg.Drives))
	}
	if err := p.addDrive(d); err != nil || !d.Attach {
		return err
	}
	props := []pair{{"drive", d.ID}}
	if hasSerial {
		props = append(props, pair{"serial", serial})
	}
	return p.addDevice("virtio-blk-pci", props...)
}

func setString(to *string) func(string) error {
	return func(v string) error { *to = v; return nil }
}

func (d *Drive) setInterface(v string) error {
	if v != "none" && v != "virtio" {
		return fmt.Errorf("unsupported bus type '%s'", v)
	}
	d.Attach = v == "virtio"
	return nil
}

func (d *Drive) setReadOnly(v string) error {
	on, err := qdev.ParseBool(v)
	d.Options["read-only"] = on || d.Options["read-only"] == true
	return err
}

func (d *Drive) setAIO(v string) error {
	if d.AIO = qapi.BlockdevAioOptions(v); !slices.Contains(aios, d.AIO) {
		return errors.New("invalid aio option")
	}
	return nil
}

// aios are the values of aio=.
var aios = []qapi.BlockdevAioOptions{qapi.BlockdevAioOptionsThreads, qapi.BlockdevAioOptionsNative, qapi.BlockdevAioOptionsIoUring}

// setLocking is short for file.locking.
func (d *Drive) setLocking(v string) error { return d.Options.Put("file.locking", v) }

// setCache says what cache= means, unless the keys for its parts do.
func (d *Drive) setCache(ps pairs) func(string) error {
	return func(v string) error {
		m, ok := cacheModes[v]
		if !ok {
			return errors.New("invalid cache option")
		}
		d.WriteThrough = !m[0]
		for i, key := range []string{"cache.direct", "cache.no-flush"} {
			if _, said := ps.get(key); !said {
				if err := d.Options.Put(key, m[i+1]); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func (d *Drive) setWriteBack(v string) error {
	on, err := qdev.ParseBool(v)
	d.WriteThrough = !on
	return err
}

func (d *Drive) setFormat(ps pairs) func(string) error {
	return func(v string) error {
		if _, both := ps.get("driver"); both {
			return errors.New("Cannot specify both 'driver' and 'format'")
		}
		d.Options["driver"] = v
		return nil
	}
}

func (d *Drive) setMedia(v string) error {
	switch v {
	case "disk":
		return nil
	case "cdrom":
		d.Options["read-only"] = true
		return nil
	}
	return fmt.Errorf("'%s' invalid media", v)
}

// Errors that rerror= and werror= know.
var (
	readErrors  = []string{"", "ignore", "stop", "report", "auto"}
	writeErrors = append([]string{"enospc"}, readErrors...)
)

// addDrive checks a drive and adds it.
func (p *parser) addDrive(d Drive) error {
	if err := qdev.CheckID(d.ID); err != nil {
		return err
	}
	for _, other := range p.cfg.Drives {
		if other.ID == d.ID {
			return fmt.Errorf("Duplicate ID '%s' for drive", d.ID)
		}
	}
	if !slices.Contains(readErrors, d.ReadError) {
		return fmt.Errorf("'%s' invalid read error action", d.ReadError)
	}
	if !slices.Contains(writeErrors, d.WriteError) {
		return fmt.Errorf("'%s' invalid write error action", d.WriteError)
	}
	if d.Empty() {
		if d.Attach {
			return errors.New("Device needs media, but drive is empty")
		}
	} else {
		d.Options = blockopts.Tree{"discard": "unmap", "auto-read-only": true}.Join(d.Options)
	}
	p.cfg.Drives = append(p.cfg.Drives, d)
	return nil
}

// Empty tells whether there is no medium in the drive.
func (d *Drive) Empty() bool {
	for key := range d.Options {
		if key != "read-only" && key != "cache" {
			return false
		}
	}
	return d.File == ""
}

func (p *parser) blockdev(arg string) error {
	tree, ps := blockopts.Tree{}, pairs(nil)
	var err error
	if strings.HasPrefix(arg, "{") {
		tree, err = blockopts.ParseJSON(arg)
	} else {
		ps, err = parsePairs(arg, "driver")
	}
	if err != nil {
		return err
	}
	p.addGroup("blockdev", arg, ps, func(ps pairs) error { return p.buildBlockdev(arg, tree, ps) })
	return nil
}

// buildBlockdev reads a node's description. Nodes within it have dotted keys.
func (p *parser) buildBlockdev(text string, tree blockopts.Tree, ps pairs) error {
	for _, kv := range ps {
		if err := tree.Put(kv.key, kv.value); err != nil {
			return err
		}
	}
	o := &qapi.BlockdevOptions{}
	if err := tree.Decode(o); err != nil {
		return err
	}
	if o.NodeName == nil {
		return errors.New("'node-name' must be specified for the root node")
	}
	p.cfg.Blockdevs = append(p.cfg.Blockdevs, Blockdev{text, o})
	return nil
}
