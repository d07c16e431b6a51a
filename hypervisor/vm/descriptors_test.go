package vm

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"hv/hypervisor/config"
	"hv/hypervisor/fdset"
)

// TestNetdevDescriptors takes what getfd keeps and numbers as they are, and closes what
// was taken if the rest is not to be had.
func TestNetdevDescriptors(t *testing.T) {
	var fds fdset.Registry
	defer fds.Close()
	keep := func(name string) int {
		fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := fds.Name(name, fd); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	a, b := keep("a"), keep("b")
	got, err := descriptors(config.Netdev{FDs: "a:b:77"}, fds.Param)
	if err != nil || !slices.Equal(got, []int{a, b, 77}) {
		t.Fatalf("%v, %v", got, err)
	}
	_, _ = unix.Close(a), unix.Close(b)
	a = keep("a")
	if _, err := descriptors(config.Netdev{FDs: "a:none"}, fds.Param); err == nil || err.Error() != "File descriptor named 'none' has not been found" {
		t.Error(err)
	}
	if _, err := unix.FcntlInt(uintptr(a), unix.F_GETFD, 0); err == nil {
		t.Error("a descriptor that was taken is left open")
	}
	if got, err := descriptors(config.Netdev{}, fds.Param); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
