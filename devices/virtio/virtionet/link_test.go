package virtionet

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/virtiotest"
)

// feeble is a cable whose far end knows nothing of headers.
type feeble struct{ *cable }

func (feeble) Abilities() (header, ufo, uso bool) { return false, false, false }

func TestAbilities(t *testing.T) {
	c := newCable(t, 1)
	defer c.close()
	d, err := New(fullConfig(), feeble{c}, &host{})
	if err != nil {
		t.Fatal(err)
	}
	if f := d.Features(); f&(featureCSum|featureGuestCSum|bigPackets|featureHostTSO4) != 0 {
		t.Errorf("features %#x on a link without headers", f)
	}
	if err := d.Attach(c); err != nil {
		t.Error(err)
	}
	if d, err = New(fullConfig(), c, &host{}); err != nil {
		t.Fatal(err)
	}
	if d.Attach(feeble{c}) == nil {
		t.Error("a link that can do less took the place of a better one")
	}
	if d, err = New(fullConfig(), nil, &host{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Attach(feeble{c}); err != nil || d.status() != statusUp {
		t.Errorf("no link where there was none: %v", err)
	}
}

// TestExchange takes the link of a working device away and gives it another.
func TestExchange(t *testing.T) {
	dev, d, old := nic(t, 2, virtiotest.Options{EventIdx: true}, nil)
	offer(d, 0, 80, 1024)
	old.give(t, 0, packet(own, 1))
	d.Wait(0)
	if err := dev.Detach(); err != nil {
		t.Fatal(err)
	}
	d.AwaitConfigChange(1)
	var status [2]byte
	if dev.ReadConfig(6, status[:]); status[0] != 0 {
		t.Error("the guest sees a link that is not there")
	}
	d.Send(1, 0, packet(MAC{2}, 1)) // lost
	if answer, _ := d.Send(4, 1, []byte{classMQ, mqPairsSet}, []byte{2, 0}); answer[0] != ackOK {
		t.Error("queue pairs without a link")
	}
	few, next := newCable(t, 1), newCable(t, 3)
	t.Cleanup(few.close)
	t.Cleanup(next.close)
	if dev.Attach(few) == nil {
		t.Error("a link with too few queues was accepted")
	}
	dev.SetLink(false)
	if err := dev.Attach(next); err != nil {
		t.Fatal(err)
	}
	if dev.status() != 0 {
		t.Error("a new link put the cable in")
	}
	dev.SetLink(true)
	d.AwaitConfigChange(2)
	if !next.enabled[1] || next.enabled[2] || !next.offloads[0] {
		t.Errorf("the new link was told %v, %v", next.enabled, next.offloads)
	}
	d.Send(1, 0, packet(MAC{6}, 1))
	if got := next.take(t, 0); got[headerSize] != 6 {
		t.Error("the new link did not get the packet")
	}
	next.give(t, 0, packet(own, 2))
	d.Wait(0)
	c := dev.Counters()
	if c.Rx[0].Packets != 2 || c.Tx[0].Packets != 1 || c.Tx[0].Drops[DropLinkDown] != 1 || c.Control.Packets != 1 || c.Tx[0].Kicks == 0 || c.Rx[0].Interrupts == 0 {
		t.Errorf("counted %+v", c)
	}
}

// TestExchangePaused exchanges the link of a device that stands still, which it goes on doing.
func TestExchangePaused(t *testing.T) {
	dev, d, _ := nic(t, 1, virtiotest.Options{}, nil)
	dev.Pause()
	next := newCable(t, 1)
	t.Cleanup(next.close)
	at := d.Alloc(100)
	d.Add(1, virtiotest.Buf{Addr: at, Len: 100})
	d.Kick(1)
	if err := errors.Join(dev.Detach(), dev.Attach(next)); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Read(next.peer[0], make([]byte, 100)); err != unix.EAGAIN {
		t.Error("a paused device sent a packet")
	}
	dev.Resume()
	next.take(t, 0)
}

// TestExchangeInTraffic does so all the time while packets go both ways.
func TestExchangeInTraffic(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{EventIdx: true}, nil)
	other := newCable(t, 1)
	t.Cleanup(other.close)
	var done atomic.Bool
	var wg sync.WaitGroup
	for _, fd := range []int{c.peer[0], other.peer[0]} {
		wg.Go(func() {
			b := make([]byte, 2048)
			for p := packet(own, 60); !done.Load(); {
				_, _ = unix.Write(fd, p)
				fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
				_, _ = unix.Poll(fds, 1)
				for n := 1; n > 0; {
					n, _ = unix.Read(fd, b)
				}
				runtime.Gosched()
			}
		})
	}
	wg.Go(func() {
		for i := 0; !done.Load(); i++ {
			var err error
			switch i % 4 {
			case 0:
				err = dev.Attach(other)
			case 1:
				err = dev.Detach()
			case 2:
				err = dev.Attach(c)
			case 3:
				dev.Pause()
				dev.Resume()
			}
			if err != nil {
				t.Error(err)
			}
			dev.Announce()
			dev.Counters()
		}
	})
	offer(d, 0, 80, 1024)
	for range 300 {
		d.Send(1, 0, packet(MAC{2}, 20))
		if _, n, ok := d.Poll(0); ok {
			d.Add(0, virtiotest.Buf{Addr: d.Alloc(int(n)), Len: n, Write: true})
			d.Nudge(0)
		}
	}
	d.Reset()
	done.Store(true)
	wg.Wait()
}

// TestAnnounce: the device says where it is, and the guest is asked to until it acknowledges.
func TestAnnounce(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{}, nil)
	ack := func() byte {
		answer, _ := d.Send(2, 1, []byte{classAnnounce, announceAck})
		return answer[0]
	}
	if ack() != ackErr {
		t.Error("what was not asked for was acknowledged")
	}
	dev.Announce()
	d.AwaitConfigChange(1)
	if dev.status() != statusUp|statusAnnounce {
		t.Errorf("status %d", dev.status())
	}
	if got := c.take(t, 0); len(got) != headerSize+60 || !bytes.Equal(got[headerSize+6:headerSize+16], append(own[:], 0x80, 0x35, 0, 1)) {
		t.Errorf("announced % x", got)
	}
	if ack() != ackOK || dev.status() != statusUp {
		t.Error("not acknowledged")
	}
	dev.SetLink(false)
	dev.Announce()
	if _, err := unix.Read(c.peer[0], make([]byte, 100)); err != unix.EAGAIN {
		t.Error("announced without a link")
	}
	d.Reset()
	if dev.status() != 0 {
		t.Error("a reset device still asks")
	}
}

// sight is an Observer that keeps what it sees.
type sight chan []byte

func (s sight) Packet(dir Direction, queue int, pieces [][]byte, n int) {
	s <- append([]byte{byte(dir), byte(queue)}, bytes.Join(pieces, nil)[:n]...)
}

func TestObserve(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{}, nil)
	seen := make(sight, 10)
	dev.Observe(seen)
	out, in := packet(MAC{2}, 30), packet(own, 40)
	d.Send(1, 0, out[:10], out[10:])
	if got := <-seen; got[0] != byte(FromGuest) || !bytes.Equal(got[2:], out) {
		t.Errorf("sent % x", got)
	}
	offer(d, 0, 80, 1024)
	c.give(t, 0, in)
	if got := <-seen; got[0] != byte(ToGuest) || !bytes.Equal(got[2:], in) {
		t.Errorf("received % x", got)
	}
	d.Wait(0)
	dev.Observe(nil)
	d.Send(1, 0, out)
	if len(seen) != 0 {
		t.Error("nobody looked, and saw something")
	}
}

// TestChangesTold: what the guest sets is told, also when it is the same, and what is refused is not.
func TestChangesTold(t *testing.T) {
	h := &host{}
	dev, d, _ := nic(t, 1, virtiotest.Options{}, h)
	for i, c := range []struct {
		command []byte
		told    bool
	}{
		{[]byte{classRX, rxPromisc, 0}, true},
		{[]byte{classRX, rxPromisc, 0}, true},
		{[]byte{classRX, 9, 0}, false},
		{append([]byte{classMAC, macTableSet}, append(macTable(own), macTable()...)...), true},
		{append([]byte{classMAC, macTableSet}, append(macTable(own), macTable()...)...), true},
		{append([]byte{classMAC, macAddrSet}, own[:]...), true},
		{[]byte{classVLAN, vlanAdd, 1, 0}, true},
		{[]byte{classVLAN, vlanDel, 1, 0}, true},
		{[]byte{classVLAN, vlanDel, 1, 0x10}, false},
		{[]byte{classMQ, mqPairsSet, 1, 0}, false},
		{append([]byte{classOffloads, offloadsSet}, make([]byte, 8)...), false},
	} {
		before := h.changes.Load()
		d.Send(2, 1, c.command)
		if told := h.changes.Load() - before; told > 1 || (told == 1) != c.told {
			t.Errorf("command %d: told %d times", i, told)
		}
	}
	before := h.changes.Load()
	d.Reset()
	if h.changes.Load() != before {
		t.Error("a reset was told")
	}
	if f := dev.Filter(); f.VLAN != ModeAll || len(f.VLANTable) != 4096 || !f.Promiscuous {
		t.Errorf("after a reset %+v", f)
	}
}

// TestShown is the filter as managers see it.
func TestShown(t *testing.T) {
	d, _ := device(t)
	if f := d.Filter(); f.VLAN != ModeNone || f.Unicast != ModeNormal || f.Multicast != ModeNormal || f.BroadcastAllowed || f.MAC != own {
		t.Errorf("at the start %+v", f)
	}
	command(d, classVLAN, vlanAdd, 10, 0)
	command(d, classVLAN, vlanAdd, 200, 0)
	command(d, classRX, rxNoUni, 1)
	command(d, classRX, rxAllMulti, 1)
	command(d, classRX, rxNoBcast, 1)
	if f := d.Filter(); f.VLAN != ModeNormal || f.VLANTable[0] != 200 || f.VLANTable[1] != 10 || f.Unicast != ModeNone || f.Multicast != ModeAll || !f.BroadcastAllowed {
		t.Errorf("shown %+v", f)
	}
	d.filter.Store(newFilter(own).started(false))
	if f := d.Filter(); f.VLAN != ModeAll || len(f.VLANTable) != 4096 || f.VLANTable[0] != 4095 {
		t.Errorf("without VLAN filtering: %v, %d VLANs", f.VLAN, len(f.VLANTable))
	}
}
