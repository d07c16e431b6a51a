package hmp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// requester is a caller that notes what requests it is to make.
type requester struct {
	*fake
	got string
}

func (r *requester) Request(_ context.Context, device string, isDevice bool, command string) (failed, err error) {
	if device == "none" {
		return nil, errors.New("there is no such device")
	}
	if device == "ro" {
		return errors.New("it is read-only"), nil
	}
	r.got = fmt.Sprintf("%s %v %s", device, isDevice, command)
	return nil, nil
}

func TestRequests(t *testing.T) {
	r := &requester{fake: &fake{}}
	m := New(r)
	for line, want := range map[string]string{
		`qemu-io d0 "read -P 1 0 512"`: "d0 false read -P 1 0 512", `qemu-io -d vda/virtio-backend flush`: "vda/virtio-backend true flush",
		`qemu-io ro "write 0 1"`:  "it is read-only\r\n",
		`qemu-io none "read 0 1"`: "Error: there is no such device", `qemu-io d0`: "qemu-io: string expected", `help qemu-io`: `[-d] [device] "[command]"`,
	} {
		r.got = ""
		out, err := m.Execute(t.Context(), line, nil)
		if err != nil || !strings.Contains(r.got+out, want) {
			t.Errorf("%s: %s%s, %v; want %s", line, r.got, out, err, want)
		}
	}
	if out, _ := New(&fake{}).Execute(t.Context(), "qemu-io d0 flush", nil); !strings.Contains(out, "unknown command") {
		t.Error(out)
	}
}
