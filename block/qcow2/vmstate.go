package qcow2

import "fmt"

// vmStart is the offset of VM state: the first that only a further L1 entry maps.
func (im *Image) vmStart() int64 { return im.geo.l1Entries(im.Size()) * im.geo.tableSpan() }

// WriteVMState writes VM state, at off of it, which the next snapshot takes along.
func (im *Image) WriteVMState(off int64, v [][]byte) error {
	n := length(v)
	err := im.whole(func() error {
		if im.geo.external {
			return fmt.Errorf("%w: VM state with an external data file", ErrNotSupported)
		}
		if off < 0 || off+n > maxHostOffset {
			return ErrRange
		}
		im.event(EventVMStateSave)
		at := im.vmStart() + off
		if need := im.geo.l1Entries(at + n); need > int64(len(im.l1)) {
			if err := im.growL1(need); err != nil {
				return err
			}
		}
		im.mu.Unlock()
		defer im.mu.Lock()
		r := im.getReq()
		defer im.putReq(r)
		return im.write(r, at, n, v)
	})
	if err != nil {
		return fmt.Errorf("qcow2: write VM state: %w", err)
	}
	return nil
}

// ReadVMState reads VM state; after ApplySnapshot it is the snapshot's.
func (im *Image) ReadVMState(off int64, v [][]byte) error {
	im.mu.Lock()
	l, err := im.begin()
	im.mu.Unlock()
	if err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	defer im.end(l)
	r := im.getReq()
	defer im.putReq(r)
	im.event(EventVMStateLoad)
	if err := im.read(r, im.vmStart()+off, length(v), v); err != nil {
		return fmt.Errorf("qcow2: read VM state: %w", err)
	}
	return nil
}

// DropVMState gives up the VM state outside snapshots.
func (im *Image) DropVMState() error {
	err := im.whole(func() error {
		for i := im.geo.l1Entries(im.Size()); i < int64(len(im.l1)); i++ {
			if im.l1[i]&offsetMask == 0 {
				continue
			}
			if err := im.dropTable(i); err != nil {
				return err
			}
		}
		return im.settle()
	})
	if err != nil {
		return fmt.Errorf("qcow2: drop VM state: %w", err)
	}
	return nil
}

// dropCluster unmaps and frees the cluster at an offset of the disk, which has an L2 table.
func (im *Image) dropCluster(at int64) error {
	s, err := im.sliceToWrite(at)
	if err != nil {
		return err
	}
	if old := s.get(s.i); old != (entry{}) {
		im.unflushed = true
		im.setEntry(&s, s.i, entry{})
		im.freeEntry(old, freedOther)
	}
	return nil
}

// dropTable frees the L2 table of L1 entry i and all that it maps.
func (im *Image) dropTable(i int64) error {
	g := &im.geo
	for at := i * g.tableSpan(); at < (i+1)*g.tableSpan(); at += g.clusterSize {
		if err := im.dropCluster(at); err != nil {
			return err
		}
	}
	l2 := int64(im.l1[i] & offsetMask)
	im.l1[i] = 0
	im.l1Dirty.mark(int(i))
	im.dropL2(l2)
	im.free(l2, 1)
	return nil
}
