//go:build !race

package qcow2drv_test

const raced = false
