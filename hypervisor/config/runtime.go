package config

import (
	"cmp"
	"fmt"
	"strconv"

	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// NewDevice returns the device that the arguments of device_add describe, with the -global
// defaults that concern it.
func (c *Config) NewDevice(args qapi.DeviceAddArgs) (*qdev.Instance, error) {
	ps := pairs{{"driver", args.Driver}}
	if args.Bus != nil {
		ps = append(ps, pair{"bus", *args.Bus})
	}
	if args.Id != nil {
		ps = append(ps, pair{"id", *args.Id})
	}
	for k, m := range args.Props.Members() {
		flattenValue(string(k.Text()), m, &ps)
	}
	return c.newDevice(ps)
}

// NewDrive returns the drive that options of -drive describe, which no device gets by that.
func (c *Config) NewDrive(text string) (*Drive, error) {
	ps, err := parsePairs(text, "")
	if err != nil {
		return nil, err
	}
	if kind, _ := ps.get("if"); kind != "none" {
		return nil, fmt.Errorf("Can't hot-add drive to type %s", cmp.Or(kind, "virtio"))
	}
	p := &parser{cfg: &Config{Snapshot: c.Snapshot}}
	if err := p.buildDrive(text, ps); err != nil {
		return nil, err
	}
	return &p.cfg.Drives[0], nil
}

// newDevice returns the device that pairs describe.
func (c *Config) newDevice(ps pairs) (*qdev.Instance, error) {
	driver, _ := ps.take("driver")
	d, err := c.drivers.New(driver)
	if err != nil {
		return nil, err
	}
	for _, g := range c.globals {
		of, err := c.drivers.Lookup(g.driver)
		if err != nil || of != d.Driver {
			continue
		}
		if err := d.Set(g.prop, g.value); err != nil {
			return nil, err
		}
	}
	for _, kv := range ps {
		if err := d.Set(kv.key, kv.value); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// flattenValue adds a value as parseJSON would.
func flattenValue(key string, v qapi.Value, out *pairs) {
	text := ""
	switch v.Kind() {
	case qapi.Object:
		for k, m := range v.Members() {
			flattenValue(key+"."+string(k.Text()), m, out)
		}
		return
	case qapi.Array:
		i := 0
		for m := range v.Elements() {
			flattenValue(key+"."+strconv.Itoa(i), m, out)
			i++
		}
		return
	case qapi.String:
		text = string(v.Text())
	case qapi.Bool:
		text = map[bool]string{true: "on", false: "off"}[v.Bool()]
	case qapi.Null:
		text = "null"
	default:
		e := qapi.NewEncoder(false)
		e.Value(v)
		text = string(e.Bytes())
	}
	*out = append(*out, pair{key, text})
}

// NewObject returns the object that the arguments of object-add describe.
func NewObject(o *qapi.ObjectOptions) (Object, error) {
	ps, err := pairsOf(o)
	if err != nil {
		return Object{}, err
	}
	return objectOf(ps)
}

// pairsOf returns the members of a wire type as an option's argument.
func pairsOf(x qapi.Encodable) (pairs, error) {
	e := qapi.NewEncoder(false)
	x.EncodeQAPI(e)
	return parseJSON(string(e.Bytes()))
}
