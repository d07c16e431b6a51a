package imgtool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hv/block/filedrv"
	"hv/block/graph"
	"hv/block/qcow2"
	"hv/block/qcow2drv"
)

// Creation is an image that is to be made.
type Creation struct {
	Name, Format string
	Size         int64 // -1 for the backing file's
	Options      map[string]string
	// Unchecked leaves a backing file closed.
	Unchecked bool
}

// Keys are the options that images of a format have, in the order in which they are told.
func Keys(format string) []string {
	switch format {
	case "raw":
		return []string{"size", "preallocation"}
	case "qcow2":
		return []string{"cluster_size", "extended_l2", "preallocation", "compression_type", "size", "compat", "backing_file", "backing_fmt",
			"data_file", "data_file_raw", "lazy_refcounts", "refcount_bits"}
	}
	return nil
}

// Describe returns what is said of an image before it is made.
func (c *Creation) Describe() string {
	told := map[string]string{"size": strconv.FormatInt(c.Size, 10)}
	if c.Format == "qcow2" {
		told["cluster_size"], told["extended_l2"], told["compression_type"] = "65536", "off", "zlib"
		told["lazy_refcounts"], told["refcount_bits"] = "off", "16"
	}
	for key, v := range c.Options {
		if n, err := ParseSize(v); err == nil && key == "cluster_size" {
			v = strconv.FormatInt(n, 10)
		}
		if on, err := parseBool(v); err == nil && strings.HasPrefix(told[key]+"off", "off") && slices.Contains(switches, key) {
			v = map[bool]string{true: "on", false: "off"}[on]
		}
		told[key] = v
	}
	text := fmt.Sprintf("Formatting '%s', fmt=%s", c.Name, c.Format)
	for _, key := range Keys(c.Format) {
		if v, ok := told[key]; ok {
			text += " " + key + "=" + v
		}
	}
	return text
}

var switches = []string{"extended_l2", "data_file_raw", "lazy_refcounts"}

// Check completes the description: the size is that of the backing file if none is said.
func (c *Creation) Check() error {
	keys := Keys(c.Format)
	if keys == nil {
		return fmt.Errorf("Unknown file format '%s'", c.Format)
	}
	for key := range c.Options {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("Invalid parameter '%s'", key)
		}
	}
	if s, ok := c.Options["size"]; ok && c.Size < 0 {
		n, err := ParseSize(s)
		if err != nil {
			return fmt.Errorf("Parameter 'size' expects a size")
		}
		c.Size = n
	}
	delete(c.Options, "size")
	if err := c.checkBacking(); err != nil {
		return err
	}
	if c.Size < 0 {
		return errors.New("Image creation needs a size parameter")
	}
	return nil
}

func (c *Creation) checkBacking() error {
	base, format := c.Options["backing_file"], c.Options["backing_fmt"]
	switch {
	case base == "":
		return nil
	case base == c.Name:
		return errors.New("Error: Trying to create an image with the same filename as the backing file")
	case c.Unchecked && c.Size >= 0:
		return nil
	}
	im, err := Open(Source{Name: besideName(base, c.Name), Format: format}, Access{Share: c.Unchecked})
	if err != nil {
		return fmt.Errorf("%w\nCould not open backing image.", errors.Unwrap(err))
	}
	if c.Size < 0 {
		c.Size = im.Size()
	}
	guessed := im.Format()
	if err := im.Close(); err != nil {
		return err
	}
	if format == "" {
		return fmt.Errorf("Backing file specified without backing format\nDetected format of %s.", guessed)
	}
	return nil
}

// besideName returns a backing file's name seen from the place of the image that has it.
func besideName(base, image string) string {
	if filepath.IsAbs(base) || strings.Contains(base, ":") {
		return base
	}
	dir, _ := filepath.Split(image)
	return dir + base
}

// Create makes the image.
func (c *Creation) Create() error {
	prealloc := c.Options["preallocation"]
	if c.Format == "raw" {
		mode, ok := map[string]filedrv.Preallocation{"": filedrv.Sparse, "off": filedrv.Sparse, "falloc": filedrv.Reserve, "full": filedrv.Fill}[prealloc]
		if !ok {
			return fmt.Errorf("Unsupported preallocation mode '%s'", prealloc)
		}
		return makeFile(c.Name, (c.Size+511)&^511, mode)
	}
	opt, err := c.qcow2()
	if err != nil {
		return err
	}
	if err := opt.Validate(); err != nil {
		return err
	}
	var g graph.Graph
	var data qcow2.Storage
	file, err := blankNode(&g, c.Name)
	if err == nil && opt.DataFile != "" {
		var d *graph.Child
		d, err = blankNode(&g, besideName(opt.DataFile, c.Name))
		data = storage{qcow2drv.Storage{Child: d}}
		defer func() { err = errors.Join(err, closed(d)) }()
	}
	if err == nil {
		err = qcow2.Create(storage{qcow2drv.Storage{Child: file}}, data, opt)
	}
	return errors.Join(err, closed(file))
}

func closed(c *graph.Child) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

func makeFile(name string, size int64, mode filedrv.Preallocation) error {
	return filedrv.Create(filedrv.Creation{Path: name, Size: uint64(size), Preallocation: mode, OpenFile: os.OpenFile}, func() error { return nil })
}

// blankNode makes an empty file and opens it.
func blankNode(g *graph.Graph, name string) (*graph.Child, error) {
	if st, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode().IsRegular() {
		if err := makeFile(name, 0, filedrv.Sparse); err != nil {
			return nil, err
		}
	}
	var l Layer
	x := opener(g, false)
	c, err := l.hold(x, name, map[string]any{"read-only": false}, nil)
	return c, err
}

// qcow2 reads the options.
func (c *Creation) qcow2() (o qcow2.CreateOptions, err error) {
	o = qcow2.CreateOptions{Size: (c.Size + 511) &^ 511, Compat: c.Options["compat"], Preallocation: c.Options["preallocation"], DataFile: c.Options["data_file"],
		BackingFile: c.Options["backing_file"], BackingFormat: c.Options["backing_fmt"]}
	switch o.Compat {
	case "v2":
		o.Compat = "0.10"
	case "v3":
		o.Compat = "1.1"
	}
	if o.Preallocation != "" && !slices.Contains([]string{"off", "metadata", "falloc", "full"}, o.Preallocation) {
		return o, fmt.Errorf("Parameter 'preallocation' does not accept value '%s'", o.Preallocation)
	}
	switch v := c.Options["compression_type"]; v {
	case "", "zlib":
	case "zstd":
		o.Compression = qcow2.Zstd
	default:
		return o, fmt.Errorf("Parameter 'compression-type' does not accept value '%s'", v)
	}
	for key, to := range map[string]*bool{"extended_l2": &o.ExtendedL2, "data_file_raw": &o.DataFileRaw, "lazy_refcounts": &o.LazyRefcounts} {
		if v, ok := c.Options[key]; ok {
			if *to, err = parseBool(v); err != nil {
				return o, fmt.Errorf("Parameter '%s' expects 'on' or 'off'", key)
			}
		}
	}
	if v, ok := c.Options["cluster_size"]; ok {
		if o.ClusterSize, err = ParseSize(v); err != nil {
			return o, errors.New("Parameter 'cluster_size' expects a size")
		}
	}
	if v, ok := c.Options["refcount_bits"]; ok {
		if o.RefcountBits, err = strconv.Atoi(v); err != nil {
			return o, errors.New("Parameter 'refcount_bits' expects a number")
		}
	}
	return o, nil
}

// ParseSize reads a number of bytes, with a suffix from b to E or none.
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("Invalid image size specified: '%s'", s)
	if s == "" || strings.Contains(s, "_") {
		return 0, bad
	}
	digits, shift := s, 0
	if i := strings.IndexByte("bkmgtpe", s[len(s)-1]|0x20); i >= 0 && !strings.HasPrefix(s, "0x") {
		digits, shift = s[:len(s)-1], 10*i
	}
	if n, err := strconv.ParseInt(digits, 0, 64); err == nil && n >= 0 && n <= (1<<63-1)>>shift {
		return n << shift, nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if f *= float64(int64(1) << shift); err != nil || f < 0 || f >= 1<<63 || strings.ContainsAny(digits, "xXeEiInN_") {
		return 0, bad
	}
	return int64(f), nil
}

// parseBool reads a switch.
func parseBool(s string) (bool, error) {
	switch s {
	case "on", "yes", "true", "y":
		return true, nil
	case "off", "no", "false", "n":
		return false, nil
	}
	return false, fmt.Errorf("'%s' is neither on nor off", s)
}
