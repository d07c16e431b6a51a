package fdset

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func null(t testing.TB, flags int) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestNames(t *testing.T) {
	var r Registry
	defer r.Close()
	first, second := null(t, unix.O_RDONLY), null(t, unix.O_RDONLY)
	if err := errors.Join(r.Name("a", first), r.Name("a", second)); err != nil {
		t.Fatal(err)
	}
	if isOpen(first) || !isOpen(second) {
		t.Error("a second descriptor of the same name does not replace the first")
	}
	fd, err := r.Param("a")
	if fd != second || err != nil {
		t.Errorf("took %d, %v", fd, err)
	}
	if _, err := r.Take("a"); text(err) != "File descriptor named 'a' has not been found" {
		t.Error(err)
	}
	if err := r.Drop("a"); text(err) != "File descriptor named 'a' not found" {
		t.Error(err)
	}
	if err := r.Name("b", fd); err != nil {
		t.Error(err)
	}
	if err := r.Drop("b"); err != nil || isOpen(fd) {
		t.Errorf("%v, open: %v", err, isOpen(fd))
	}
	bad := null(t, unix.O_RDONLY)
	if err := r.Name("1a", bad); err == nil || isOpen(bad) {
		t.Error("a name that begins with a digit")
	}
}

func TestParamNumbers(t *testing.T) {
	var r Registry
	for s, want := range map[string]int{"3": 3, "17": 17, "2": -1, "0": -1, "3x": -1, "": -1, "99999999999999999999": -1} {
		if fd, err := r.Param(s); fd != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", s, fd, err)
		}
	}
}

func TestSetNumbers(t *testing.T) {
	var r Registry
	add := func(id int64) int64 {
		p := &id
		if id < 0 {
			p = nil
		}
		n, err := r.Add(p, nil, null(t, unix.O_RDONLY))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := add(-1); got != 0 {
		t.Errorf("the first set is %d", got)
	}
	add(5)
	if got := add(-1); got != 1 {
		t.Errorf("first free number: %d", got)
	}
	add(0)
	var ids []int64
	for _, s := range r.Sets() {
		ids = append(ids, s.ID, int64(len(s.Members)))
	}
	if !slices.Equal(ids, []int64{0, 2, 1, 1, 5, 1}) {
		t.Errorf("sets and sizes %v", ids)
	}
	bad, fd := int64(-1), null(t, unix.O_RDONLY)
	if _, err := r.Add(&bad, nil, fd); text(err) != "Parameter 'fdset-id' expects a non-negative value" || isOpen(fd) {
		t.Errorf("%v, open: %v", err, isOpen(fd))
	}
	all := r.Sets()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, s := range all {
		for _, m := range s.Members {
			if isOpen(m.FD) {
				t.Errorf("%d of set %d is open after Close", m.FD, s.ID)
			}
		}
	}
}

func TestRemove(t *testing.T) {
	var r Registry
	defer r.Close()
	opaque := "mine"
	one, two := null(t, unix.O_RDONLY), null(t, unix.O_RDONLY)
	id, _ := r.Add(nil, &opaque, one)
	if _, err := r.Add(&id, nil, two); err != nil {
		t.Fatal(err)
	}
	if s := r.Sets(); *s[0].Members[0].Opaque != opaque || s[0].Members[1].Opaque != nil {
		t.Errorf("%+v", s)
	}
	fd, none := int64(one), int64(1<<40)
	if err := r.Remove(id, &none); text(err) != "File descriptor named 'fdset-id:0, fd:1099511627776' not found" {
		t.Error(err)
	}
	if err := r.Remove(9, nil); text(err) != "File descriptor named 'fdset-id:9' not found" {
		t.Error(err)
	}
	if err := r.Remove(id, &fd); err != nil || isOpen(one) || !isOpen(two) {
		t.Errorf("%v, %v, %v", err, isOpen(one), isOpen(two))
	}
	if err := r.Remove(id, nil); err != nil || isOpen(two) || len(r.Sets()) != 0 {
		t.Errorf("%v, %v, %v", err, isOpen(two), r.Sets())
	}
}

// TestOpen takes the member that is open for what is wanted, and plain files as they are.
func TestOpen(t *testing.T) {
	var r Registry
	defer r.Close()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := r.Open(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := r.Add(nil, nil, fd)
	set := Prefix + strconv.FormatInt(id, 10)
	for _, c := range []struct {
		path  string
		flags int
		want  error
	}{
		{set, os.O_RDWR, nil}, {set, os.O_RDWR | os.O_CREATE, nil}, {set, os.O_RDONLY, syscall.EACCES},
		{Prefix + "7", os.O_RDWR, syscall.ENOENT}, {Prefix + "x", os.O_RDWR, syscall.EINVAL}, {Prefix + "-1", os.O_RDWR, syscall.EINVAL},
	} {
		f, err := r.Open(c.path, c.flags, 0)
		if !errors.Is(err, c.want) {
			t.Errorf("%s for %d: %v", c.path, c.flags, err)
		}
		if err != nil {
			continue
		}
		if int(f.Fd()) == fd {
			t.Error("the set's own descriptor was given away")
		}
		if f.Close() != nil || !isOpen(fd) {
			t.Error("closing the copy closed the original")
		}
	}
}
