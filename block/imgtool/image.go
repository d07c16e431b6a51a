// Package imgtool is operations on images of disks that no VM has: making, describing, checking,
// converting and changing them, in the terms of qemu-img, on the block layer that VMs have.
//
// An Image belongs to one goroutine. Files are locked as a VM's are, so that an image that is in
// use is refused. It depends on block/blockopts, block/filedrv, block/formats, block/graph,
// block/qcow2 and block/qcow2drv.
package imgtool

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"hv/block/blockopts"
	"hv/block/formats"
	"hv/block/graph"
	"hv/block/qcow2"
	"hv/block/qcow2drv"
	"hv/qmp/qapi"
)

// Source says which image is meant.
type Source struct {
	Name   string
	Format string // found by the contents if empty
	// Options says that Name is options of a node, as -blockdev takes them.
	Options bool
}

// Access says how an image is opened.
type Access struct {
	Write bool
	// Share does without locks, and takes what others may be changing.
	Share bool
	// Alone leaves its backing file closed.
	Alone bool
	// Cache is one of the names of cache modes; empty is writeback.
	Cache string
}

// Image is an open image, with all that lies below it.
type Image struct {
	*graph.Child
	graph graph.Graph
	// Guessed says that the format was found by the contents.
	Guessed bool
	base    *Image // of which this is a snapshot
}

// cacheModes are the names of cache modes, as direct, no-flush and write-through.
var cacheModes = map[string][3]bool{
	"": {}, "writeback": {}, "none": {true, false, false}, "off": {true, false, false}, "unsafe": {false, true, false},
	"writethrough": {false, false, true}, "directsync": {true, false, true},
}

// opener opens nodes of a graph.
func opener(g *graph.Graph, writeThrough bool) *formats.Opener {
	return &formats.Opener{Graph: g, OpenFile: os.OpenFile, Drive: func(string) *graph.Node { return nil }, WriteThrough: writeThrough}
}

// describe returns an image's name and options. One of them may be empty.
func (s Source) describe(a Access) (name string, t blockopts.Tree, writeThrough bool, err error) {
	mode, ok := cacheModes[a.Cache]
	if !ok {
		return "", nil, false, fmt.Errorf("Invalid cache option: %s", a.Cache)
	}
	t, name = blockopts.Tree{}, s.Name
	if s.Options {
		if t, err = ParseOptions(s.Name); err != nil {
			return "", nil, false, err
		}
		if file, ok := t.Text("file"); ok && t["driver"] == nil {
			return "", nil, false, fmt.Errorf("Cannot find device='' nor node-name='%s'", file)
		}
		name = ""
	}
	if s.Format != "" {
		t["driver"] = s.Format
	}
	for key, v := range map[string]any{"read-only": !a.Write, "force-share": a.Share && !a.Write} {
		if _, said := t[key]; !said {
			t[key] = v
		}
	}
	if _, said := t["discard"]; a.Write && !said {
		t["discard"] = "unmap"
	}
	if a.Cache != "" {
		t["cache"] = blockopts.Tree{"direct": mode[0], "no-flush": mode[1]}
	}
	if a.Alone {
		t["backing"] = nil
	}
	return name, t, mode[2], nil
}

// ParseOptions reads options: KEY=VALUE,..., in which a comma is doubled that is meant.
func ParseOptions(text string) (blockopts.Tree, error) {
	t := blockopts.Tree{}
	for _, field := range Split(text) {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return nil, fmt.Errorf("Expected '=' after parameter '%s'", field)
		}
		if err := t.Put(key, value); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Split cuts text at its single commas; two of them are one that is meant.
func Split(text string) (fields []string) {
	var field strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != ',':
			field.WriteByte(text[i])
		case i+1 < len(text) && text[i+1] == ',':
			field.WriteByte(',')
			i++
		default:
			fields = append(fields, field.String())
			field.Reset()
		}
	}
	if field.Len() > 0 || len(fields) > 0 {
		fields = append(fields, field.String())
	}
	return fields
}

// Open opens an image.
func Open(s Source, a Access) (*Image, error) {
	im := &Image{Guessed: s.Format == "" && !s.Options && !strings.HasPrefix(s.Name, "json:")}
	name, t, writeThrough, err := s.describe(a)
	if err != nil {
		return nil, s.failed(err)
	}
	alone := a.Alone
	if _, said := t["driver"]; alone && !said {
		delete(t, "backing") // only some formats have it
		if t["driver"], err = s.probe(a); err != nil {
			return nil, err
		}
	}
	if t["driver"] == "qcow2" && alone {
		t["backing"] = nil
	} else {
		delete(t, "backing")
	}
	n, err := opener(&im.graph, writeThrough).OpenNamed(name, t)
	if err != nil {
		return nil, s.failed(err)
	}
	perm := graph.ConsistentRead
	if a.Write {
		perm |= graph.Write | graph.Resize
	}
	im.Child, err = n.Use(func() string { return "the tool" }, nil, perm, graph.AllPerms)
	if err = errors.Join(err, n.Unref()); err != nil {
		return nil, s.failed(err)
	}
	return im, nil
}

// probe finds an image's format.
func (s Source) probe(a Access) (string, error) {
	a.Alone, a.Write, a.Share = false, false, true
	name, t, _, err := s.describe(a)
	if err != nil {
		return "", s.failed(err)
	}
	var g graph.Graph
	// The name of a backing file that there is not must not keep the image from being opened.
	n, err := opener(&g, false).OpenNamed(name, t.With("driver", "qcow2").With("backing", nil))
	if err != nil {
		if n, err = opener(&g, false).OpenNamed(name, t); err != nil {
			return "", s.failed(err)
		}
	}
	return n.Driver(), n.Unref()
}

// failed says which image could not be opened.
func (s Source) failed(err error) error {
	return fmt.Errorf("Could not open '%s': %w", s.Name, err)
}

// Close gives the image up.
func (im *Image) Close() error {
	err := errors.Join(im.Child.Close(), im.graph.Close())
	if im.base != nil {
		err = errors.Join(err, im.base.Close())
	}
	return err
}

// Format returns the name of the image's format.
func (im *Image) Format() string { return im.Node().Driver() }

// child returns a child of a node.
func child(n *graph.Node, name string) *graph.Child {
	for _, c := range n.Children() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// Layer is a qcow2 image by itself: the nodes below it are not open.
type Layer struct {
	*qcow2.Image
	graph graph.Graph
	held  []*graph.Child
}

// errNoLayer is an image of a format that has no more than data.
var errNoLayer = errors.New("Operation not supported")

// OpenLayer opens a qcow2 image by itself, to look at or change it as a whole. With check it may
// be a damaged one. Images of other formats are errNoLayer.
func OpenLayer(s Source, a Access, check bool) (*Layer, error) {
	l := &Layer{}
	if s.Format == "" {
		format, err := s.probe(a)
		if err != nil {
			return nil, err
		}
		s.Format = format
	}
	if s.Format != "qcow2" {
		return nil, errNoLayer
	}
	if err := l.open(s, a, check); err != nil {
		return nil, errors.Join(s.failed(err), l.release())
	}
	return l, nil
}

func (l *Layer) open(s Source, a Access, check bool) error {
	name, t, writeThrough, err := s.describe(a)
	if err != nil {
		return err
	}
	if text, ok := strings.CutPrefix(name, "json:"); ok {
		said, err := blockopts.ParseJSON(text)
		if err != nil {
			return err
		}
		name, t = "", said.Join(t)
	}
	file, err := l.hold(opener(&l.graph, writeThrough), name, t, t.Sub("file"))
	if err != nil {
		return err
	}
	opt := qcow2.Options{ReadOnly: !a.Write, Check: check, NoRepair: check || a.Share}
	h, err := qcow2.ParseHeader(storage{qcow2drv.Storage{Child: file}})
	if err != nil {
		return err
	}
	if h.Incompatible&qcow2.IncompatDataFile != 0 {
		data, err := l.hold(opener(&l.graph, writeThrough), beside(h.DataFile, file.Node()), t, t.Sub("data-file"))
		if err != nil {
			return err
		}
		opt.DataFile = storage{qcow2drv.Storage{Child: data}}
	}
	l.Image, err = qcow2.Open(storage{qcow2drv.Storage{Child: file}}, opt)
	return err
}

// beside returns a name as it is seen from the place of a file that has it.
func beside(name string, file *graph.Node) string {
	if dir, err := file.Dir(); err == nil && name != "" && !strings.HasPrefix(name, "/") && !strings.Contains(name, ":") {
		return dir + name
	}
	return name
}

// hold opens the node that has an image's data, as the image's options t say.
func (l *Layer) hold(x *formats.Opener, name string, t, file blockopts.Tree) (*graph.Child, error) {
	for _, key := range []string{"read-only", "force-share", "cache"} {
		if _, said := file[key]; !said && t[key] != nil {
			file = file.With(key, t[key])
		}
	}
	if len(file.Without("read-only").Without("force-share").Without("cache")) > 0 {
		name = ""
	} else {
		file = file.With("driver", onHost(name))
	}
	n, err := x.OpenNamed(name, file)
	if err != nil {
		return nil, err
	}
	perm, shared := graph.ConsistentRead, graph.ConsistentRead|graph.WriteUnchanged
	if t["read-only"] != true {
		perm |= graph.Write | graph.Resize
	}
	if t["force-share"] == true {
		shared = graph.AllPerms
	}
	c, err := n.Use(func() string { return "the image" }, nil, perm, shared)
	if err == nil {
		l.held = append(l.held, c)
	}
	return c, errors.Join(err, n.Unref())
}

// onHost returns the driver for a path.
func onHost(path string) string {
	if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeDevice != 0 {
		return string(qapi.BlockdevDriverHostDevice)
	}
	return string(qapi.BlockdevDriverFile)
}

// Allocated returns how many bytes the image takes on the host.
func (l *Layer) Allocated() (sum int64) {
	n, _ := l.held[0].Node().Allocated()
	return n
}

// Filename returns what the image is known by.
func (l *Layer) Filename() string { return l.held[0].Node().Filename() }

// FullBacking returns the name of the backing file, seen from here.
func (l *Layer) FullBacking() string { return beside(l.Header().BackingFile, l.held[0].Node()) }

// Close writes back what was changed and gives the image up.
func (l *Layer) Close() error { return errors.Join(l.Image.Close(), l.release()) }

func (l *Layer) release() error {
	var errs []error
	for _, c := range l.held {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, l.graph.Close())...)
}
