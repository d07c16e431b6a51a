package iotests

import _ "embed" // the list of tests

//go:embed kept.txt
var kept string

// Kept returns the tests that `make test` keeps green.
func Kept() []Job { return ParseList(kept) }
