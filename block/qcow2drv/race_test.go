//go:build race

package qcow2drv_test

// raced has nothing be measured: the race detector costs more than what is.
const raced = true
