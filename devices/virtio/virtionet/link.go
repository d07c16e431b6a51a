package virtionet

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/pump"
)

// Link is the host's end: queues of packets that begin with a virtio-net header
// of 12 bytes.
type Link interface {
	Queues() int
	// QueueFD returns a queue's non-blocking descriptor.
	QueueFD(i int) int
	// SetOffload says what the guest takes.
	SetOffload(csum, tso4, tso6, ecn, ufo bool) error
	EnableQueue(i int, on bool) error
}

// Able is a Link that says what its far end understands of the header in front of packets. One that
// does not say takes unfinished checksums and TCP segments that are larger than the MTU.
type Able interface {
	// Abilities reports whether the header means anything at all, whether UDP may be fragmented by
	// it (UFO), and segmented (USO).
	Abilities() (header, ufo, uso bool)
}

// Segmenter is a Link that passes the guest UDP to be segmented. SetOffload comes first.
type Segmenter interface {
	SetUSO(v4, v6 bool) error
}

// longQueuer is a Link that can say that it serves transmit queues of more than 256 entries itself.
type longQueuer interface{ LongQueues() bool }

// Host is who has the device. Its methods are called by workers and must not wait for the device.
type Host interface {
	// LinkLost tells once that the link that is attached came to its end.
	LinkLost(err error)
	// FilterChanged tells that the guest set its receive filter, to other values or the same.
	FilterChanged()
}

// abilities of a link.
type abilities struct{ header, ufo, uso bool }

func abilitiesOf(l Link) (a abilities) {
	if l == nil {
		return a
	}
	a.header = true
	if s, ok := l.(Able); ok {
		a.header, a.ufo, a.uso = s.Abilities()
	}
	if _, ok := l.(Segmenter); !ok {
		a.uso = false
	}
	return a
}

// covers reports whether a link that can do a may take the place of one that can do b.
func (a abilities) covers(b abilities) bool {
	return (a.header || !b.header) && (a.ufo || !b.ufo) && (a.uso || !b.uso)
}

// SetLink connects or disconnects the cable.
func (d *Device) SetLink(up bool) {
	d.setStatus(func(s *carrier) { s.cable = up })
	d.follows()
}

// carrier is what the guest's link status is made of.
type carrier struct{ cable, attached, announce bool }

func (c carrier) up() bool { return c.cable && c.attached }

// setStatus changes what the status is made of, and tells the guest when its link came or went.
func (d *Device) setStatus(change func(*carrier)) {
	d.linkMu.Lock()
	was := d.carrier.up()
	change(&d.carrier)
	now := d.carrier.up()
	d.linkUp.Store(now)
	d.linkMu.Unlock()
	if was != now {
		d.ConfigChanged()
	}
}

// Detach takes the link away and returns when nothing of it is used any more. The guest sees its
// link go down, and what it sends is lost.
func (d *Device) Detach() error {
	d.life.Lock()
	defer d.life.Unlock()
	if err := d.exchange(nil); err != nil {
		return err
	}
	d.linkMu.Lock()
	d.link = nil
	d.linkMu.Unlock()
	d.setStatus(func(s *carrier) { s.attached = false })
	return nil
}

// Attach gives the device a link, in place of any that it has. The new one must have as many queues
// and abilities as the guest was told of. After an error the device is as it was.
func (d *Device) Attach(l Link) error {
	d.life.Lock()
	defer d.life.Unlock()
	if l.Queues() < d.pairs {
		return fmt.Errorf("the link has %d queues where the device has %d", l.Queues(), d.pairs)
	}
	if !abilitiesOf(l).covers(d.able) {
		return errors.New("the link lacks offloads that the guest was promised")
	}
	if d.engine.res != nil && limit(l, d.features) != d.features {
		return errors.New("the link's engine lacks features that the guest uses")
	}
	d.linkMu.Lock()
	err := errors.Join(d.applyOffloads(l), d.applyPairs(l))
	d.linkMu.Unlock()
	if err != nil {
		return err
	}
	if err := d.exchange(l); err != nil {
		return err
	}
	d.linkMu.Lock()
	d.link = l
	d.linkMu.Unlock()
	d.goneOnce.Store(false)
	d.setStatus(func(s *carrier) { s.attached = true })
	d.engine.refused = nil
	return d.follow(l)
}

// exchange has the workers of queue pairs use another link, or none. What an engine serves is theirs
// again; an engine of the new link comes later.
func (d *Device) exchange(l Link) error {
	if d.engine.running != nil {
		d.stop()
	}
	pumps, err := d.pumps(l)
	if err != nil {
		return err
	}
	d.data.EndWorkers()
	d.startData(l, pumps)
	return nil
}

// pumps makes the threads of the workers that there are, for a link.
func (d *Device) pumps(l Link) (pumps []*pump.Pump, err error) {
	for _, w := range d.workers {
		p, err := w.makePump(queueFD(l, w.pair))
		if err != nil {
			for _, p := range pumps {
				p.Close()
			}
			return nil, err
		}
		pumps = append(pumps, p)
	}
	return pumps, nil
}

// startData starts the workers, which have ended or not begun.
func (d *Device) startData(l Link, pumps []*pump.Pump) {
	for i, w := range d.workers {
		w.adopt(pumps[i], queueFD(l, w.pair))
	}
	d.engine.moving = true
	if d.paused {
		d.data.StartPaused(pumps...)
	} else {
		d.data.StartWorkers(pumps...)
	}
}

// queueFD returns the descriptor of a queue, -1 without a link.
func queueFD(l Link, i int) int {
	if l == nil {
		return -1
	}
	return l.QueueFD(i)
}

// setPairs has the host use n queue pairs.
func (d *Device) setPairs(n int) bool {
	if n < 1 || n > d.pairs {
		return false
	}
	d.linkMu.Lock()
	d.curPairs = n
	err := d.applyPairs(d.link)
	d.linkMu.Unlock()
	return d.settled(err)
}

// setOffloads has the host send what the guest takes.
func (d *Device) setOffloads(f uint64) bool {
	if f&^(d.features&offloads) != 0 {
		return false
	}
	d.linkMu.Lock()
	d.curOffloads = f
	err := d.applyOffloads(d.link)
	d.linkMu.Unlock()
	return d.settled(err)
}

// settled reports whether what the guest set is so. With a link that came to its end, it will be so
// for the next one.
func (d *Device) settled(err error) bool {
	if err != nil && ended(err) {
		d.lost(err)
		return true
	}
	return err == nil
}

// ended reports whether an error says that the host's interface is no more.
func ended(err error) bool {
	for _, e := range []unix.Errno{unix.EBADFD, unix.EBADF, unix.ENODEV, unix.ENOLINK, unix.ENOTCONN, unix.EPIPE, unix.ECONNRESET} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (d *Device) applyPairs(l Link) error {
	if l == nil {
		return nil
	}
	var errs []error
	for i := range l.Queues() {
		errs = append(errs, l.EnableQueue(i, i < d.curPairs))
	}
	return errors.Join(errs...)
}

func (d *Device) applyOffloads(l Link) error {
	if l == nil || !d.able.header {
		return nil
	}
	has := func(bit uint64) bool { return d.curOffloads&bit != 0 }
	err := l.SetOffload(has(featureGuestCSum), has(featureGuestTSO4), has(featureGuestTSO6), has(featureGuestECN), has(featureGuestUFO))
	if s, ok := l.(Segmenter); ok && d.able.uso && err == nil {
		err = s.SetUSO(has(featureGuestUSO4), has(featureGuestUSO6))
	}
	return err
}

// lost tells once that the link is gone.
func (d *Device) lost(err error) {
	if !d.goneOnce.Swap(true) {
		d.host.LinkLost(err)
	}
}
