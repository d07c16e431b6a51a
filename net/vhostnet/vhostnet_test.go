package vhostnet

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/vhost"
)

// wire is a tap of several queues.
type wire struct{ queues int }

func (w wire) Queues() int       { return w.queues }
func (w wire) QueueFD(i int) int { return 100 + i }
func (w wire) log(all *[]string, format string, args ...any) {
	*all = append(*all, fmt.Sprintf(format, args...))
}

// fake is a kernel that remembers.
type fake struct {
	wire
	calls *[]string
	n     int
	fail  string // the call that fails
	bases [2]uint32
}

var errFake = errors.New("it was told to fail")

func (f *fake) call(format string, args ...any) error {
	f.log(f.calls, "%d: "+format, append([]any{f.n}, args...)...)
	if f.fail != "" && strings.HasPrefix(fmt.Sprintf(format, args...), f.fail) {
		return errFake
	}
	return nil
}

func (f *fake) Features() (uint64, error) {
	return featureVersion1 | featureMrgRxBuf | featureEventIdx, f.call("get features")
}
func (f *fake) SetFeatures(v uint64) error         { return f.call("features %#x", v) }
func (f *fake) SetMemory(r []vhost.Region) error   { return f.call("memory %d", len(r)) }
func (f *fake) SetRing(i int, r vhost.Ring) error  { f.bases[i] = r.Base; return f.call("ring %d", i) }
func (f *fake) Base(i int) (uint32, error)         { return f.bases[i] + 5, f.call("base %d", i) }
func (f *fake) SetBusyLoop(i int, us uint32) error { return f.call("busy %d %d", i, us) }
func (f *fake) SetNetBackend(i, fd int) error      { return f.call("backend %d %d", i, fd) }
func (f *fake) Close() error                       { return f.call("close") }

func newEngine(t *testing.T, queues int, fail string) (*Engine, *[]string) {
	t.Helper()
	calls := &[]string{}
	l := &Engine{tap: wire{queues}, busy: 7}
	for i := range queues {
		l.kernels = append(l.kernels, &fake{calls: calls, n: i, fail: fail})
	}
	if err := l.learn(); err != nil && fail == "" {
		t.Fatal(err)
	}
	*calls = nil
	return l, calls
}

func setup(rings int) vhost.Setup {
	s := vhost.Setup{Features: 1<<0 | featureVersion1, Memory: make([]vhost.Region, 3)}
	for i := range rings {
		s.Rings = append(s.Rings, vhost.Ring{Size: 256, Base: uint32(10 * i)})
	}
	return s
}

func TestServe(t *testing.T) {
	l, calls := newEngine(t, 2, "")
	if err := l.Serve(setup(4)); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 2 {
		for _, c := range []string{"features 0x100000000", "memory 3", "ring 0", "busy 0 7", "ring 1", "busy 1 7",
			fmt.Sprint("backend 0 ", 100+i), fmt.Sprint("backend 1 ", 100+i)} {
			want = append(want, fmt.Sprintf("%d: %s", i, c))
		}
	}
	if !slices.Equal(*calls, want) {
		t.Errorf("%q", *calls)
	}
	*calls = nil
	bases, err := l.Halt()
	if err != nil || !reflect.DeepEqual(bases, []uint32{5, 15, 25, 35}) {
		t.Error(bases, err)
	}
	if !slices.Equal((*calls)[:4], []string{"0: backend 0 -1", "0: backend 1 -1", "1: backend 0 -1", "1: backend 1 -1"}) {
		t.Errorf("%q", *calls)
	}
	*calls = nil
	if bases, err = l.Halt(); err != nil || len(bases) != 0 || len(*calls) != 0 {
		t.Errorf("halted twice: %v, %v, %q", bases, err, *calls)
	}
	if err := l.Serve(setup(2)); err != nil {
		t.Fatal(err)
	}
	*calls = nil
	if err := l.Close(); err != nil || !slices.Equal(*calls, []string{"0: close", "1: close"}) {
		t.Errorf("%q, %v", *calls, err)
	}
	if bases, err := l.Halt(); err != nil || len(bases) != 0 {
		t.Errorf("halted once it was closed: %v, %v", bases, err)
	}
}

// TestFailures: what was handed over before something failed is taken back.
func TestFailures(t *testing.T) {
	for _, fail := range []string{"features", "memory", "ring 1", "busy", "backend 1 101"} {
		l, calls := newEngine(t, 2, fail)
		if err := l.Serve(setup(4)); !errors.Is(err, errFake) {
			t.Errorf("%s: %v", fail, err)
		}
		on := map[string]bool{}
		for _, c := range *calls {
			var k, ring, fd int
			if n, _ := fmt.Sscanf(c, "%d: backend %d %d", &k, &ring, &fd); n == 3 {
				on[fmt.Sprint(k, ring)] = fd >= 0 && !strings.HasSuffix(c, fail)
			}
		}
		for ring, served := range on {
			if served {
				t.Errorf("%s: ring %s is still served: %q", fail, ring, *calls)
			}
		}
	}
	l, _ := newEngine(t, 1, "")
	if err := l.Serve(setup(4)); err == nil {
		t.Error("two pairs were served by one device")
	}
}

func TestLimit(t *testing.T) {
	l, _ := newEngine(t, 1, "")
	const own = 1<<0 | 1<<22
	if f := l.Limit(own | featureMrgRxBuf | featurePacked | featureRSS | featureVersion1); f != own|featureMrgRxBuf|featureVersion1 {
		t.Errorf("%#x", f)
	}
}

// TestOpen opens what is there and what is not.
func TestOpen(t *testing.T) {
	_, err := Open(wire{1}, Config{Path: "/dev/no-such-device"})
	if !errors.Is(err, os.ErrNotExist) || err.Error() != "tap: open vhost char device failed: No such file or directory" {
		t.Error(err)
	}
	if _, err = Open(wire{1}, Config{Path: os.DevNull}); err == nil {
		t.Error("the null device moves packets")
	}
	var fds [2]int
	for i := range fds {
		if fds[i], err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = Open(wire{2}, Config{FDs: fds[:]}); err == nil {
		t.Error("an eventfd moves packets")
	}
	if _, err = Open(wire{2}, Config{FDs: []int{1 << 20}}); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Error(err)
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("descriptor %d is open: %v", fd, err)
		}
	}
	if l, err := Open(wire{1}, Config{}); err == nil {
		if f := l.Limit(^uint64(0)); f&featureMrgRxBuf == 0 {
			t.Errorf("features %#x", f)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	} else if !strings.HasPrefix(err.Error(), "tap: open vhost char device failed: ") {
		t.Error(err)
	}
}
