package hostfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Bytes that are locked for permissions, from QEMU's block/file-posix.c: held ones
// and ones that are not shared.
const (
	lockHeld      = 100
	lockNotShared = 200
)

// permNames are the permissions by their bits, as errors have them.
var permNames = [...]string{"consistent read", "write", "write unchanged", "resize"}

// SetLocks locks the file for those who do what the bits of held say, and let nobody
// else do what those of notShared say. If another process does not agree, the locks are
// as before.
func (f *File) SetLocks(held, notShared uint8) error {
	if f.block {
		return nil
	}
	oldHeld, oldNotShared := f.held, f.notShared
	// What is new first, so that a failure leaves nothing out.
	err := f.lockBits(held|oldHeld, notShared|oldNotShared)
	if err == nil {
		err = f.conflicts(held&^oldHeld, notShared&^oldNotShared)
	}
	if err != nil {
		return errors.Join(err, f.lockBits(oldHeld, oldNotShared))
	}
	return f.lockBits(held, notShared)
}

// lockBits has exactly these locks; if it fails some of them are not.
func (f *File) lockBits(held, notShared uint8) error {
	for i := range permNames {
		for _, x := range []struct {
			base int64
			want uint8
			has  *uint8
		}{{lockHeld, held, &f.held}, {lockNotShared, notShared, &f.notShared}} {
			bit := uint8(1) << i
			if (x.want^*x.has)&bit == 0 {
				continue
			}
			kind := int16(unix.F_UNLCK)
			if x.want&bit != 0 {
				kind = unix.F_RDLCK
			}
			if err := f.lockByte(x.base+int64(i), kind); err != nil {
				return fmt.Errorf("Failed to lock byte %d of '%s': %w", x.base+int64(i), f.cfg.Path, err)
			}
			*x.has ^= bit
		}
	}
	return nil
}

// conflicts looks for others that hold what is not shared with them, or do not
// share what is held.
func (f *File) conflicts(held, notShared uint8) error {
	for i, name := range permNames {
		switch bit := uint8(1) << i; {
		case held&bit != 0 && f.taken(lockNotShared+int64(i)):
			return f.refused("", name)
		case notShared&bit != 0 && f.taken(lockHeld+int64(i)):
			return f.refused("shared ", name)
		}
	}
	return nil
}

// LockError is a file that others use in a way that does not go together with what is wanted.
type LockError struct {
	Kind, Perm string // what could not be locked
	Path       string
}

func (e *LockError) Error() string { return fmt.Sprintf("Failed to get %s\"%s\" lock", e.Kind, e.Perm) }

// Hint says what may be the reason, to who reads the error at a terminal.
func (e *LockError) Hint() string {
	return fmt.Sprintf("Is another process using the image [%s]?", e.Path)
}

func (f *File) refused(kind, perm string) error {
	return &LockError{Kind: kind, Perm: perm, Path: f.cfg.Path}
}

func (f *File) lockByte(at int64, kind int16) error {
	l := unix.Flock_t{Type: kind, Start: at, Len: 1}
	return unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &l)
}

// taken reports whether somebody else has a lock on a byte.
func (f *File) taken(at int64) bool {
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
	err := unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_GETLK, &l)
	return err == nil && l.Type != unix.F_UNLCK
}

// Locks returns what is locked.
func (f *File) Locks() (held, notShared uint8) { return f.held, f.notShared }
