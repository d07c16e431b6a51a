package vhost

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestABI(t *testing.T) {
	for name, c := range map[string][2]uintptr{
		"vhost_vring_state":   {unsafe.Sizeof(vringState{}), 8},
		"vhost_vring_file":    {unsafe.Sizeof(vringFile{}), 8},
		"vhost_vring_addr":    {unsafe.Sizeof(vringAddr{}), 40},
		"vhost_memory_region": {unsafe.Sizeof(memRegion{}), 32},
		"regions":             {unsafe.Offsetof(memTable{}.regions), 8},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, not %d", name, c[0], c[1])
		}
	}
}

// TestRefusals uses descriptors that are no vhost devices.
func TestRefusals(t *testing.T) {
	if _, err := Open("/dev/no-such-vhost"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(os.DevNull); !errors.Is(err, unix.ENOTTY) {
		t.Error(err)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	k := &Kernel{fd: fd}
	if err := k.SetRing(3, Ring{Size: 256}); !errors.Is(err, unix.ENOTTY) {
		t.Error(err)
	}
	if err := k.SetMemory(make([]Region, 65)); !errors.Is(err, ErrTooMuchMemory) {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestAddress(t *testing.T) {
	b := make([]byte, 16)
	if Address(b[8:])-Address(b) != 8 {
		t.Error("addresses do not follow slices")
	}
}
