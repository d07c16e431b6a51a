package platform

import (
	"bytes"
	"slices"
	"testing"

	"hv/devices/bus"
)

// in reads one byte of a space.
func in(s *bus.Space, port uint64) byte {
	data := []byte{0}
	s.Read(port, data)
	return data[0]
}

func TestResetControl(t *testing.T) {
	var s bus.Space
	resets := 0
	r := NewResetControl(func() { resets++ })
	if err := r.Map(&s); err != nil {
		t.Fatal(err)
	}
	for _, v := range []byte{0x02, 0x06, 0x0e, 0xff} {
		s.Write(ResetControlPort, []byte{v})
	}
	if resets != 3 || in(&s, ResetControlPort) != 2 {
		t.Errorf("%d resets, register %#x", resets, in(&s, ResetControlPort))
	}
	s.Write(ResetControlPort, []byte{0xfb})
	if got := in(&s, ResetControlPort); got != 0x0a {
		t.Errorf("register %#x", got)
	}
	if r.Reset(); in(&s, ResetControlPort) != 0 {
		t.Error("reset keeps the register")
	}
}

func TestPort92(t *testing.T) {
	var s bus.Space
	resets := 0
	p := NewPort92(func() { resets++ })
	if err := p.Map(&s); err != nil {
		t.Fatal(err)
	}
	for _, v := range []byte{2, 3, 3, 2, 1} {
		s.Write(0x92, []byte{v})
	}
	if resets != 2 || in(&s, 0x92) != 1 {
		t.Errorf("%d resets, register %#x", resets, in(&s, 0x92))
	}
	p.Reset()
	if s.Write(0x92, []byte{1}); resets != 3 {
		t.Error("no reset after a reset")
	}
}

func TestPVPanic(t *testing.T) {
	var s bus.Space
	var got []PanicEvent
	p := NewPVPanic(PVPanicConfig{Event: func(e PanicEvent) { got = append(got, e) }})
	if err := p.Map(&s, PVPanicPort); err != nil {
		t.Fatal(err)
	}
	if in(&s, PVPanicPort) != 3 {
		t.Errorf("announces %#x", in(&s, PVPanicPort))
	}
	for _, v := range []byte{1, 2, 3, 4, 0} {
		s.Write(PVPanicPort, []byte{v})
	}
	if want := []PanicEvent{Panicked, CrashLoaded, Panicked}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	only := NewPVPanic(PVPanicConfig{Events: Panicked})
	data := []byte{0, 9}
	if only.Read(0, data); data[0] != 1 || data[1] != 0 {
		t.Errorf("read %x", data)
	}
}

func TestDebugExit(t *testing.T) {
	var s bus.Space
	var got []int
	d, err := NewDebugExit(DebugExitConfig{Base: 0xf4, Size: 4, Exit: func(v int) { got = append(got, v) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Map(&s); err != nil {
		t.Fatal(err)
	}
	s.Write(0xf4, []byte{0x10})
	s.Write(0xf4, []byte{1, 1, 0, 0})
	s.Write(0xf4, []byte{0xff, 0xff, 0xff, 0xff})
	d.Write(0, make([]byte, 8))
	if want := []int{0x21, 0x203, 0xffffffff, 1}; !slices.Equal(got, want) {
		t.Errorf("statuses %#x, want %#x", got, want)
	}
	if in(&s, 0xf5) != 0 {
		t.Error("reads as something")
	}
	for _, c := range []DebugExitConfig{{Size: 5}, {Base: 0xffff, Size: 2}} {
		if _, err := NewDebugExit(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if d, err := NewDebugExit(DebugExitConfig{}); err != nil || d.cfg.Base != 0x501 || d.cfg.Size != 2 {
		t.Errorf("defaults %+v, %v", d, err)
	}
}

func TestDebugConsoleAndPostCodes(t *testing.T) {
	var s bus.Space
	var out bytes.Buffer
	if err := NewDebugConsole(&out, 0xe9).Map(&s, 0xe9); err != nil {
		t.Fatal(err)
	}
	if err := (PostCodes{}).Map(&s); err != nil {
		t.Fatal(err)
	}
	for _, c := range []byte("seen") {
		s.Write(0xe9, []byte{c})
		s.Write(0x80, []byte{c})
	}
	if out.String() != "seen" || in(&s, 0xe9) != 0xe9 || in(&s, 0x80) != 0xff {
		t.Errorf("printed %q", out.String())
	}
	if (PostCodes{}).Map(&s) == nil {
		t.Error("mapped twice")
	}
}

func FuzzSmallDevices(f *testing.F) {
	f.Add([]byte{0, 1, 1, 2, 2, 3, 3, 4, 4, 5})
	f.Fuzz(func(t *testing.T, ops []byte) {
		exit, err := NewDebugExit(DebugExitConfig{Exit: func(int) {}})
		if err != nil {
			t.Fatal(err)
		}
		devices := []bus.Handler{
			NewResetControl(func() {}), NewPort92(func() {}), NewPVPanic(PVPanicConfig{Event: func(PanicEvent) {}}),
			exit, NewDebugConsole(discard{}, 0xe9), PostCodes{},
		}
		for ; len(ops) >= 2; ops = ops[2:] {
			d := devices[int(ops[0])%len(devices)]
			data := bytes.Repeat(ops[1:2], 1<<(ops[0]>>6))
			d.Write(uint64(ops[0]>>4), data)
			d.Read(uint64(ops[0]>>4), data)
		}
	})
}
