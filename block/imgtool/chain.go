package imgtool

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Resize changes the size of an image's disk. What is added is allocated as mode says, which may be
// empty.
func (im *Image) Resize(size int64, mode string) error {
	old := im.Size()
	if mode == "" || mode == "off" {
		return im.Node().Resize(size)
	}
	if im.Format() != "raw" || mode != "falloc" && mode != "full" {
		return fmt.Errorf("Unsupported preallocation mode '%s'", mode)
	}
	if err := im.Node().Resize(size); err != nil {
		return err
	}
	if mode == "falloc" {
		f, err := os.OpenFile(im.Node().Filename(), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Fallocate(int(f.Fd()), 0, old, size-old), f.Close())
	}
	buf := make([]byte, chunk)
	for off := old; off < size; off += chunk {
		if err := im.Writev(off, [][]byte{buf[:min(chunk, size-off)]}, 0); err != nil {
			return err
		}
	}
	return im.Flush()
}

// ResizeLayer is Resize for qcow2 images, with the modes that they have.
func ResizeLayer(s Source, size int64, mode string) error {
	b, err := OpenBitmaps(s, Access{Write: true})
	if err != nil {
		return err
	}
	return errors.Join(b.resize(size, mode), b.Close())
}

// SetBacking changes what an image says of its backing file, and nothing else. An empty name is
// none.
func SetBacking(s Source, name, format string) error {
	l, err := OpenLayer(s, Access{Write: true}, false)
	if err != nil {
		return err
	}
	if name == "" {
		format = ""
	}
	return errors.Join(l.SetBackingFile(name, format), l.Close())
}

// Rebase has an image have another backing file, or none if its name is empty, without changing
// what is read.
func Rebase(s Source, name, format, cache string, progress func(done, total int64)) (err error) {
	im, err := Open(s, Access{Write: true, Cache: cache})
	if err != nil {
		return err
	}
	defer func() {
		if im != nil {
			err = errors.Join(err, im.Close())
		}
	}()
	var onto *Image
	if name != "" {
		if onto, err = Open(Source{Name: besideName(name, s.Name), Format: format}, Access{}); err != nil {
			return fmt.Errorf("Could not open new backing file '%s': %w", name, err)
		}
		if format == "" {
			format = onto.Format()
		}
	}
	err = im.Rebase(onto, progress)
	if onto != nil {
		err = errors.Join(err, onto.Close())
	}
	if err != nil {
		return err
	}
	s.Format = im.Format()
	closing := im
	im = nil
	if err := closing.Close(); err != nil {
		return err
	}
	return SetBacking(s, name, format)
}

// Commit writes what an image has to its backing file, or to the one called base further below,
// and empties the image unless keep says otherwise.
func Commit(s Source, cache, base string, keep bool, progress func(done, total int64)) error {
	chain, err := Chain(s, false)
	if err != nil {
		return err
	}
	to := 1
	if base != "" {
		for to = 1; to < len(chain) && chain[to].Filename != base && !SameFile(chain[to].Filename, base); to++ {
		}
		if to == len(chain) {
			return fmt.Errorf("Did not find '%s' in the backing chain of '%s'", base, s.Name)
		}
	}
	if len(chain) < 2 {
		return ErrNoBacking
	}
	// From the lowest layer up, so that what is further up wins.
	for i := to - 1; i >= 0; i-- {
		from, target := layerSource(s, chain, i), Source{Name: chain[to].Filename, Format: chain[to].Format}
		if err := commitLayer(from, target, cache, keep || i > 0, progress); err != nil {
			return err
		}
	}
	return nil
}

func layerSource(s Source, chain []*Info, i int) Source {
	if i == 0 {
		return s
	}
	return Source{Name: chain[i].Filename, Format: chain[i].Format}
}

func commitLayer(from, to Source, cache string, keep bool, progress func(done, total int64)) (err error) {
	below, err := Open(to, Access{Write: true, Alone: to.Format == "qcow2", Cache: cache})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, below.Close()) }()
	top, err := Open(from, Access{Alone: true, Cache: cache})
	if err != nil {
		return err
	}
	if err := errors.Join(top.Commit(below, progress), top.Close()); err != nil || keep {
		return err
	}
	l, err := OpenLayer(from, Access{Write: true, Cache: cache}, false)
	if err != nil {
		return err
	}
	return errors.Join(l.Empty(), l.Close())
}

// CopyBitmaps gives an image the bitmaps of another one. Those that are inconsistent are left out
// if skip says so.
func CopyBitmaps(from, to Source, skip bool) (err error) {
	src, err := OpenBitmaps(from, Access{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := OpenBitmaps(to, Access{Write: true})
	if err != nil {
		return err
	}
	for _, b := range src.list {
		if b.Inconsistent {
			if skip {
				continue
			}
			return errors.Join(fmt.Errorf("Cannot copy inconsistent bitmap '%s'", b.Name), dst.Close())
		}
		err := dst.Add(b.Name, b.Granularity)
		if err == nil {
			err = errors.Join(dst.Merge(b.Name, src, b.Name), dst.Enable(b.Name, b.Enabled))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("Failed to populate bitmap %s: %w", b.Name, err), dst.Close())
		}
	}
	return errors.Join(dst.Store(), dst.Close())
}
