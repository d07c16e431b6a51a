package qcow2

// Empty gives up all that the image itself has of the disk: what is read comes from the backing
// file then, or is zeroes.
func (im *Image) Empty() error {
	l, err := im.beginWrite()
	if err != nil {
		return err
	}
	return im.endWrite(l, 0, im.empty())
}

func (im *Image) empty() error {
	for off, size := int64(0), im.Size(); off < size; {
		im.mu.Lock()
		m, err := im.lookup(off, size-off)
		im.mu.Unlock()
		if err != nil {
			return err
		}
		if m.kind != unallocated {
			// Entries are whole: parts of a cluster go with it.
			err := im.eachCluster(off, im.geo.up(off+m.n), im.emptyEntry)
			if err != nil {
				return err
			}
		}
		off += m.n
	}
	return nil
}

func (im *Image) emptyEntry(s *slice, _ int64) error {
	old := s.get(s.i)
	if old == (entry{}) {
		return nil
	}
	im.unflushed = true
	im.setEntry(s, s.i, entry{})
	im.freeEntry(old, freedRequest)
	return nil
}
