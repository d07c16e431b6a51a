package vublk

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/queue"
	"hv/devices/virtio/vhostwire"
)

// carriers is how many requests of a queue are carried out at once.
const carriers = 16

// Deadlines that have a reader of notices go on, and stop.
var (
	never = time.Time{}
	past  = time.Unix(1, 0)
)

// vring is a queue of a client's. It belongs to the session's goroutine, but for what runs
// between start and stop.
type vring struct {
	session           *session
	index             int
	size              uint16
	base              uint16
	desc, used, avail uint64 // addresses of the client's
	enabled, started  bool
	kick              *os.File
	call, err         int

	running bool
	tasks   sync.WaitGroup
	work    chan *request

	mu    sync.Mutex // guards q while it runs
	q     *queue.Queue
	free  []*request
	ended bool
	room  sync.Cond
}

func replaceFD(at *int, fd int) {
	if *at >= 0 {
		_ = unix.Close(*at)
	}
	*at = fd
}

// kickFD takes the descriptor that tells of new requests, -1 for none.
func (v *vring) kickFD(fd int) {
	if v.kick != nil {
		_ = v.kick.Close()
		v.kick = nil
	}
	v.started = false
	if fd >= 0 {
		_ = unix.SetNonblock(fd, true)
		v.kick = os.NewFile(uintptr(fd), "kick")
	}
}

func (v *vring) close() {
	v.kickFD(-1)
	replaceFD(&v.call, -1)
	replaceFD(&v.err, -1)
}

// set does what messages of one number about a queue say.
func (v *vring) set(request vhostwire.Request, n uint32) error {
	v.stop()
	switch request {
	case vhostwire.SetVringNum:
		if n == 0 || n > queue.MaxSize {
			return fmt.Errorf("queue of %d", n)
		}
		v.size = uint16(n)
	case vhostwire.SetVringBase:
		v.base = uint16(n)
	default:
		v.enabled = n != 0
	}
	return v.start()
}

// start has the queue run, if all is there that it takes.
func (v *vring) start() error {
	s := v.session
	// Without protocol features queues need not be enabled.
	on := v.enabled || s.features&vhostwire.FeatureProtocol == 0
	if v.running || !on || !v.started || v.kick == nil || s.mem == nil || v.size == 0 || v.desc == 0 {
		return nil
	}
	c := queue.Config{Index: v.index, Size: v.size, EventIdx: s.features&featureEventIdx != 0, Indirect: s.features&featureIndirect != 0}
	var errs [3]error
	c.Desc, errs[0] = s.guest(v.desc)
	c.Driver, errs[1] = s.guest(v.avail)
	c.Device, errs[2] = s.guest(v.used)
	err := errors.Join(errs[:]...)
	if err == nil {
		v.q, err = queue.New(s.mem, c)
	}
	if err != nil {
		return fmt.Errorf("queue %d: %w", v.index, err)
	}
	v.running, v.ended = true, false
	v.room.L = &v.mu
	v.work = make(chan *request, carriers)
	v.free = v.free[:0]
	for range carriers {
		r := &request{}
		v.free = append(v.free, r)
		v.tasks.Go(v.carry)
	}
	_ = v.kick.SetReadDeadline(never)
	v.tasks.Go(v.run)
	return nil
}

// stop returns once nothing is under way, and notes where the queue stands.
func (v *vring) stop() {
	if !v.running {
		return
	}
	v.mu.Lock()
	v.ended = true
	v.room.Broadcast()
	v.mu.Unlock()
	_ = v.kick.SetReadDeadline(past)
	v.tasks.Wait()
	v.running = false
	v.base = v.q.Positions().Avail
}

// run takes requests from the ring as they come.
func (v *vring) run() {
	defer close(v.work)
	var b [8]byte
	for {
		more, err := v.drain()
		if err != nil {
			v.broke(err)
			return
		}
		if more {
			continue
		}
		if v.over() {
			return
		}
		if _, err := v.kick.Read(b[:]); err != nil {
			return
		}
	}
}

func (v *vring) over() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ended
}

// drain hands on what requests there are. If there are more by the time it asks for
// notices, it says so.
func (v *vring) drain() (more bool, err error) {
	for {
		r, err := v.pop()
		if err != nil {
			return false, err
		}
		if r == nil {
			break
		}
		v.work <- r
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.ended && v.q.EnableKicks(), nil
}

// pop takes the next request, nil if there is none.
func (v *vring) pop() (*request, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.free) == 0 && !v.ended {
		v.room.Wait()
	}
	if v.ended {
		return nil, nil
	}
	r := v.free[len(v.free)-1]
	ok, err := v.q.Pop(&r.chain)
	if err != nil || !ok {
		return nil, err
	}
	if !r.suits() {
		return nil, errors.New("request without room for its head or status")
	}
	v.free = v.free[:len(v.free)-1]
	return r, nil
}

// carry carries requests out.
func (v *vring) carry() {
	for r := range v.work {
		r.run(v.session.dev)
		v.mu.Lock()
		v.q.Push(&r.chain, r.moved)
		wanted := v.q.Publish()
		v.free = append(v.free, r)
		v.room.Signal()
		v.mu.Unlock()
		if wanted && v.call >= 0 {
			signal(v.call)
		}
	}
}

// broke tells the client that a queue makes no sense.
func (v *vring) broke(err error) {
	v.session.dev.cfg.Log(fmt.Errorf("vhost-user client: %w", err))
	if v.err >= 0 {
		signal(v.err)
	}
}

func signal(fd int) { _, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }
