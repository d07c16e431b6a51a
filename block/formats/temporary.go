package formats

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hv/block/blockopts"
	"hv/block/graph"
	"hv/block/qcow2"
	"hv/qmp/qapi"
)

// OpenDrive is OpenNamed; with snapshot what is written goes to a temporary file.
func (x *Opener) OpenDrive(filename string, t blockopts.Tree, snapshot bool) (*graph.Node, error) {
	if !snapshot {
		return x.OpenNamed(filename, t)
	}
	own, err := handDown(t, &inherited{})
	if err != nil {
		return nil, err
	}
	discard := qapi.BlockdevDiscardOptionsIgnore
	if own.Discard {
		discard = qapi.BlockdevDiscardOptionsUnmap
	}
	top := &qapi.BlockdevOptions{ReadOnly: &own.ReadOnly, Discard: &discard}
	base, err := x.OpenNamed(filename, t.With("read-only", true).With("auto-read-only", false))
	if err != nil {
		return nil, err
	}
	n, err := x.temporary(top, base)
	return n, errors.Join(err, base.Unref())
}

// temporary opens an overlay of base in a file that is gone with the node.
func (x *Opener) temporary(o *qapi.BlockdevOptions, base *graph.Node) (n *graph.Node, err error) {
	f, err := createTemporary()
	if err != nil {
		return nil, err
	}
	path := f.Name()
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	err = errors.Join(qcow2.Create(blank{f}, nil, qcow2.CreateOptions{Size: base.Size()}), f.Close())
	if err != nil {
		return nil, fmt.Errorf("Could not create temporary overlay '%s': %w", path, err)
	}
	yes, no, name := true, false, base.Name()
	o.Driver = qapi.BlockdevDriverQcow2
	// What is lost with the process needs no flushes.
	o.Cache = &qapi.BlockdevCacheOptions{Direct: &no, NoFlush: &yes}
	o.Qcow2 = &qapi.BlockdevOptionsQcow2{}
	o.Qcow2.File.Definition = &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, File: &qapi.BlockdevOptionsFile{Filename: path}}
	o.Qcow2.Backing = &qapi.BlockdevRefOrNull{Reference: &name}
	return x.Open(o)
}

// createTemporary makes a file whose name is like that of QEMU's temporary images.
func createTemporary() (f *os.File, err error) {
	var path string
	for range 100 {
		path = filepath.Join(temporaryDir(), "vl."+rand.Text()[:6])
		if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, os.ErrExist) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("Could not open temporary file '%s': %s", path, graph.ErrorText(err))
	}
	return f, nil
}

// temporaryDir is where images go that are not kept. Because they may become large, it is not
// /tmp unless that is asked for.
func temporaryDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" && dir != "/tmp" {
		return dir
	}
	return "/var/tmp"
}

// blank is an empty file that an image is made in.
type blank struct{ f *os.File }

func (b blank) Readv(off int64, v [][]byte) error {
	for _, p := range v {
		n, _ := b.f.ReadAt(p, off) // past the end there are zeroes
		clear(p[n:])
		off += int64(len(p))
	}
	return nil
}

func (b blank) Writev(off int64, v [][]byte) error {
	for _, p := range v {
		if _, err := b.f.WriteAt(p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
}

// WriteZeroes makes the file larger: all of it that has not been written to is zeroes.
func (b blank) WriteZeroes(off, n int64, _ bool) error { return b.f.Truncate(max(b.Size(), off+n)) }
func (b blank) Discard(int64, int64) error             { return nil }
func (b blank) Flush() error                           { return nil }
func (b blank) Truncate(size int64) error              { return b.f.Truncate(size) }

func (b blank) Size() int64 {
	st, err := b.f.Stat()
	if err != nil {
		return 0
	}
	return st.Size()
}
