// Package strerror words errors of system calls as the C library does, which is how clients of
// QEMU's know them: "No such file or directory", where Go begins with a small letter.
//
// It depends on nothing of hv's.
package strerror

import (
	"errors"
	"strings"
	"syscall"
)

// Text returns what the C library says of the error number that err is or wraps; what err says
// itself if there is none.
func Text(err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return err.Error()
	}
	s := e.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

// Reason returns an error that says Text(err) and wraps the error number alone, without the names
// of calls and files that Go's errors have; err itself if there is no number. nil is nil.
func Reason(err error) error {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return err
	}
	return reason{e}
}

type reason struct{ error }

func (r reason) Error() string { return Text(r.error) }
func (r reason) Unwrap() error { return r.error }
