package tap

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Offloads of TUNSETOFFLOAD.
const (
	offCsum = 1 << 0
	offTSO4 = 1 << 1
	offTSO6 = 1 << 2
	offECN  = 1 << 3
	offUFO  = 1 << 4
	offUSO4 = 1 << 5
	offUSO6 = 1 << 6
)

// abilities are what the kernel does of what not every one does.
type abilities struct{ ufo, uso bool }

// probe finds out what the kernel can do, and leaves all of it off.
func (t *Tap) probe() {
	if len(t.fds) == 0 {
		return
	}
	fd := t.fds[0]
	t.able.ufo = setOffload(fd, offCsum|offUFO) == nil
	t.able.uso = setOffload(fd, offCsum|offTSO4|offTSO6|offUSO4|offUSO6) == nil
	_ = setOffload(fd, 0) // it is so at first; who has the device asks for what it wants
}

// Abilities reports what the header in front of packets can say: whether it says anything, that
// UDP is to be fragmented, that it is to be segmented.
func (t *Tap) Abilities() (header, ufo, uso bool) { return true, t.able.ufo, t.able.uso }

// SetOffload tells the host what the guest takes: unfinished checksums, and packets
// larger than the MTU.
func (t *Tap) SetOffload(csum, tso4, tso6, ecn, ufo bool) error {
	var flags uintptr
	for _, f := range []struct {
		on  bool
		bit uintptr
	}{{csum, offCsum}, {csum && tso4, offTSO4}, {csum && tso6, offTSO6}, {csum && ecn && (tso4 || tso6), offECN}, {csum && ufo, offUFO}} {
		if f.on {
			flags |= f.bit
		}
	}
	t.flow = flags
	err := setOffload(t.fds[0], flags)
	if errors.Is(err, unix.EINVAL) && flags&offUFO != 0 {
		t.flow &^= offUFO
		err = setOffload(t.fds[0], t.flow)
	}
	return err
}

// SetUSO tells the host whether the guest takes UDP that is to be segmented, besides what
// SetOffload said. The kernel has both or neither.
func (t *Tap) SetUSO(v4, v6 bool) error {
	flags := t.flow
	if v4 && v6 && flags&offCsum != 0 {
		flags |= offUSO4 | offUSO6
	}
	return setOffload(t.fds[0], flags)
}
