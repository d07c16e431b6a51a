package graph

import (
	"errors"

	"golang.org/x/sys/unix"

	"hv/qmp/strerror"
)

// Errno returns the error number that stands for a request's error, 0 for none.
func Errno(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var e unix.Errno
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrNotSupported):
		return unix.ENOTSUP
	}
	return unix.EIO
}

// ErrorText returns what the C library calls a request's error.
func ErrorText(err error) string { return strerror.Text(Errno(err)) }
