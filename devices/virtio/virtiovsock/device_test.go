package virtiovsock

import (
	"os"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	for _, cid := range []uint64{0, 2, 1 << 32} {
		if _, err := New(Config{GuestCID: cid}, -1); err == nil || !strings.Contains(err.Error(), "guest-cid") {
			t.Errorf("guest-cid %d: %v", cid, err)
		}
	}
	d, err := New(Config{GuestCID: 77}, -1)
	if _, serr := os.Stat(devicePath); serr != nil {
		if err == nil || !strings.Contains(err.Error(), "modprobe vhost_vsock") {
			t.Errorf("without the device: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if d.ReadConfig(0, b); b[0] != 77 {
		t.Errorf("configuration % x", b)
	}
	d.Reset()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
