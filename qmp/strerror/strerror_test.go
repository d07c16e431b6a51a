package strerror

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

func TestWords(t *testing.T) {
	_, gone := os.Open(t.TempDir() + "/none")
	other := errors.New("so it is")
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.ENOSPC, "No space left on device"},
		{gone, "No such file or directory"},
		{errors.Join(other, gone), "No such file or directory"},
		{other, "so it is"},
	} {
		if got := Text(c.err); got != c.want {
			t.Errorf("%v: %q", c.err, got)
		}
		r := Reason(c.err)
		var no syscall.Errno
		if r.Error() != c.want || errors.As(c.err, &no) && !errors.Is(r, no) {
			t.Errorf("%v: %q", c.err, r)
		}
	}
	if Reason(nil) != nil {
		t.Error("nothing has a reason")
	}
}
