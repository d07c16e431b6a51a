package qcow2

import "fmt"

// maxFreed is how many clusters may wait to be counted down before a flush is made for it.
const maxFreed = 4096

// writeMeta writes metadata; allowed is what may lie there already.
func (im *Image) writeMeta(off int64, b []byte, allowed Overlap) error {
	if err := im.checkOverlap(off, int64(len(b)), allowed); err != nil {
		return err
	}
	im.unflushed = true
	return im.file.Writev(off, [][]byte{b})
}

// barrier makes what was written durable before what will be.
func (im *Image) barrier() error {
	if !im.unflushed {
		return nil
	}
	if err := im.flushStorage(); err != nil {
		return err
	}
	im.unflushed = false
	return nil
}

func (im *Image) flushStorage() error {
	if im.geo.external {
		if err := im.data.Flush(); err != nil {
			return fmt.Errorf("flush data file: %w", err)
		}
	}
	return im.file.Flush()
}

// writeBack writes what is cached, each step after what it depends on. The last step need
// not be durable when it returns.
func (im *Image) writeBack() error {
	if err := im.affirm(); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	if err := im.storeRefs(); err != nil {
		return fmt.Errorf("write refcounts: %w", err)
	}
	if err := im.l2.flush(); err != nil {
		return fmt.Errorf("write L2 tables: %w", err)
	}
	if im.l1Dirty.lo == im.l1Dirty.hi {
		return nil
	}
	if err := im.storeRefs(); err != nil {
		return fmt.Errorf("write refcounts: %w", err)
	}
	if err := im.barrier(); err != nil {
		return err
	}
	if err := im.storeL1(); err != nil {
		return fmt.Errorf("write L1 table: %w", err)
	}
	return nil
}

// Flush makes durable what was written before it was called.
func (im *Image) Flush() error {
	im.mu.Lock()
	for im.exclusive.Load() {
		im.cond.Wait()
	}
	if im.broken != nil || im.opt.ReadOnly {
		defer im.mu.Unlock()
		return im.broken
	}
	err := im.writeBack()
	durable := im.freed[0]
	im.freed[0] = nil
	im.flushing++
	im.mu.Unlock()
	if err == nil {
		err = im.flushStorage()
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.flushing--
	im.cond.Broadcast()
	if err != nil {
		im.freed[0] = append(durable, im.freed[0]...)
		return fmt.Errorf("flush: %w", err)
	}
	if len(durable)+len(im.freed[1]) > 0 {
		return im.reap(durable)
	}
	return nil
}

// settle writes everything, and counts down everything that became free. The caller is alone
// with the image.
func (im *Image) settle() error {
	for {
		if err := im.writeBack(); err != nil {
			return err
		}
		if err := im.storeRefsNow(); err != nil {
			return err
		}
		if err := im.barrier(); err != nil {
			return err
		}
		if len(im.freed[0])+len(im.freed[1]) == 0 {
			return nil
		}
		l := append(im.freed[1], im.freed[0]...)
		im.freed = [2][]run{}
		if err := im.release(l); err != nil {
			return err
		}
	}
}
