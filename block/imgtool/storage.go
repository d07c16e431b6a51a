package imgtool

import "hv/block/qcow2drv"

// storage is a file that an image lies in: it grows when it is written to beyond its end, and
// reads as zeroes there.
type storage struct{ qcow2drv.Storage }

func (s storage) Readv(off int64, v [][]byte) error {
	for _, b := range v {
		if err := readPast(s.Child, off, b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func (s storage) Writev(off int64, v [][]byte) error {
	n := int64(0)
	for _, b := range v {
		n += int64(len(b))
	}
	if err := s.grow(off + n); err != nil {
		return err
	}
	return s.Storage.Writev(off, v)
}

func (s storage) WriteZeroes(off, n int64, unmap bool) error {
	if err := s.grow(off + n); err != nil {
		return err
	}
	return s.Storage.WriteZeroes(off, n, unmap)
}

func (s storage) grow(end int64) error {
	if end <= s.Size() {
		return nil
	}
	return s.Truncate(end)
}
