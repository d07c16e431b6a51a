package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"hv/block/imgtool"
	"hv/block/qcow2"
)

// creationOptions reads -o, which may be given several times, and -b and -F.
func creationOptions(o *options) (map[string]string, error) {
	all := map[string]string{}
	for _, x := range o.given {
		if x.name != "o" {
			continue
		}
		for _, field := range imgtool.Split(x.value) {
			key, value, ok := strings.Cut(field, "=")
			if !ok {
				value = "on"
			}
			all[key] = value
		}
	}
	return all, nil
}

// based adds the backing file that options of their own name.
func based(all map[string]string, file, format string) {
	if file != "" {
		all["backing_file"] = file
	}
	if format != "" {
		all["backing_fmt"] = format
	}
}

func (m *img) create() error {
	if err := m.wants(1, 2, "Expecting image file name"); err != nil {
		return err
	}
	c := imgtool.Creation{Name: m.args[0], Format: m.value("f"), Size: -1, Unchecked: m.has("u")}
	if c.Format == "" {
		c.Format = "raw"
	}
	var err error
	if len(m.args) == 2 {
		if c.Size, err = imgtool.ParseSize(m.args[1]); err != nil {
			return err
		}
	}
	if c.Options, err = creationOptions(&m.options); err != nil {
		return err
	}
	based(c.Options, m.value("b"), m.value("F"))
	if err := c.Check(); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	m.say("%s\n", c.Describe())
	if err := c.Create(); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}

// openSnapshot opens an image, or what a snapshot in it has if its name is not empty.
func (m *img) openSnapshot(s imgtool.Source, name string, a imgtool.Access) (*imgtool.Image, error) {
	if name == "" {
		return imgtool.Open(s, a)
	}
	for _, prefix := range []string{"snapshot.name=", "snapshot.id="} {
		name = strings.TrimPrefix(name, prefix)
	}
	return imgtool.OpenSnapshot(s, a, name)
}

// conversion is a convert under way.
type conversion struct {
	*img
	sources []*imgtool.Image
	target  imgtool.Creation
	copying imgtool.Copying
}

func (m *img) convert() (err error) {
	c := conversion{img: m, copying: imgtool.Copying{Compress: m.has("c"), Sparse: 4096, Blank: m.has("target-is-zero")}}
	if err := c.check(); err != nil {
		return err
	}
	defer func() {
		for _, im := range c.sources {
			err = errors.Join(err, im.Close())
		}
	}()
	total := int64(0)
	last := len(m.args) - 1
	for _, name := range m.args[:last] {
		im, err := m.openSnapshot(m.source(name, "f"), m.value("l"), imgtool.Access{Share: m.share(), Cache: m.value("T")})
		if err != nil {
			return err
		}
		c.sources = append(c.sources, im)
		total += im.Size()
	}
	if err := c.create(m.args[last], total); err != nil {
		return err
	}
	return c.run(total)
}

// check looks for options that do not go together.
func (c *conversion) check() (err error) {
	m := c.img
	c.target.Format = m.value("O")
	if c.target.Format == "" && !m.has("target-image-opts") {
		c.target.Format = "raw"
	}
	if v := m.value("S"); v != "" {
		if c.copying.Sparse, err = imgtool.ParseSize(v); err != nil || c.copying.Sparse%512 != 0 || c.copying.Sparse > 16<<20 {
			return errors.New("Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. " +
				"Select 0 to disable sparse detection (fully allocates output).")
		}
	}
	for _, x := range []struct {
		bad  bool
		text string
	}{
		{m.has("skip-broken-bitmaps") && !m.has("bitmaps"), "Use of --skip-broken-bitmaps requires --bitmaps"},
		{m.has("target-image-opts") && !m.has("n"), "--target-image-opts requires use of -n flag"},
		{m.has("n") && m.has("o"), "-o has no effect when skipping image creation"},
		{m.has("target-is-zero") && !m.has("n"), "--target-is-zero requires use of -n flag"},
		{len(m.args) < 2, "Must specify image file name"},
		{m.has("l") && len(m.args) > 2, "No support for concatenating multiple snapshot"},
		{m.has("B") && len(m.args) > 2, "Having a backing file for the target makes no sense when concatenating multiple input images"},
		{m.has("bitmaps") && len(m.args) > 2, "Copying bitmaps only possible with single source"},
		{m.has("c") && c.target.Format == "raw", "Compression not supported for this file format"},
	} {
		if x.bad {
			return errors.New(x.text)
		}
	}
	return nil
}

// create makes the target, unless it is there already.
func (c *conversion) create(name string, size int64) (err error) {
	t := &c.target
	t.Name, t.Size = name, size
	if c.has("n") {
		return nil
	}
	if t.Options, err = creationOptions(&c.options); err != nil {
		return err
	}
	based(t.Options, c.value("B"), c.value("F"))
	if t.Options["backing_file"] != "" && t.Options["backing_fmt"] == "" {
		return errors.New("Use of backing file requires explicit backing format")
	}
	if p := t.Options["preallocation"]; c.has("c") && p != "" && p != "off" {
		return errors.New("Compression and preallocation not supported at the same time")
	}
	if err := t.Check(); err != nil {
		return err
	}
	c.copying.Blank, c.copying.Based = true, t.Options["backing_file"] != ""
	if err := t.Create(); err != nil {
		return fmt.Errorf("%s: error while converting %s: %w", name, t.Format, err)
	}
	return nil
}

// run copies the data, and bitmaps if they are wanted.
func (c *conversion) run(size int64) error {
	cache := c.value("t")
	if cache == "" {
		cache = "unsafe"
	}
	dst := imgtool.Source{Name: c.target.Name, Format: c.target.Format, Options: c.has("target-image-opts")}
	if c.copying.Compress {
		if err := c.findCluster(dst); err != nil {
			return err
		}
	}
	to, err := imgtool.Open(dst, imgtool.Access{Write: true, Cache: cache})
	if err != nil {
		return err
	}
	if to.Size() < size {
		return errors.Join(errors.New("output file is smaller than input file"), to.Close())
	}
	show, end := c.progress()
	c.copying.Progress = func(done, total int64) {
		if show != nil {
			show(done, total)
		}
	}
	err = to.Copy(c.sources, c.copying)
	end()
	if err = errors.Join(err, to.Close()); err != nil || !c.has("bitmaps") {
		return err
	}
	return imgtool.CopyBitmaps(c.source(c.args[0], "f"), dst, c.has("skip-broken-bitmaps"))
}

// findCluster looks for the size of clusters, which are compressed one by one.
func (c *conversion) findCluster(dst imgtool.Source) error {
	x, err := imgtool.Describe(dst, true)
	if err != nil {
		return err
	}
	if x.Header == nil {
		return errors.New("Compression not supported for this file format")
	}
	c.copying.Cluster = 1 << x.Header.ClusterBits
	return nil
}

func (m *img) resize() error {
	if err := m.wants(2, 2, "Expecting image file name and size"); err != nil {
		return err
	}
	name, text := m.args[0], m.args[1]
	sign := text[:min(len(text), 1)]
	if sign != "+" && sign != "-" {
		sign = ""
	}
	n, err := imgtool.ParseSize(strings.TrimPrefix(text, sign))
	if err != nil {
		return err
	}
	s := m.source(name, "f")
	im, err := imgtool.Open(s, imgtool.Access{Write: true, Alone: true})
	if err != nil {
		return err
	}
	m.warnGuess(im, name)
	s.Format = im.Format()
	old := im.Size()
	switch {
	case sign == "+":
		n = old + n
	case sign == "-":
		n = old - n
	}
	n = (n + 511) &^ 511
	mode := m.value("preallocation")
	switch {
	case n <= 0:
		err = errors.New("New image size must be positive")
	case n < old && mode != "" && mode != "off":
		err = errors.New("Preallocation can only be used for growing images")
	case n < old && !m.has("shrink"):
		fmt.Fprintln(m.errOut, "hvctl: Use the --shrink option to perform a shrink operation.\n"+
			"hvctl: warning: Shrinking an image will delete all data beyond the shrunken image's end. "+
			"Before performing such an operation, make sure there is no important data there.")
		err = imgStatus(1)
	case s.Format == "qcow2" && mode != "":
		err = im.Close()
		im = nil
		if err == nil {
			err = imgtool.ResizeLayer(s, n, mode)
		}
	default:
		err = im.Resize(n, mode)
	}
	if im != nil {
		err = errors.Join(err, im.Close())
	}
	if err == nil {
		m.say("Image resized.\n")
	}
	return err
}

func (m *img) rebase() error {
	if err := m.wants(1, 1, oneFile); err != nil {
		return err
	}
	if !m.has("b") {
		return errors.New("Must specify backing file (-b) or use simple rebase mode (-u)")
	}
	s, base, format := m.source(m.args[0], "f"), m.value("b"), m.value("F")
	if m.has("u") {
		return imgtool.SetBacking(s, base, format)
	}
	show, end := m.progress()
	err := imgtool.Rebase(s, base, format, m.value("t"), show)
	end()
	return err
}

func (m *img) commit() error {
	if err := m.wants(1, 1, oneFile); err != nil {
		return err
	}
	show, end := m.progress()
	err := imgtool.Commit(m.source(m.args[0], "f"), m.value("t"), m.value("b"), m.has("d") || m.has("b"), show)
	end()
	if err == nil {
		m.say("Image committed.\n")
	}
	return err
}

func (m *img) snapshot() error {
	if err := m.wants(1, 1, oneFile); err != nil {
		return err
	}
	var action *option
	for i, x := range m.given {
		if strings.Contains("lacd", x.name) {
			if action != nil {
				return errors.New("Cannot mix '-l', '-a', '-c', '-d'")
			}
			action = &m.given[i]
		}
	}
	if action == nil {
		action = &option{name: "l"}
	}
	l, err := imgtool.OpenLayer(m.source(m.args[0], "f"), imgtool.Access{Write: action.name != "l", Share: m.share()}, false)
	if err != nil {
		return err
	}
	switch action.name {
	case "l":
		printSnapshots(m.out, l.Snapshots())
	case "c":
		if _, err = l.CreateSnapshot(qcow2.Snapshot{Name: action.value, Date: time.Now()}); err != nil {
			err = fmt.Errorf("Could not create snapshot '%s': %w", action.value, err)
		}
	case "a":
		if err = l.ApplySnapshot(action.value); errors.Is(err, qcow2.ErrNoSnapshot) {
			err = fmt.Errorf("Could not apply snapshot '%s': Failed to load snapshot: No such file or directory", action.value)
		} else if err != nil {
			err = fmt.Errorf("Could not apply snapshot '%s': Failed to load snapshot: %w", action.value, err)
		}
	case "d":
		if err = l.DeleteSnapshot(action.value); err != nil {
			err = fmt.Errorf("Could not delete snapshot '%s': %w", action.value, notFound(err))
		}
	}
	return errors.Join(err, l.Close())
}

// notFound returns the error alone that says that there is no such snapshot.
func notFound(err error) error {
	if errors.Is(err, qcow2.ErrNoSnapshot) {
		return qcow2.ErrNoSnapshot
	}
	return err
}

var bitmapActions = []string{"add", "remove", "clear", "enable", "disable", "merge"}

func (m *img) bitmap() (err error) {
	if err := m.wants(2, 2, "Expecting filename and bitmap name"); err != nil {
		return err
	}
	granularity := int64(0)
	if v := m.value("g", "granularity"); v != "" {
		if granularity, err = imgtool.ParseSize(v); err != nil || granularity == 0 {
			return errors.New("Invalid granularity specified")
		}
		if !m.has("add") {
			return errors.New("granularity only supported with --add")
		}
	}
	b, err := imgtool.OpenBitmaps(m.source(m.args[0], "f"), imgtool.Access{Write: true})
	if err != nil {
		return err
	}
	other := b
	if m.has("b") {
		if other, err = imgtool.OpenBitmaps(imgtool.Source{Name: m.value("b"), Format: m.value("F")}, imgtool.Access{}); err != nil {
			return errors.Join(err, b.Close())
		}
		defer func() { err = errors.Join(err, other.Close()) }()
	}
	name, actions := m.args[1], 0
	for _, x := range m.given {
		err := error(nil)
		switch x.name {
		case "add":
			err = b.Add(name, granularity)
		case "remove":
			err = b.Remove(name)
		case "clear":
			err = b.Clear(name)
		case "enable", "disable":
			err = b.Enable(name, x.name == "enable")
		case "merge":
			err = b.Merge(name, other, x.value)
		default:
			continue
		}
		actions++
		if err != nil {
			return errors.Join(fmt.Errorf("Operation %s on bitmap %s failed: %w", x.name, name, err), b.Store(), b.Close())
		}
	}
	if actions == 0 {
		err = errors.New("Need at least one of --" + strings.Join(bitmapActions, ", --"))
	}
	return errors.Join(err, b.Store(), b.Close())
}
