// Package fdset keeps the descriptors that others handed to the VM: under names, for
// options such as fd=NAME, and in numbered sets, whose members stand behind paths
// such as /dev/fdset/1.
//
// A Registry owns what it keeps until that is taken, removed or the registry closed.
// It is safe for concurrent use. Semantics and texts are those of QEMU's getfd and
// add-fd (qapi/misc.json). It depends on nothing of ours.
package fdset

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Prefix begins the paths that name sets.
const Prefix = "/dev/fdset/"

// Registry holds a VM's descriptors. The zero value is empty.
type Registry struct {
	mu    sync.Mutex
	names map[string]int
	sets  []Set // by number
}

// Set is a numbered set of descriptors.
type Set struct {
	ID      int64
	Members []Member // in the order in which they came
}

// Member is a descriptor of a Set.
type Member struct {
	FD     int
	Opaque *string // what its giver wants to know it by
}

// Name keeps a descriptor under a name. One that has the name already is closed. It
// takes fd even if it fails.
func (r *Registry) Name(name string, fd int) error {
	if name != "" && isDigit(name[0]) {
		_ = unix.Close(fd)
		return errors.New("Parameter 'fdname' expects a name not starting with a digit")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.names[name]; ok {
		_ = unix.Close(old)
	}
	if r.names == nil {
		r.names = map[string]int{}
	}
	r.names[name] = fd
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Drop closes the descriptor with a name.
func (r *Registry) Drop(name string) error {
	fd, ok := r.take(name)
	if !ok {
		return notFound(name)
	}
	return unix.Close(fd)
}

func notFound(what string) error {
	return fmt.Errorf("File descriptor named '%s' not found", what)
}

func (r *Registry) take(name string) (int, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd, ok := r.names[name]
	delete(r.names, name)
	return fd, ok
}

// Take gives the descriptor with a name away: it is the caller's from now on.
func (r *Registry) Take(name string) (int, error) {
	fd, ok := r.take(name)
	if !ok {
		return -1, fmt.Errorf("File descriptor named '%s' has not been found", name)
	}
	return fd, nil
}

// Param returns the descriptor that an option names: a number above those of the
// standard streams, or a name, which is taken.
func (r *Registry) Param(s string) (int, error) {
	if s == "" || !isDigit(s[0]) {
		return r.Take(s)
	}
	fd, err := strconv.Atoi(s)
	if err != nil || fd <= 2 {
		return -1, fmt.Errorf("'%s' is no descriptor number above 2", s)
	}
	return fd, nil
}

// Add puts a descriptor into the set with a number, the first free one for nil, and
// returns that. It takes fd even if it fails.
func (r *Registry) Add(id *int64, opaque *string, fd int) (int64, error) {
	if id != nil && *id < 0 {
		_ = unix.Close(fd)
		return 0, errors.New("Parameter 'fdset-id' expects a non-negative value")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.freeID()
	if id != nil {
		n = *id
	}
	i, ok := r.find(n)
	if !ok {
		r.sets = slices.Insert(r.sets, i, Set{ID: n})
	}
	r.sets[i].Members = append(r.sets[i].Members, Member{fd, opaque})
	return n, nil
}

// freeID returns the first number that no set has.
func (r *Registry) freeID() int64 {
	for i, s := range r.sets {
		if s.ID != int64(i) {
			return int64(i)
		}
	}
	return int64(len(r.sets))
}

func (r *Registry) find(id int64) (int, bool) {
	return slices.BinarySearchFunc(r.sets, id, func(s Set, id int64) int { return int(min(max(s.ID-id, -1), 1)) })
}

// Remove closes a descriptor of a set, or all of them if fd is nil. A set without
// descriptors is gone.
func (r *Registry) Remove(id int64, fd *int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := r.find(id)
	if !ok {
		return missing(id, fd)
	}
	keep, gone := []Member(nil), 0
	for _, m := range r.sets[i].Members {
		if fd != nil && int64(m.FD) != *fd {
			keep = append(keep, m)
			continue
		}
		_ = unix.Close(m.FD)
		gone++
	}
	if gone == 0 {
		return missing(id, fd)
	}
	if r.sets[i].Members = keep; len(keep) == 0 {
		r.sets = slices.Delete(r.sets, i, i+1)
	}
	return nil
}

func missing(id int64, fd *int64) error {
	if fd != nil {
		return notFound(fmt.Sprintf("fdset-id:%d, fd:%d", id, *fd))
	}
	return notFound(fmt.Sprintf("fdset-id:%d", id))
}

// Sets returns all sets, by number.
func (r *Registry) Sets() []Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.sets)
	for i := range all {
		all[i].Members = slices.Clone(all[i].Members)
	}
	return all
}

// Open is os.OpenFile, but that a path that names a set gives a copy of the member
// of it that is open for the same access.
func (r *Registry) Open(path string, flags int, perm os.FileMode) (*os.File, error) {
	name, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		return os.OpenFile(path, flags, perm)
	}
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil || id < 0 {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EINVAL}
	}
	fd, err := r.copyOf(id, flags&unix.O_ACCMODE)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// copyOf returns a copy of a set's first descriptor with an access mode.
func (r *Registry) copyOf(id int64, access int) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := r.find(id)
	if !ok {
		return -1, syscall.ENOENT
	}
	for _, m := range r.sets[i].Members {
		flags, err := unix.FcntlInt(uintptr(m.FD), unix.F_GETFL, 0)
		if err != nil {
			return -1, err
		}
		if flags&unix.O_ACCMODE == access {
			return unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
		}
	}
	return -1, syscall.EACCES
}

// Close closes everything.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, fd := range r.names {
		errs = append(errs, unix.Close(fd))
	}
	for _, s := range r.sets {
		for _, m := range s.Members {
			errs = append(errs, unix.Close(m.FD))
		}
	}
	r.names, r.sets = nil, nil
	return errors.Join(errs...)
}
