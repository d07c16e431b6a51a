// Package kvmtest opens KVM for tests. It depends on hypervisor/kvm.
package kvmtest

import (
	"errors"
	"io/fs"
	"testing"

	"hv/hypervisor/kvm"
)

// Open opens KVM until the test ends. Without /dev/kvm the test is skipped, loudly.
func Open(t testing.TB) *kvm.System {
	t.Helper()
	sys, err := kvm.Open(kvm.DevicePath)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skipf("SKIPPED: this test needs KVM: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close() })
	return sys
}
