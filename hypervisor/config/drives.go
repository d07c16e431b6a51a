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
	p.addGroup("drive", arg, ps, p.buildDrive)
	return nil
}

func (p *parser) buildDrive(ps pairs) error {
	var d Drive
	if err := d.takeAccounts(&ps); err != nil {
		return err
	}
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
		{"aio", d.AIO, []string{"io_uring", "threads", "native"}},
		{"discard", d.Discard, []string{"unmap", "ignore", "on", "off"}},
		{"detect-zeroes", d.DetectZeroes, []string{"off", "on", "unmap"}},
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
	p.addGroup("blockdev", arg, ps, func(ps pairs) error { return p.buildBlockdev(tree, ps) })
	return nil
}

// buildBlockdev reads a node's description. Nodes within it have dotted keys.
func (p *parser) buildBlockdev(tree blockopts.Tree, ps pairs) error {
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
	p.cfg.Blockdevs = append(p.cfg.Blockdevs, o)
	return nil
}

// Node returns the node that the drive is, raw on a file, or on a device if that is what
// its file is.
func (d *Drive) Node(device bool) *qapi.BlockdevOptions {
	discard := qapi.BlockdevDiscardOptionsIgnore
	if d.Discard == "unmap" || d.Discard == "on" {
		discard = qapi.BlockdevDiscardOptionsUnmap
	}
	aio, locking, zeroes := qapi.BlockdevAioOptions(d.AIO), qapi.OnOffAuto(d.Locking), qapi.BlockdevDetectZeroesOptions(d.DetectZeroes)
	file := &qapi.BlockdevOptionsFile{Filename: d.File, Locking: &locking, Aio: &aio}
	below := &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, File: file}
	if device {
		below = &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverHostDevice, HostDevice: file}
	}
	return &qapi.BlockdevOptions{
		Driver: qapi.BlockdevDriverRaw, ReadOnly: &d.ReadOnly, Discard: &discard, DetectZeroes: &zeroes,
		Cache: &qapi.BlockdevCacheOptions{Direct: &d.Direct, NoFlush: &d.NoFlush},
		Raw:   &qapi.BlockdevOptionsRaw{File: qapi.BlockdevRef{Definition: below}},
	}
}
