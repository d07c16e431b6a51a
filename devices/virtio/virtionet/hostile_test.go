package virtionet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/virtiotest"
)

// model says what a guest receives, in the words of the specification and with QEMU's order.
func model(f *filter, frame []byte) bool {
	dst := MAC(frame[:6])
	in := func(list []MAC) bool {
		for _, m := range list {
			if m == dst {
				return true
			}
		}
		return false
	}
	if f.promisc {
		return true
	}
	if frame[12] == 0x81 && frame[13] == 0 {
		id := (int(frame[14])<<8 | int(frame[15])) % 4096
		if f.vlans[id/64]>>(id%64)%2 == 0 {
			return false
		}
	}
	if frame[0]%2 == 0 {
		if f.noUni {
			return false
		}
		return f.allUni || f.unicastOver || dst == f.mac || in(f.unicast)
	}
	if bytes.Equal(frame[:6], bytes.Repeat([]byte{255}, 6)) {
		return !f.noBcast
	}
	if f.noMulti {
		return false
	}
	return f.allMulti || f.multicastOver || in(f.multicast)
}

// TestFilterModel compares random guests and frames with the model. What commands refuse changes nothing.
func TestFilterModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	addresses := []MAC{own, broadcast, {2}, {2, 1}, {4, 5, 6}, {1}, {1, 1}, {0x33, 0x33}, {1, 0, 0x5e}}
	some := func(n int) (list []MAC) {
		for range r.IntN(n) {
			list = append(list, addresses[r.IntN(len(addresses))])
		}
		return list
	}
	d, _ := device(t)
	for range 3000 {
		switch r.IntN(6) {
		case 0:
			uni, multi := some(70), some(70)
			command(d, classMAC, macTableSet, append(macTable(uni...), macTable(multi...)...)...)
			f := d.filter.Load()
			if f.unicastOver != (len(uni) > 64) || f.multicastOver != (len(multi)+len(f.unicast) > 64) {
				t.Fatalf("%d and %d addresses overflow %v and %v", len(uni), len(multi), f.unicastOver, f.multicastOver)
			}
		case 1:
			m := addresses[r.IntN(5)]
			command(d, classMAC, macAddrSet, m[:]...)
		case 2:
			command(d, classVLAN, byte(r.IntN(2)), byte(r.IntN(8)), 0)
		default:
			command(d, classRX, byte(r.IntN(6)), byte(r.IntN(3)))
		}
		for range 20 {
			p := frame(addresses[r.IntN(len(addresses))], r.IntN(12)-4)
			if f := d.filter.Load(); f.pass(p) != model(f, p) {
				t.Fatalf("frame % x passes: %v, with %+v", p, f.pass(p), f)
			}
		}
	}
}

// TestBreaks: what breaks a device of the guest's does so, and leaves others alone.
func TestBreaks(t *testing.T) {
	_, other, c := nic(t, 1, virtiotest.Options{}, nil)
	buffer := func(d *virtiotest.Driver, n int, write bool) virtiotest.Buf {
		return virtiotest.Buf{Addr: d.Alloc(max(n, 1)), Len: uint32(n), Write: write}
	}
	loop := func(q int) func(d *virtiotest.Driver) {
		return func(d *virtiotest.Driver) {
			d.Add(q, buffer(d, 100, q == 0), buffer(d, 100, q == 0))
			desc, _, _ := d.Ring(q)
			binary.LittleEndian.PutUint16(desc[16+12:], binary.LittleEndian.Uint16(desc[16+12:])|1)
			binary.LittleEndian.PutUint16(desc[16+14:], 0)
			d.Nudge(q)
		}
	}
	for what, f := range map[string]func(d *virtiotest.Driver){
		"loop for receiving":   loop(0),
		"loop for sending":     loop(1),
		"loop of a command":    loop(2),
		"short receive buffer": func(d *virtiotest.Driver) { d.Add(0, buffer(d, headerSize-1, true)); d.Nudge(0) },
		"receive buffer to read": func(d *virtiotest.Driver) {
			d.Add(0, buffer(d, 1500, false))
			d.Nudge(0)
		},
		"short header":     func(d *virtiotest.Driver) { d.Add(1, buffer(d, headerSize-1, false)); d.Nudge(1) },
		"packet to write":  func(d *virtiotest.Driver) { d.Add(1, buffer(d, 100, true)); d.Nudge(1) },
		"command to write": func(d *virtiotest.Driver) { d.Add(2, buffer(d, 3, true)); d.Nudge(2) },
		"command and no answer": func(d *virtiotest.Driver) {
			d.Add(2, buffer(d, 3, false))
			d.Nudge(2)
		},
		"half a command": func(d *virtiotest.Driver) {
			d.Add(2, buffer(d, 1, false), buffer(d, 1, true))
			d.Nudge(2)
		},
	} {
		t.Run(what, func(t *testing.T) {
			_, d, c := nic(t, 1, virtiotest.Options{}, nil)
			f(d)
			if d.AwaitBroken() == nil {
				t.Fatal("not broken")
			}
			d.Reset()
			d.Activate()
			d.Send(1, 0, packet(MAC{8}, 1))
			c.take(t, 0)
		})
	}
	other.Send(1, 0, packet(MAC{8}, 1))
	c.take(t, 0)
}

// TestHugeCommand: a command that is longer than any is refused.
func TestHugeCommand(t *testing.T) {
	_, d, _ := nic(t, 1, virtiotest.Options{}, nil)
	if answer, _ := d.Send(2, 1, []byte{classMAC, macTableSet}, make([]byte, maxControl)); answer[0] != ackErr {
		t.Error("accepted")
	}
	if answer, _ := d.Send(2, 1, []byte{classRX}, []byte{rxPromisc}, []byte{0}); answer[0] != ackOK {
		t.Error("a command in pieces was refused")
	}
}

// broken is a cable whose settings fail.
type broken struct {
	*cable
	err error
}

func (b *broken) SetOffload(_, _, _, _, _ bool) error { return b.err }
func (b *broken) EnableQueue(int, bool) error         { return b.err }

// TestSettingsFail: the guest is told of what fails, but for a link that is gone: the next one will do
// as it is told.
func TestSettingsFail(t *testing.T) {
	for _, c := range []struct {
		err    error
		answer byte
		lost   int
	}{{unix.EBADFD, ackOK, 1}, {fmt.Errorf("tap: %w", unix.ENODEV), ackOK, 1}, {errors.New("no"), ackErr, 0}} {
		l := &broken{cable: newCable(t, 2)}
		t.Cleanup(l.close)
		h := &host{lost: make(chan error, 10)}
		dev, err := New(fullConfig(), l, h)
		if err != nil {
			t.Fatal(err)
		}
		d := virtiotest.NewDriver(t, dev, virtiotest.Options{})
		l.err = c.err
		for _, command := range [][]byte{{classMQ, mqPairsSet, 2, 0}, {classOffloads, offloadsSet, 0, 0, 0, 0, 0, 0, 0, 0}} {
			if answer, _ := d.Send(4, 1, command); answer[0] != c.answer {
				t.Errorf("%v: command % x was answered by %d", c.err, command, answer[0])
			}
		}
		if len(h.lost) != c.lost {
			t.Errorf("%v: told %d times", c.err, len(h.lost))
		}
		d.Reset()
		if err := d.TryActivate(); (err != nil) != (c.answer == ackErr) {
			t.Errorf("%v: activation: %v", c.err, err)
		}
	}
}

// TestResetInTraffic resets a device on which packets go both ways.
func TestResetInTraffic(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{EventIdx: true}, nil)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 2048)
		for p := packet(own, 60); !done.Load(); {
			_, _ = unix.Write(c.peer[0], p)
			fds := []unix.PollFd{{Fd: int32(c.peer[0]), Events: unix.POLLIN | unix.POLLOUT}}
			_, _ = unix.Poll(fds, 1)
			for n := 1; n > 0; {
				n, _ = unix.Read(c.peer[0], b)
			}
		}
	})
	wg.Go(func() {
		for !done.Load() {
			dev.SetLink(false)
			dev.SetLink(true)
			dev.Filter()
			runtime.Gosched()
		}
	})
	for range 30 {
		offer(d, 0, 60, 1024)
		at := d.Alloc(100)
		for range 60 {
			d.Add(1, virtiotest.Buf{Addr: at, Len: 100})
		}
		d.Nudge(1)
		d.Wait(0)
		d.Wait(1)
		d.Reset()
		d.Activate()
	}
	done.Store(true)
	wg.Wait()
}

// FuzzReceive sends frames with any header to guests that take them in different ways. A guest gets what passes
// its filter unchanged.
func FuzzReceive(f *testing.F) {
	f.Add(packet(own, 100), uint16(1024), false)
	f.Add(packet(broadcast, 3000), uint16(200), false)
	f.Add(append(make([]byte, headerSize), datagram("10.0.0.1:1", "10.0.0.2:2", protoUDP)...), uint16(100), true)
	f.Add([]byte{1, 2, 3}, uint16(12), true)
	f.Fuzz(func(t *testing.T, p []byte, size uint16, hash bool) {
		if len(p) == 0 || len(p) > 9000 || int(size) < wideHeader || 60*int(size) < len(p)+wideHeader {
			return
		}
		dev, d, c := nicWith(t, 1, virtiotest.Options{}, nil, func(c *Config) { c.RSS, c.Hash = hash, hash })
		if hash {
			command := append([]byte{classMQ, mqRSS}, rssCommand(hashesAll, 0, []uint16{0}, 1, testKey)...)
			d.Send(2, 1, command)
		}
		at := offer(d, 0, 60, int(size))
		c.give(t, 0, p)
		marker := packet(own, 1)
		c.give(t, 0, marker)
		head := int(dev.header())
		for parts, got := 0, []byte(nil); ; {
			token, n := d.Wait(0)
			b := d.Bytes(at[token], int(n))
			if parts == 0 {
				got, parts = nil, int(binary.LittleEndian.Uint16(b[headerSize-2:]))
			}
			got = append(got, b...)
			if parts--; parts > 0 {
				continue
			}
			if bytes.Equal(got[head:], marker[headerSize:]) {
				return
			}
			if !bytes.Equal(got[head:], p[headerSize:]) {
				t.Fatalf("got % x of % x", got[head:], p[headerSize:])
			}
		}
	})
}
