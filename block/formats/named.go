package formats

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"hv/block/blockopts"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// protocols are the drivers that have no data in other nodes, and the prefix of file names
// that they go by, if any.
var protocols = map[string]string{
	"file": "file:", "host_device": "host_device:", "nbd": "nbd:", "null-co": "null-co:", "null-aio": "null-aio:",
}

// generic are the options that nodes hand down.
var generic = []string{"read-only", "auto-read-only", "force-share", "discard", "cache", "detect-zeroes"}

// OpenNamed opens what a file name and options that need not say everything describe, as
// those of -drive: a driver that is not given is found by the contents. The caller gets a
// reference.
func (x *Opener) OpenNamed(filename string, t blockopts.Tree) (*graph.Node, error) {
	return x.named(filename, t, inherited{}, false)
}

// named opens a node; protocol says that it is no image in another one.
func (x *Opener) named(filename string, t blockopts.Tree, from inherited, protocol bool) (*graph.Node, error) {
	if text, ok := strings.CutPrefix(filename, "json:"); ok {
		said, err := blockopts.ParseJSON(text)
		if err != nil {
			return nil, fmt.Errorf("Could not parse the JSON options: %w", err)
		}
		filename, t = "", said.Join(t)
	}
	driver, said := t.Text("driver")
	if protocol || said && nested[driver] != nil {
		var err error
		if filename, t, err = prefixed(filename, t); err != nil {
			return nil, err
		}
		if driver, said = t.Text("driver"); nested[driver] != nil {
			return x.nest(driver, filename, t, from)
		}
	}
	if said {
		_, protocol = protocols[driver]
	}
	if protocol {
		return x.onHost(filename, t, from)
	}
	return x.image(filename, t, from)
}

// onHost opens a node that has no data in others.
func (x *Opener) onHost(filename string, t blockopts.Tree, from inherited) (*graph.Node, error) {
	name, named := t.Text("filename")
	if filename != "" {
		if named {
			return nil, errors.New("Can't specify 'file' and 'filename' options at the same time")
		}
		name, t = filename, t.With("filename", filename)
	}
	driver, said := t.Text("driver")
	if !said {
		if name == "" {
			return nil, errors.New("Must specify either driver or file")
		}
		var err error
		if driver, err = protocolOf(name, filename != ""); err != nil {
			return nil, err
		}
		t = t.With("driver", driver)
	}
	if name == "" && (driver == "file" || driver == "host_device") {
		return nil, fmt.Errorf("The '%s' block driver requires a file name", driver)
	}
	t, err := fromName(driver, filename, t)
	if err != nil {
		return nil, err
	}
	return x.decoded(t, from)
}

// fromName has a driver take its options from a name.
func fromName(driver, name string, t blockopts.Tree) (blockopts.Tree, error) {
	prefix := protocols[driver]
	rest, ok := strings.CutPrefix(name, prefix)
	switch {
	case driver == "nbd" && name != "":
		return nbdName(name, t)
	case driver == "nbd":
		return nbdServer(t)
	case name == "":
		return t, nil
	case strings.HasPrefix(driver, "null-"):
		return t.Without("filename"), nil
	case !ok:
		return t, nil
	case graph.HasProtocol(rest):
		rest = "./" + rest // it is a file's name all the same
	}
	return t.With("filename", rest), nil
}

// protocolOf returns the driver for a name.
func protocolOf(name string, prefixed bool) (string, error) {
	if st, err := os.Stat(name); err == nil && st.Mode()&os.ModeDevice != 0 {
		return "host_device", nil
	}
	if !prefixed || !graph.HasProtocol(name) {
		return "file", nil
	}
	prefix, _, _ := strings.Cut(name, ":")
	if _, ok := nbdSchemes[prefix]; ok {
		return "nbd", nil
	}
	for driver, p := range protocols {
		if p == prefix+":" {
			return driver, nil
		}
	}
	return "", fmt.Errorf("Unknown protocol '%s'", prefix)
}

// image opens a node with data in others.
func (x *Opener) image(filename string, t blockopts.Tree, from inherited) (n *graph.Node, err error) {
	below := from.plain()
	if _, err := handDown(t, &below); err != nil {
		return nil, err
	}
	var held []*graph.Node
	defer func() {
		for _, child := range held {
			err = errors.Join(err, child.Unref())
		}
	}()
	_, isReference := t.Text("file")
	if sub := t.Sub("file"); filename != "" || len(sub) > 0 {
		if filename != "" && isReference {
			return nil, errors.New("Cannot reference an existing block device with additional options or a new filename")
		}
		file, err := x.named(filename, sub, below, filename != "" || !slices.Contains(filters, fmt.Sprint(t["driver"])))
		if err != nil {
			return nil, err
		}
		held = append(held, file)
		t = t.With("file", file.Name())
	}
	_, said := t["driver"]
	from.guessed = !said
	if t, err = x.probed(t); err != nil {
		return nil, err
	}
	from.backing = nil
	if sub, ok := t["backing"].(blockopts.Tree); ok {
		from.backing, t = sub, t.Without("backing")
	}
	return x.decoded(t, from)
}

// filters are the drivers whose child "file" is another image.
var filters = []string{"copy-before-write", "copy-on-read", "throttle"}

// handDown reads what a node that is not complete yet hands down.
func handDown(t blockopts.Tree, to *inherited) (own graph.Options, err error) {
	some := blockopts.Tree{"driver": "null-co"}
	for _, key := range generic {
		if v, ok := t[key]; ok {
			some[key] = v
		}
	}
	var o qapi.BlockdevOptions
	// What is unknown the node itself will tell, when its driver is known.
	if err := some.Decode(&o); err != nil && !strings.HasSuffix(err.Error(), unexpected) {
		return own, err
	}
	return own, options(&o, to, &own)
}

// decoded opens the node that complete options describe.
func (x *Opener) decoded(t blockopts.Tree, from inherited) (*graph.Node, error) {
	if s, ok := t.Text("driver"); ok && !isDriver(s) {
		return nil, fmt.Errorf("Unknown driver '%s'", s)
	}
	var o qapi.BlockdevOptions
	if err := t.Decode(&o); err != nil {
		return nil, unknownOption(t, err)
	}
	if from.backing != nil && o.Driver != qapi.BlockdevDriverQcow2 {
		return nil, errors.New("Driver doesn't support backing files")
	}
	return x.open(&o, from)
}

// unexpected is how errors end that tell of an option that there is not.
const unexpected = "' is unexpected"

// unknownOption has an option that a driver does not know be refused in its name, and tells of
// a missing child as what it is.
func unknownOption(t blockopts.Tree, err error) error {
	if err.Error() == "Parameter 'file' is missing" {
		return errors.New(`A block device must be specified for "file"`)
	}
	key, prefixed := strings.CutPrefix(err.Error(), "Parameter '")
	key, suffixed := strings.CutSuffix(key, unexpected)
	if !prefixed || !suffixed {
		return err
	}
	if group, _, _ := strings.Cut(key, "."); group == "backing" {
		return errors.New("Driver doesn't support backing files")
	}
	driver, _ := t.Text("driver")
	if _, protocol := protocols[driver]; protocol {
		return fmt.Errorf("Block protocol '%s' doesn't support the option '%s'", driver, key)
	}
	return fmt.Errorf("Block format '%s' does not support the option '%s'", driver, key)
}

func isDriver(name string) bool {
	var d qapi.BlockdevDriver
	return d.DecodeQAPI(qapi.NewValue(func(d *qapi.Document) { d.AddString([]byte(name)) })) == nil
}

// probed adds the driver to the options of an image, if it is not said, by what is there.
func (x *Opener) probed(t blockopts.Tree) (blockopts.Tree, error) {
	if _, said := t["driver"]; said {
		return t, nil
	}
	ref, ok := t.Text("file")
	if !ok {
		return nil, errors.New("Must specify either driver or file")
	}
	file, err := x.Find(ref)
	if err != nil {
		return nil, err
	}
	driver, err := probe(file)
	if err != nil {
		return nil, fmt.Errorf("Could not read image for determining its format: %w", err)
	}
	return t.With("driver", driver), nil
}

// probe tells a node's format.
func probe(file *graph.Node) (format string, err error) {
	c, err := file.Use(func() string { return "format probing" }, nil, 0, graph.AllPerms)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var b [512]byte
	if err := c.Readv(0, [][]byte{b[:min(c.Size(), int64(len(b)))]}); err != nil {
		return "", err
	}
	return guess(b[:]), nil
}

// guess tells the format of an image that begins with a sector.
func guess(b []byte) string {
	if len(b) >= 8 && string(b[:4]) == "QFI\xfb" && (b[4]|b[5]|b[6] != 0 || b[7] >= 2) {
		return "qcow2"
	}
	return "raw"
}

// headers are what images of other formats begin with, which other programs look for.
var headers = []string{"QFI\xfb", "QED\x00", "KDMV", "COWD", "vhdxfile", "conectix", "LUKS\xba\xbe", "WithoutFreeSpace", "WithouFreSpacExt", "<<< "}

// misleading reports whether an image that begins so would be taken for something else
// than raw.
func misleading(b []byte) bool {
	return slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(string(b[:min(len(b), len(h))]), h) })
}
