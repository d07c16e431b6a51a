package qcow2

import (
	"errors"
	"fmt"
)

// SetBackingFile changes what the header says of the backing file; an empty name is none.
func (im *Image) SetBackingFile(name, format string) error {
	if len(name) > maxNameLen {
		return errors.New("qcow2: backing file name is too long")
	}
	if name != "" && im.hdr.Autoclear&AutoclearRawData != 0 {
		return errors.New("qcow2: cannot set a backing file for an image with a raw external data file")
	}
	if name == "" {
		format = ""
	}
	return im.changeHeader("change backing file", func(h *Header) error {
		h.BackingFile, h.BackingFormat = name, format
		return nil
	})
}

// SetLazyRefcounts changes whether later users of the image count references lazily.
func (im *Image) SetLazyRefcounts(on bool) error {
	return im.changeHeader("change lazy refcounts", func(h *Header) error {
		if h.Version < 3 {
			return errors.New("lazy refcounts are only supported with compatibility level 1.1 and above")
		}
		if h.Compatible &^= CompatLazyRefcounts; on {
			h.Compatible |= CompatLazyRefcounts
		}
		im.lazy = on
		return nil
	})
}

// Upgrade makes a version 2 image one of version 3.
func (im *Image) Upgrade() error {
	return im.changeHeader("upgrade", func(h *Header) error {
		if h.Version >= 3 {
			return nil
		}
		h.Version = 3
		if len(im.snaps) == 0 {
			return nil
		}
		// Version 3 wants more in a snapshot's entry.
		if err := im.writeSnapshots(append([]Snapshot(nil), im.snaps...)); err != nil {
			h.Version = 2
			return err
		}
		return nil
	})
}

// changeHeader writes all that is cached, changes the header and writes that.
func (im *Image) changeHeader(what string, f func(*Header) error) error {
	err := im.whole(func() error {
		if err := im.settle(); err != nil {
			return err
		}
		if err := im.setClean(); err != nil {
			return err
		}
		return im.changeWhole(f)
	})
	if err != nil {
		return fmt.Errorf("qcow2: %s: %w", what, err)
	}
	return nil
}

// changeWhole changes the header, as changeFields does.
func (im *Image) changeWhole(f func(*Header) error) error {
	old := im.hdr.clone()
	if err := f(&im.hdr); err != nil {
		return err
	}
	if _, err := im.hdr.encode(); err != nil {
		im.hdr = old
		return err
	}
	err := im.writeHeader()
	if err == nil {
		err = im.barrier()
	}
	if err != nil {
		im.hdr, im.doubt = old, true
	}
	return err
}
