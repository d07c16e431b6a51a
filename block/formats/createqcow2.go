package formats

import (
	"errors"
	"fmt"
	"math"

	"hv/block/graph"
	"hv/block/qcow2"
	"hv/block/qcow2drv"
	"hv/qmp/qapi"
)

// holds is nodes that are written to while an image is made.
type holds []*graph.Child

func (h holds) Close() error {
	var errs []error
	for _, c := range h {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// hold takes the node that a reference means, to write to it.
func (x *Opener) hold(r *qapi.BlockdevRef, h *holds) (*graph.Child, error) {
	n, err := x.child(r, inherited{})
	if err != nil {
		return nil, err
	}
	c, err := n.Use(func() string { return "an unnamed block device" }, nil, graph.ConsistentRead|graph.Write|graph.Resize, graph.AllPerms)
	if err == nil {
		*h = append(*h, c)
	}
	return c, errors.Join(err, n.Unref())
}

func (x *Opener) createQcow2(o *qapi.BlockdevCreateOptionsQcow2) Creation {
	var h holds
	file, err := x.hold(&o.File, &h)
	if err == nil {
		err = checkQcow2(o)
	}
	var data *graph.Child
	if err == nil && o.DataFile != nil {
		data, err = x.hold(o.DataFile, &h)
	}
	if err != nil {
		return failing(errors.Join(err, h.Close()))
	}
	opt := creationOptions(o)
	if data != nil {
		opt.DataFile = data.Node().Filename()
	}
	run := func(func() error) error {
		if data == nil {
			return reworded(qcow2.Create(qcow2drv.Storage{Child: file}, nil, opt))
		}
		return reworded(qcow2.Create(qcow2drv.Storage{Child: file}, qcow2drv.Storage{Child: data}, opt))
	}
	return Creation{Run: run, Close: h.Close}
}

// creationOptions returns what the image's format calls them.
func creationOptions(o *qapi.BlockdevCreateOptionsQcow2) qcow2.CreateOptions {
	opt := qcow2.CreateOptions{Size: int64(o.Size), LazyRefcounts: isSet(o.LazyRefcounts), ExtendedL2: isSet(o.ExtendedL2), DataFileRaw: isSet(o.DataFileRaw)}
	if o.Version != nil && *o.Version == qapi.BlockdevQcow2VersionV2 {
		opt.Compat = "0.10"
	}
	if o.ClusterSize != nil {
		opt.ClusterSize = int64(*o.ClusterSize)
	}
	if o.RefcountBits != nil {
		opt.RefcountBits = int(*o.RefcountBits)
	}
	if o.Preallocation != nil {
		opt.Preallocation = string(*o.Preallocation)
	}
	if o.CompressionType != nil && *o.CompressionType == qapi.Qcow2CompressionTypeZstd {
		opt.Compression = qcow2.Zstd
	}
	if o.BackingFile != nil {
		opt.BackingFile = *o.BackingFile
	}
	if o.BackingFmt != nil {
		opt.BackingFormat = string(*o.BackingFmt)
	}
	return opt
}

// checkQcow2 says what is wrong with the options.
func checkQcow2(o *qapi.BlockdevCreateOptionsQcow2) error {
	const v3 = "compatibility level 1.1 and above (use version=v3 or greater)"
	v2 := o.Version != nil && *o.Version == qapi.BlockdevQcow2VersionV2
	cluster, bits := uint64(65536), int64(16)
	if o.ClusterSize != nil {
		cluster = *o.ClusterSize
	}
	if o.RefcountBits != nil {
		bits = *o.RefcountBits
	}
	preallocated := o.Preallocation != nil && *o.Preallocation != qapi.PreallocModeOff
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{o.Size%512 != 0, "Image size must be a multiple of 512 bytes"},
		{v2 && isSet(o.ExtendedL2), "Extended L2 entries are only supported with " + v3},
		{cluster&(cluster-1) != 0 || cluster < 512 || cluster > 2<<20, "Cluster size must be a power of two between 512 and 2048k"},
		{isSet(o.ExtendedL2) && cluster < 16384, "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"},
		{o.BackingFile != nil && preallocated && !isSet(o.ExtendedL2), "Backing file and preallocation can only be used at the same time if extended_l2 is on"},
		{o.BackingFmt != nil && o.BackingFile == nil, "Backing format cannot be used without backing file"},
		{v2 && isSet(o.LazyRefcounts), "Lazy refcounts only supported with " + v3},
		{bits < 1 || bits > 64 || bits&(bits-1) != 0, "Refcount width must be a power of two and may not exceed 64 bits"},
		{v2 && bits != 16, "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"},
		{isSet(o.DataFileRaw) && o.DataFile == nil, "data-file-raw requires data-file"},
		{isSet(o.DataFileRaw) && o.BackingFile != nil, "Backing file and data-file-raw cannot be used at the same time"},
		{v2 && o.DataFile != nil, "External data files are only supported with " + v3},
		{v2 && o.CompressionType != nil && *o.CompressionType != qapi.Qcow2CompressionTypeZlib, "Non-zlib compression type is only supported with " + v3},
	} {
		if c.bad {
			return errors.New(c.text)
		}
	}
	return checkSize(o.Size, cluster, isSet(o.ExtendedL2))
}

// checkSize says what is wrong with a size: what the L1 table can reach, of 32 MiB at most.
func checkSize(size, cluster uint64, extended bool) error {
	const most = uint64(graph.MaxSize)
	entry := uint64(8)
	if extended {
		entry = 16
	}
	switch reach := (32 << 20) / 8 * (cluster / entry); {
	case size > math.MaxInt64:
		return errors.New("Could not resize image: Image size cannot be negative")
	case size > most:
		return fmt.Errorf("Could not resize image: offset(%d) exceeds maximum(%d)", size, uint64(most))
	case size/cluster > reach:
		return errors.New("Could not resize image: Failed to grow the L1 table: File too large")
	}
	return nil
}

// reworded has an error of the format say what QEMU says.
func reworded(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("Could not create image: %w", err)
}
