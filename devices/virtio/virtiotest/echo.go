package virtiotest

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
	"hv/devices/virtio/vhost"
	"hv/hypervisor/mem"
)

// Echo serves the rings of a network device that were handed over: what the guest sends in a queue
// pair, it receives in that. It stands for the kernel or another process.
type Echo struct {
	pairs []*echoPair
	maps  [][]byte
	stop  int // eventfd
	tasks sync.WaitGroup
}

// NewEcho serves rings until Stop. It maps the memory, which must be shared, for itself.
func NewEcho(s vhost.Setup) (*Echo, error) {
	e := &Echo{stop: -1}
	if err := e.open(&s); err != nil {
		e.release()
		return nil, err
	}
	for _, p := range e.pairs {
		e.tasks.Go(func() { p.run(e.stop) })
	}
	return e, nil
}

func (e *Echo) open(s *vhost.Setup) (err error) {
	if e.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	m, err := mem.New()
	if err != nil {
		return err
	}
	for _, r := range s.Memory {
		b, err := unix.Mmap(r.FD, int64(r.Offset), int(r.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("map memory at %#x: %w", r.Guest, err)
		}
		e.maps = append(e.maps, b)
		if err := m.Add(mem.Region{Base: r.Guest, Data: b, FD: -1}); err != nil {
			return err
		}
	}
	for i := range len(s.Rings) / 2 {
		p := &echoPair{}
		var errs [2]error
		p.rx, errs[0] = echoRing(m, s, 2*i)
		p.tx, errs[1] = echoRing(m, s, 2*i+1)
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		e.pairs = append(e.pairs, p)
	}
	return nil
}

func (e *Echo) release() {
	for _, b := range e.maps {
		_ = unix.Munmap(b)
	}
	_ = unix.Close(e.stop)
}

// echoRing makes a queue of what was handed over.
func echoRing(m *mem.Memory, s *vhost.Setup, i int) (echoed, error) {
	r := s.Rings[i]
	c := queue.Config{Index: i, Size: r.Size, EventIdx: s.Features&virtio.FeatureEventIdx != 0, Indirect: s.Features&virtio.FeatureIndirectDesc != 0}
	for _, at := range []struct {
		guest *uint64
		user  uint64
	}{{&c.Desc, r.Desc}, {&c.Driver, r.Driver}, {&c.Device, r.Device}} {
		var ok bool
		if *at.guest, ok = s.GuestAddress(at.user); !ok {
			return echoed{}, fmt.Errorf("ring %d: address %#x is not in the memory that came with it", i, at.user)
		}
	}
	q, err := queue.New(m, c)
	if err != nil {
		return echoed{}, err
	}
	q.Seek(uint16(r.Base))
	return echoed{q, r.Kick, r.Call}, nil
}

// Stop ends the service and returns which chain is next in each ring.
func (e *Echo) Stop() (bases []uint32) {
	signal(e.stop)
	e.tasks.Wait()
	for _, p := range e.pairs {
		bases = append(bases, uint32(p.rx.Positions().Avail), uint32(p.tx.Positions().Avail))
	}
	e.release()
	return bases
}

type echoed struct {
	*queue.Queue
	kick, call int
}

func (r *echoed) show() {
	if r.Publish() && r.call >= 0 {
		signal(r.call)
	}
}

// maxWaiting is how many packets wait for room in the guest.
const maxWaiting = 512

type echoPair struct {
	rx, tx  echoed
	in, out queue.Chain
	waiting [][]byte
	free    [][]byte
}

// run moves packets until stop is readable.
func (p *echoPair) run(stop int) {
	fds := []unix.PollFd{{Fd: int32(stop), Events: unix.POLLIN}, {Fd: int32(p.rx.kick), Events: unix.POLLIN}, {Fd: int32(p.tx.kick), Events: unix.POLLIN}}
	for fds[0].Revents == 0 {
		if p.move() {
			continue
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		var b [8]byte
		for _, f := range fds[1:] {
			if f.Revents != 0 {
				_, _ = unix.Read(int(f.Fd), b[:])
			}
		}
	}
}

// move echoes what there is and room for, and reports whether more came meanwhile. A ring that makes no
// sense is left alone.
func (p *echoPair) move() (more bool) {
	sent, errs := p.take()
	given, errg := p.give()
	p.tx.show()
	p.rx.show()
	return sent && errs == nil || given && errg == nil
}

// take keeps what the guest sends, as far as there is room.
func (p *echoPair) take() (more bool, err error) {
	for {
		if ok, err := p.tx.Pop(&p.out); err != nil || !ok {
			return err == nil && p.tx.EnableKicks(), err
		}
		if len(p.waiting) < maxWaiting {
			var b []byte
			if n := len(p.free); n > 0 {
				b, p.free = p.free[n-1], p.free[:n-1]
			} else {
				b = make([]byte, 1<<16)
			}
			b = b[:max(12, p.out.CopyOut(b[:cap(b)], 0))]
			b[10], b[11] = 1, 0 // of one buffer (virtio 1.2 §5.1.6)
			p.waiting = append(p.waiting, b)
		}
		p.tx.Push(&p.out, 0)
	}
}

// give gives the guest what waits, as far as there are buffers.
func (p *echoPair) give() (more bool, err error) {
	for len(p.waiting) > 0 {
		if ok, err := p.rx.Pop(&p.in); err != nil || !ok {
			return err == nil && p.rx.EnableKicks(), err
		}
		b := p.waiting[0]
		n := copy(p.waiting, p.waiting[1:])
		p.waiting, p.free = p.waiting[:n], append(p.free, b)
		p.rx.Push(&p.in, uint32(p.in.CopyIn(b, 0)))
	}
	return false, nil
}
