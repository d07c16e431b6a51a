package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hv/devices/qdev"
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
	p.addGroup("drive", arg, ps, p.buildDrive)
	return nil
}

func (p *parser) buildDrive(ps pairs) error {
	var d Drive
	for _, kv := range []struct {
		key   string
		apply func(string) error
	}{
		{"if", d.setInterface}, {"format", checkFormat}, {"cache", d.setCache}, {"media", checkMedia}, {"read-only", d.setReadOnly},
	} {
		if v, ok := ps.take(kv.key); ok {
			if err := kv.apply(v); err != nil {
				return err
			}
		} else if kv.key == "if" {
			return errors.New("if=none or if=virtio is needed: there is no IDE")
		}
	}
	serial, hasSerial := ps.take("serial")
	if hasSerial && !d.Attach {
		return errors.New("serial= belongs to the -device")
	}
	keep := d
	if err := decode(ps, &d); err != nil {
		return err
	}
	d.ReadOnly = d.ReadOnly || keep.ReadOnly
	d.Direct = d.Direct || keep.Direct
	d.NoFlush = d.NoFlush || keep.NoFlush
	if d.ID == "" {
		d.ID = fmt.Sprintf("virtio%d", len(p.cfg.Drives))
	}
	if err := p.addDrive(d); err != nil {
		return err
	}
	if !d.Attach {
		return nil
	}
	props := []pair{{"drive", d.ID}}
	if hasSerial {
		props = append(props, pair{"serial", serial})
	}
	return p.addDevice("virtio-blk-pci", props...)
}

func (d *Drive) setInterface(v string) error {
	if v != "none" && v != "virtio" {
		return fmt.Errorf("unsupported bus type '%s': there are none and virtio", v)
	}
	d.Attach = v == "virtio"
	return nil
}

func (d *Drive) setReadOnly(v string) (err error) {
	d.ReadOnly, err = qdev.ParseBool(v)
	return err
}

func (d *Drive) setCache(v string) error {
	m, ok := cacheModes[v]
	if !ok {
		return fmt.Errorf("invalid cache option: %s", v)
	}
	d.WriteThrough, d.Direct, d.NoFlush = !m[0], m[1], m[2]
	return nil
}

// Formats lists the image formats, read-write ones.
func Formats() []string { return []string{"raw"} }

func checkFormat(v string) error {
	if !slices.Contains(Formats(), v) {
		return fmt.Errorf("unknown driver '%s': there is %s", v, strings.Join(Formats(), ", "))
	}
	return nil
}

func checkMedia(v string) error {
	if v != "disk" {
		return fmt.Errorf("media '%s' is not available: only disk is", v)
	}
	return nil
}

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
	if d.File == "" {
		return errors.New("parameter 'file' is missing")
	}
	for _, e := range []struct {
		key, value string
		allowed    []string
	}{
		{"aio", d.AIO, []string{"io_uring", "threads"}},
		{"discard", d.Discard, []string{"unmap", "ignore", "on", "off"}},
		{"locking", d.Locking, []string{"auto", "on", "off"}},
	} {
		if !slices.Contains(e.allowed, e.value) {
			return fmt.Errorf("parameter '%s' does not accept value '%s': %s expected", e.key, e.value, strings.Join(e.allowed, ", "))
		}
	}
	p.cfg.Drives = append(p.cfg.Drives, d)
	return nil
}

func (p *parser) blockdev(arg string) error {
	ps, err := args(arg, "driver")
	if err != nil {
		return err
	}
	p.addGroup("blockdev", arg, ps, p.buildBlockdev)
	return nil
}

// buildBlockdev makes a drive of a file or host_device node, or of a raw node
// over one, which may be nested or named.
func (p *parser) buildBlockdev(ps pairs) error {
	var d Drive
	name, _ := ps.take("node-name")
	driver, _ := ps.take("driver")
	if driver == "raw" {
		if below, ok := ps.take("file"); ok {
			return p.renameDrive(below, name, ps)
		}
		var nested pairs
		for _, kv := range ps {
			if key, ok := strings.CutPrefix(kv.key, "file."); ok {
				nested = append(nested, pair{key, kv.value})
			} else {
				nested = append(nested, kv)
			}
		}
		ps = nested
		driver, _ = ps.take("driver")
		ps.take("node-name")
	}
	if driver != "file" && driver != "host_device" {
		return fmt.Errorf("unknown driver '%s': there are file, host_device and raw", driver)
	}
	d.Block = driver == "host_device"
	ps.take("auto-read-only")
	for i, kv := range ps {
		switch kv.key {
		case "filename":
			ps[i].key = "file"
		case "read-only":
			ps[i].key = "readonly"
		case "id", "file", "readonly":
			return fmt.Errorf("Invalid parameter '%s'", kv.key)
		}
	}
	block := d.Block
	if err := decode(ps, &d); err != nil {
		return err
	}
	d.ID, d.Block = name, block
	return p.addDrive(d)
}

// renameDrive puts a raw node above a drive, which is then known by its name.
func (p *parser) renameDrive(below, name string, ps pairs) error {
	i := slices.IndexFunc(p.cfg.Drives, func(d Drive) bool { return d.ID == below })
	if i < 0 {
		return fmt.Errorf("Cannot find device='' nor node-name='%s'", below)
	}
	var o struct {
		ReadOnly bool   `prop:"read-only"`
		Direct   bool   `prop:"cache.direct"`
		NoFlush  bool   `prop:"cache.no-flush"`
		Discard  string `prop:"discard" default:"unmap"`
	}
	if err := decode(ps, &o); err != nil {
		return err
	}
	if err := qdev.CheckID(name); err != nil {
		return err
	}
	d := &p.cfg.Drives[i]
	d.ID, d.ReadOnly = name, d.ReadOnly || o.ReadOnly
	return nil
}
