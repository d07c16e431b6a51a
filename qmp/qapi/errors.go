package qapi

import (
	"errors"
	"fmt"
)

// Error is an error with a class, the member "error" of a reply.
// It may wrap its cause.
type Error struct {
	Class QapiErrorClass
	Err   error
}

// Error returns the description without the class.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error of the given class. The format is that of fmt.Errorf.
func Errorf(class QapiErrorClass, format string, args ...any) error {
	return &Error{Class: class, Err: fmt.Errorf(format, args...)}
}

// ClassOf returns the class of the outermost Error that err wraps, GenericError
// if there is none.
func ClassOf(err error) QapiErrorClass {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return QapiErrorClassGenericError
}
