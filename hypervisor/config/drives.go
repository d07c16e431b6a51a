package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hv/block/account"
	"hv/block/blockopts"
	"hv/block/throttle"
	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// Drive is a -drive: a node, and how a disk uses it.
type Drive struct {
	Text    string // what was written
	ID      string
	File    string                  // name of a file, or what stands for one; may be empty
	Options blockopts.Tree          // of the node
	AIO     qapi.BlockdevAioOptions // of files below, empty for what they say
	// Attach makes a virtio-blk-pci device of its own for it (if=virtio).
	Attach   bool
	ReadOnly bool
	// WriteThrough has each write durable when it completes.
	WriteThrough bool
	// Snapshot has writes go to a temporary file.
	Snapshot bool
	// ReadError and WriteError say what becomes of errors, empty for the default.
	ReadError, WriteError string
	// Limits are those of Group, which is named as the drive is if it is empty.
	Limits throttle.Limits
	Group  string
	Stats  account.Config
	// CopyOnRead has what is read from backing files written to the image.
	CopyOnRead bool
}

// Empty tells that there is no medium.
func (d *Drive) Empty() bool {
	_, cache := d.Options["cache"]
	return d.File == "" && (len(d.Options) == 0 || cache && len(d.Options) == 1)
}

// cacheModes are the values of cache=, as cache.writeback, cache.direct and
// cache.no-flush.
var cacheModes = map[string][3]string{
	"writeback": {"on", "off", "off"}, "none": {"on", "on", "off"}, "off": {"on", "on", "off"}, "unsafe": {"on", "off", "on"},
	"writethrough": {"off", "off", "off"}, "directsync": {"off", "on", "off"},
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

// buildDrive reads a -drive: what is not for the disk describes its node.
func (p *parser) buildDrive(text string, ps pairs) error {
	d := Drive{Text: text, Attach: true, Snapshot: p.cfg.Snapshot, Options: blockopts.Tree{}}
	if err := d.takeAccounts(&ps); err != nil {
		return err
	}
	if err := ps.rename("readonly", "read-only"); err != nil {
		return err
	}
	if err := ps.cacheMode(); err != nil {
		return err
	}
	serial, hasSerial := ps.take("serial")
	media := "disk"
	for _, o := range []struct {
		key  string
		read func(string) error
	}{
		{"id", func(s string) error { d.ID = s; return qdev.CheckID(s) }},
		{"file", func(s string) error { d.File = s; return nil }},
		{"if", d.setInterface},
		{"media", func(s string) error { media = s; return checkMedia(s) }},
		{"read-only", readSwitch("read-only", &d.ReadOnly)},
		{"snapshot", readSwitch("snapshot", &d.Snapshot)},
		{"aio", d.setAIO},
		{"cache.writeback", func(s string) error { return notSwitch("cache.writeback", s, &d.WriteThrough) }},
		{"format", func(s string) error { return d.setFormat(s, ps) }},
		{"rerror", func(s string) error { d.ReadError = s; return checkAction(s, "read", "ignore", "stop", "report") }},
		{"werror", func(s string) error {
			d.WriteError = s
			return checkAction(s, "write", "ignore", "stop", "report", "enospc")
		}},
	} {
		if v, ok := ps.take(o.key); ok {
			if err := o.read(v); err != nil {
				return err
			}
		}
	}
	d.ReadOnly = d.ReadOnly || media == "cdrom"
	if d.ID == "" {
		d.ID = p.driveID(d.Attach)
	}
	if err := d.describe(ps); err != nil {
		return err
	}
	return p.addDrive(d, serial, hasSerial)
}

// rename has an option go by its other name.
func (ps *pairs) rename(from, to string) error {
	v, ok := ps.take(from)
	if !ok {
		return nil
	}
	if _, both := ps.get(to); both {
		return fmt.Errorf("'%s' and its alias '%s' can't be used at the same time", to, from)
	}
	*ps = append(*ps, pair{to, v})
	return nil
}

// cacheMode has cache= be what it stands for, where that is not said.
func (ps *pairs) cacheMode() error {
	v, ok := ps.take("cache")
	if !ok {
		return nil
	}
	mode, ok := cacheModes[v]
	if !ok {
		return errors.New("invalid cache option")
	}
	for i, key := range []string{"cache.writeback", "cache.direct", "cache.no-flush"} {
		if _, said := ps.get(key); !said {
			*ps = append(*ps, pair{key, mode[i]})
		}
	}
	return nil
}

func readSwitch(key string, to *bool) func(string) error {
	return func(s string) error {
		on, err := qdev.ParseBool(s)
		if err != nil {
			return fmt.Errorf("Parameter '%s' expects 'on' or 'off'", key)
		}
		*to = on
		return nil
	}
}

func notSwitch(key, s string, to *bool) error {
	var on bool
	err := readSwitch(key, &on)(s)
	*to = !on
	return err
}

func (d *Drive) setInterface(v string) error {
	if v != "none" && v != "virtio" {
		return fmt.Errorf("unsupported bus type '%s'", v)
	}
	d.Attach = v == "virtio"
	return nil
}

func (d *Drive) setAIO(v string) error {
	if d.AIO = qapi.BlockdevAioOptions(v); !slices.Contains(aios, d.AIO) {
		return errors.New("invalid aio option")
	}
	return nil
}

// aios are the values of aio=.
var aios = []qapi.BlockdevAioOptions{qapi.BlockdevAioOptionsThreads, qapi.BlockdevAioOptionsNative, qapi.BlockdevAioOptionsIoUring}

func (d *Drive) setFormat(v string, ps pairs) error {
	if _, both := ps.get("driver"); both {
		return errors.New("Cannot specify both 'driver' and 'format'")
	}
	d.Options["driver"] = v
	return nil
}

func checkMedia(v string) error {
	if v != "disk" && v != "cdrom" {
		return fmt.Errorf("'%s' invalid media", v)
	}
	return nil
}

func checkAction(v, what string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("'%s' invalid %s error action", v, what)
	}
	return nil
}

// driveID makes an id for a drive without one.
func (p *parser) driveID(attached bool) string {
	prefix := "none"
	if attached {
		prefix = "virtio"
	}
	n := 0
	for _, other := range p.cfg.Drives {
		if other.Attach == attached {
			n++
		}
	}
	return fmt.Sprintf("%s%d", prefix, n)
}

// describe reads what is left: options of the node, but for what is for disks.
func (d *Drive) describe(ps pairs) error {
	for _, kv := range ps {
		key := kv.key
		if key == "locking" {
			key = "file.locking"
		}
		if err := d.Options.Put(key, kv.value); err != nil {
			return err
		}
	}
	if d.Empty() {
		return nil
	}
	d.Options["read-only"] = d.ReadOnly
	for key, value := range map[string]any{"auto-read-only": true, "discard": "unmap"} {
		if _, said := d.Options[key]; !said {
			d.Options[key] = value
		}
	}
	if s, _ := d.Options.Text("discard"); s == "on" || s == "off" {
		d.Options["discard"] = map[string]string{"on": "unmap", "off": "ignore"}[s]
	}
	return nil
}

// addDrive adds a drive, and a device for it if there is to be one.
func (p *parser) addDrive(d Drive, serial string, hasSerial bool) error {
	switch {
	case slices.ContainsFunc(p.cfg.Drives, func(other Drive) bool { return other.ID == d.ID }):
		return fmt.Errorf("Duplicate ID '%s' for drive", d.ID)
	case hasSerial && !d.Attach:
		return errors.New("serial= belongs to the -device")
	case d.Empty() && d.Attach:
		return errors.New("Device needs media, but drive is empty")
	}
	p.cfg.Drives = append(p.cfg.Drives, d)
	if !d.Attach {
		return nil
	}
	props := []pair{{"drive", d.ID}}
	if hasSerial {
		props = append(props, pair{"serial", serial})
	}
	return p.addDevice("virtio-blk-pci", props...)
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
