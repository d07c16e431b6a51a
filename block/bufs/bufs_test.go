package bufs

import (
	"bytes"
	"testing"
)

func TestCut(t *testing.T) {
	all := []byte("0123456789")
	for _, v := range [][][]byte{{all}, {all[:3], all[3:3], all[3:4], all[4:]}, {nil, all[:9], all[9:]}} {
		if Len(v) != 10 {
			t.Errorf("%q has %d bytes", v, Len(v))
		}
		for off := range int64(10) {
			for n := int64(1); off+n <= 10; n++ {
				if got := bytes.Join(Cut(v, off, n), nil); !bytes.Equal(got, all[off:off+n]) {
					t.Errorf("%d bytes of %q from %d on are %q", n, v, off, got)
				}
			}
		}
	}
}

func TestIsZero(t *testing.T) {
	if !IsZero(nil) || !IsZero(make([]byte, 100)) || IsZero([]byte{0, 0, 1}) {
		t.Error("wrong")
	}
}
