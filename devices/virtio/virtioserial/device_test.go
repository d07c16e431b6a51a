package virtioserial

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"hv/devices/virtio"
	"hv/devices/virtio/virtiotest"
)

const patience = 20 * time.Second

// sink collects what the guest writes.
type sink struct {
	mu  sync.Mutex
	got bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// rig is a device with a console at port 0 and a named port at 1.
type rig struct {
	dev           *Device
	d             *virtiotest.Driver
	console, port *Port
	out           [2]sink
	opened        chan bool
	space         chan struct{}
}

func newRig(t testing.TB, o virtiotest.Options) *rig {
	t.Helper()
	r := &rig{opened: make(chan bool, 10), space: make(chan struct{}, 100)}
	var err error
	if r.dev, err = New(Config{MaxPorts: 3}); err != nil {
		t.Fatal(err)
	}
	if r.console, err = r.dev.AddPort(PortConfig{Auto: true, Console: true, Out: &r.out[0]}); err != nil {
		t.Fatal(err)
	}
	r.port, err = r.dev.AddPort(PortConfig{Auto: true, Name: "org.example", Out: &r.out[1],
		OnOpen: func(open bool) { r.opened <- open }, Space: func() { r.space <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	r.d = virtiotest.NewDriver(t, r.dev, o)
	return r
}

// say sends a control message; hear waits for n of them.
func (r *rig) say(port uint32, event, value uint16) {
	r.d.Send(queueCtlOut, 0, control{port: port, event: event, value: value}.encode())
}

func (r *rig) hear(t testing.TB, n int) (all []control) {
	t.Helper()
	mark := r.d.Mark()
	defer r.d.Release(mark)
	at := map[uint16]uint64{}
	for range n {
		a := r.d.Alloc(64)
		at[r.d.Add(queueCtlIn, virtiotest.Buf{Addr: a, Len: 64, Write: true})] = a
	}
	r.d.Kick(queueCtlIn)
	for range n {
		token, written := r.d.Wait(queueCtlIn)
		b := r.d.Bytes(at[token], int(written))
		m := parseControl(b)
		m.name = string(b[controlSize:])
		all = append(all, m)
	}
	return all
}

func (r *rig) awaitOpen(t testing.TB, want bool) {
	t.Helper()
	select {
	case got := <-r.opened:
		if got != want {
			t.Errorf("open: %v", got)
		}
	case <-time.After(patience):
		t.Fatal("nobody was told of the port")
	}
}

func equal(a, b []control) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestHandshake is what Linux's driver does at its start.
func TestHandshake(t *testing.T) {
	for _, o := range []virtiotest.Options{{}, {Packed: true, EventIdx: true}} {
		r := newRig(t, o)
		if r.dev.Type() != virtio.IDConsole || len(r.dev.QueueSizes()) != 8 || r.dev.Features()&featureMultiport == 0 {
			t.Error("identity")
		}
		r.say(0, eventDeviceReady, 1)
		if got := r.hear(t, 2); !equal(got, []control{{0, eventPortAdd, 1, ""}, {1, eventPortAdd, 1, ""}}) {
			t.Errorf("ports %v", got)
		}
		r.say(0, eventPortReady, 1)
		if got := r.hear(t, 2); !equal(got, []control{{0, eventConsole, 1, ""}, {0, eventOpen, 1, ""}}) {
			t.Errorf("console %v", got)
		}
		r.say(1, eventPortReady, 1)
		if got := r.hear(t, 1); !equal(got, []control{{1, eventName, 1, "org.example"}}) {
			t.Errorf("port %v", got)
		}
		r.port.SetConnected(true)
		r.port.SetConnected(true)
		if got := r.hear(t, 1); !equal(got, []control{{1, eventOpen, 1, ""}}) {
			t.Errorf("connection %v", got)
		}
		r.say(1, eventOpen, 1)
		r.awaitOpen(t, true)
		r.say(7, eventOpen, 1) // there is no such port
		r.say(1, 99, 1)        // nor such an event
		r.say(0, eventDeviceReady, 0)
		r.d.Reset()
		r.awaitOpen(t, false)
	}
}

// TestOutput passes on what the guest writes, to the right port.
func TestOutput(t *testing.T) {
	r := newRig(t, virtiotest.Options{Indirect: true})
	r.d.Send(1, 0, []byte("boot "), []byte("log"))
	r.d.Send(5, 0, []byte("data"))
	r.d.Send(7, 0, []byte("for no port"))
	if r.out[0].String() != "boot log" || r.out[1].String() != "data" {
		t.Errorf("%q and %q", r.out[0].String(), r.out[1].String())
	}
	r.dev.WriteConfig(8, []byte{'!', 0, 0, 0})
	r.dev.WriteConfig(0, []byte{'?'})
	if r.out[0].String() != "boot log!" {
		t.Errorf("emergency write: %q", r.out[0].String())
	}
	var b [16]byte
	if r.dev.ReadConfig(4, b[:4]); b[0] != 3 {
		t.Errorf("%d ports", b[0])
	}
}

// TestInput waits for the guest's buffers, keeps a bound, and tells when there is room.
func TestInput(t *testing.T) {
	r := newRig(t, virtiotest.Options{})
	r.port.Receive([]byte("nobody listens"))
	r.say(1, eventOpen, 1)
	r.awaitOpen(t, true)
	sent := bytes.Repeat([]byte("0123456789abcdef"), inputRoom/16)
	r.port.Receive(sent[:100])
	r.port.Receive(sent[100:])
	if n := r.port.CanReceive(); n != 0 {
		t.Errorf("room for %d bytes", n)
	}
	r.port.Receive([]byte("too much"))
	var got []byte
	for len(got) < len(sent) {
		b, n := r.d.Send(4, 1000)
		got = append(got, b[:n]...)
	}
	if !bytes.Equal(got, sent) {
		t.Error("input was changed on its way")
	}
	select {
	case <-r.space:
	case <-time.After(patience):
		t.Error("nobody was told of room")
	}
	if n := r.port.CanReceive(); n != inputRoom {
		t.Errorf("room for %d bytes", n)
	}
	r.console.Receive([]byte("typed before boot"))
	if b, n := r.d.Send(0, 64); string(b[:n]) != "typed before boot" {
		t.Errorf("console input %q", b[:n])
	}
}

func TestPause(t *testing.T) {
	r := newRig(t, virtiotest.Options{})
	r.dev.Pause()
	at := r.d.Alloc(4)
	copy(r.d.Bytes(at, 4), "wait")
	r.d.Add(1, virtiotest.Buf{Addr: at, Len: 4})
	r.d.Nudge(1)
	if r.out[0].String() != "" {
		t.Error("output while paused")
	}
	r.dev.Resume()
	r.d.Wait(1)
	if r.out[0].String() != "wait" {
		t.Error("no output after resume")
	}
}

func TestPortNumbers(t *testing.T) {
	for _, n := range []uint32{0, 32} {
		if _, err := New(Config{MaxPorts: n}); err == nil {
			t.Errorf("max_ports=%d accepted", n)
		}
	}
	d, err := New(Config{MaxPorts: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		p  PortConfig
		ok bool
	}{
		{PortConfig{Nr: 0}, false}, {PortConfig{Nr: 0, Console: true}, true}, {PortConfig{Nr: 0, Console: true}, false},
		{PortConfig{Nr: 3}, false}, {PortConfig{Nr: 2}, true}, {PortConfig{Auto: true}, true}, {PortConfig{Auto: true}, false},
	} {
		if _, err := d.AddPort(c.p); (err == nil) != c.ok {
			t.Errorf("port %d: %v", i, err)
		}
	}
}

// TestBrokenControl: messages that are too short, and a guest that asks and never takes
// the answers.
func TestBrokenControl(t *testing.T) {
	r := newRig(t, virtiotest.Options{})
	r.d.Add(queueCtlOut, virtiotest.Buf{Addr: 4096, Len: 7})
	r.d.Nudge(queueCtlOut)
	if err := r.d.AwaitBroken(); err != errControl {
		t.Error(err)
	}
	r.d.Reset()
	r.d.Activate()
	at := r.d.Alloc(controlSize)
	copy(r.d.Bytes(at, controlSize), control{event: eventDeviceReady, value: 1}.encode())
	for r.d.NeedsReset() == nil {
		r.d.Add(queueCtlOut, virtiotest.Buf{Addr: at, Len: controlSize})
		r.d.Nudge(queueCtlOut)
		for r.d.NeedsReset() == nil {
			if _, _, ok := r.d.Poll(queueCtlOut); ok {
				break
			}
		}
	}
	if err := r.d.NeedsReset(); err != errFlood {
		t.Error(err)
	}
	r.d.Reset()
}

// FuzzQueues gives every queue chains of any content.
func FuzzQueues(f *testing.F) {
	f.Add(uint8(queueCtlOut), control{event: eventDeviceReady, value: 1}.encode(), uint8(0))
	f.Add(uint8(queueCtlOut), control{port: 1, event: eventPortReady, value: 1}.encode(), uint8(4))
	f.Add(uint8(1), []byte("output"), uint8(0))
	f.Add(uint8(4), []byte{}, uint8(9))
	f.Fuzz(func(t *testing.T, q uint8, out []byte, in uint8) {
		r := newRig(t, virtiotest.Options{})
		r.port.Receive([]byte("some input"))
		i := int(q) % 8
		if r.d.Feed(i, out, uint32(in), 4) && i%2 == 1 {
			r.d.Settle(i)
		}
	})
}
