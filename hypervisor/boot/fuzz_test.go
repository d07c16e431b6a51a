package boot

import (
	"bytes"
	"testing"

	"hv/hypervisor/mem"
)

// fuzzImage opens and loads data; whatever it is, that may only fail.
func fuzzImage(t *testing.T, data []byte, initrd int64) {
	img, err := OpenBytes("fuzz", data)
	if err != nil {
		return
	}
	m, err := mem.New(mem.Region{Data: make([]byte, 8*mib), FD: -1})
	if err != nil {
		t.Fatal(err)
	}
	e, err := img.Load(Params{
		Memory: m, Cmdline: "x", Initrd: bytes.NewReader(make([]byte, 4096)), InitrdSize: initrd, E820: BuildE820(m.Regions()),
	})
	if err == nil && (e.RIP < kernelMin || e.RIP >= 8*mib) {
		t.Errorf("entry %#x", e.RIP)
	}
}

func FuzzBzImage(f *testing.F) {
	good := synthBzImage(payload(1024))
	le.PutUint64(good[offPrefAddress:], 2*mib)
	f.Add(good[offSetupHeader:offHeaderEnd], int64(4096))
	f.Add(synthBzImage(payload(600))[offSetupHeader:offHeaderEnd], int64(0))
	f.Fuzz(func(t *testing.T, header []byte, initrd int64) {
		data := bytes.Clone(good)
		copy(data[offSetupHeader:], header)
		fuzzImage(t, data, initrd)
	})
}

func FuzzELF(f *testing.F) {
	for _, class := range []byte{elfClass32, elfClass64} {
		f.Add(synthELF(class, pvhNote(2*mib), program{2 * mib, pageSize, payload(16)}), int64(4096))
		f.Add(synthELF(class, note("GNU\x00", 3, []byte("id"), 4), program{2 * mib, pageSize, nil}), int64(0))
	}
	f.Fuzz(fuzzImage)
}
