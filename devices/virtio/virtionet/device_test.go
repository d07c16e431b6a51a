package virtionet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/virtiotest"
)

// cable is a Link made of socket pairs that keep packets apart.
type cable struct {
	link
	host, peer []int
}

func newCable(t testing.TB, queues int) *cable {
	t.Helper()
	c := &cable{}
	for range queues {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.host, c.peer = append(c.host, p[0]), append(c.peer, p[1])
	}
	return c
}

func (c *cable) Queues() int       { return len(c.host) }
func (c *cable) QueueFD(i int) int { return c.host[i] }

func (c *cable) close() {
	for i := range c.host {
		unix.Close(c.host[i])
		if c.peer[i] >= 0 {
			unix.Close(c.peer[i])
		}
	}
}

// take returns the next packet that the guest sent on queue i.
func (c *cable) take(t testing.TB, i int) []byte {
	t.Helper()
	b := make([]byte, maxFrame)
	for {
		n, err := unix.Read(c.peer[i], b)
		if err == nil {
			return b[:n]
		}
		if err != unix.EAGAIN && err != unix.EINTR {
			t.Fatal(err)
		}
		fds := []unix.PollFd{{Fd: int32(c.peer[i]), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 20000); n == 0 {
			t.Fatal("the guest sent no packet")
		}
	}
}

// give sends a packet to the guest.
func (c *cable) give(t testing.TB, i int, p []byte) {
	t.Helper()
	if _, err := unix.Write(c.peer[i], p); err != nil {
		t.Fatal(err)
	}
}

func fullConfig() Config {
	return Config{
		MAC: net.HardwareAddr(own[:]), MQ: true, CSum: true, GuestCSum: true, GuestTSO4: true, HostTSO4: true, CtrlVQ: true, CtrlRX: true, CtrlVLAN: true,
		CtrlMAC: true, CtrlOffloads: true, Announce: true, MrgRxBuf: true, Status: true, RxQueueSize: 256, TxQueueSize: 256, Speed: -1,
	}
}

func nic(t testing.TB, queues int, o virtiotest.Options, h *host) (*Device, *virtiotest.Driver, *cable) {
	t.Helper()
	return nicWith(t, queues, o, h, func(*Config) {})
}

// nicWith is nic with another configuration.
func nicWith(t testing.TB, queues int, o virtiotest.Options, h *host, change func(c *Config)) (*Device, *virtiotest.Driver, *cable) {
	t.Helper()
	if h == nil {
		h = &host{}
	}
	c := newCable(t, queues)
	t.Cleanup(c.close)
	cfg := fullConfig()
	change(&cfg)
	dev, err := New(cfg, c, h)
	if err != nil {
		t.Fatal(err)
	}
	return dev, virtiotest.NewDriver(t, dev, o), c
}

func rings() []virtiotest.Options {
	return []virtiotest.Options{{}, {EventIdx: true, Indirect: true}, {Packed: true}, {Packed: true, EventIdx: true, Indirect: true}}
}

// packet is a frame for the guest behind a virtio-net header.
func packet(dst MAC, payload int) []byte {
	p := append(make([]byte, headerSize), frame(dst, -1)...)
	for i := range payload {
		p = append(p, byte(i))
	}
	return p
}

func TestSend(t *testing.T) {
	for i, o := range rings() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, d, c := nic(t, 1, o, nil)
			for n := range 300 {
				p := packet(MAC{2}, n*7)
				d.Send(1, 0, p[:headerSize], p[headerSize:20], p[20:])
				if got := c.take(t, 0); !bytes.Equal(got, p) {
					t.Fatalf("packet %d arrived with %d bytes of %d", n, len(got), len(p))
				}
			}
			d.Send(1, 0, make([]byte, headerSize)) // nothing but a header is no packet
			d.Send(1, 0, packet(MAC{3}, 1))
			if got := c.take(t, 0); got[headerSize] != 3 {
				t.Error("an empty packet was sent")
			}
		})
	}
}

// TestFullLink holds a packet until the link takes it, and loses none.
func TestFullLink(t *testing.T) {
	_, d, c := nic(t, 1, virtiotest.Options{EventIdx: true}, nil)
	at := d.Alloc(16 << 10)
	const packets = 120 // more than a socket holds
	for n := range packets {
		d.Add(1, virtiotest.Buf{Addr: at, Len: 16 << 10})
		if n == 0 {
			d.Kick(1)
		}
	}
	d.Nudge(1)
	for range packets {
		if got := c.take(t, 0); len(got) != 16<<10 {
			t.Fatalf("%d bytes", len(got))
		}
	}
	for range packets {
		d.Wait(1)
	}
}

// TestBatch sends by io_uring to a link that gets full, which it is in the middle of a batch, and loses none.
func TestBatch(t *testing.T) {
	for _, pieces := range []int{1, 3, 100} {
		dev, d, c := nic(t, 1, virtiotest.Options{EventIdx: true, Indirect: true}, nil)
		dev.Pause()
		dev.workers[0].tx.single = false // as a tap
		const packets = 120
		for n := range packets {
			at := d.Alloc(headerSize + 100)
			d.Bytes(at, headerSize+100)[headerSize] = byte(n)
			bufs := []virtiotest.Buf{{Addr: at, Len: headerSize + 100}}
			for range pieces - 1 {
				bufs = append(bufs, virtiotest.Buf{Addr: d.Mark() - 100, Len: 100})
			}
			d.Add(1, bufs...)
		}
		d.Add(1, virtiotest.Buf{Addr: d.Alloc(headerSize), Len: headerSize}) // no packet
		d.Nudge(1)
		dev.Resume()
		seen := [packets]bool{}
		for range packets {
			got := c.take(t, 0)
			if seen[got[headerSize]] || len(got) != headerSize+100*pieces {
				t.Fatalf("packet %d twice, or with %d bytes", got[headerSize], len(got))
			}
			seen[got[headerSize]] = true
		}
		for range packets + 1 {
			d.Wait(1)
		}
		if n := dev.Counters().Tx[0]; n.Packets != packets || n.Drops[DropMalformed] != 1 {
			t.Errorf("counted %+v", n)
		}
	}
}

// TestBatchOrder sends packets of many pieces and of one by turns, more pieces than a batch has room for.
func TestBatchOrder(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{EventIdx: true, Indirect: true}, nil)
	dev.Pause()
	dev.workers[0].tx.single = false // as a tap
	const packets, pieces = 12, 100
	for n := range packets {
		at := d.Alloc(headerSize + 1)
		d.Bytes(at, headerSize+1)[headerSize] = byte(n)
		bufs := []virtiotest.Buf{{Addr: at, Len: headerSize + 1}}
		for n%2 == 0 && len(bufs) < pieces {
			bufs = append(bufs, virtiotest.Buf{Addr: at, Len: 1})
		}
		d.Add(1, bufs...)
	}
	d.Nudge(1)
	dev.Resume()
	for n := range packets {
		if got := c.take(t, 0); int(got[headerSize]) != n {
			t.Fatalf("packet %d is sent in place of %d", got[headerSize], n)
		}
		d.Wait(1)
	}
}

// TestMuchData: the guest is told of large packets before the last of them is there.
func TestMuchData(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{}, nil)
	dev.Pause()
	if err := unix.SetsockoptInt(c.peer[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20); err != nil {
		t.Fatal(err)
	}
	const packets, size, buffer = 8, 60000, 4096
	offer(d, 0, 128, buffer)
	for range packets {
		c.give(t, 0, packet(own, size))
	}
	dev.Resume()
	for range packets * (size/buffer + 1) {
		d.Wait(0)
	}
	dev.Pause() // it counts what it has told
	defer dev.Resume()
	if n := dev.Counters().Rx[0]; n.Packets != packets || n.Interrupts < packets*size/muchData {
		t.Errorf("told %d times of %d packets", n.Interrupts, n.Packets)
	}
}

// TestLooks: what a worker finds while it looks, before it sleeps, reaches the guest.
func TestLooks(t *testing.T) {
	_, d, c := nicWith(t, 1, virtiotest.Options{}, nil, func(cfg *Config) { cfg.PollUS = 20_000 })
	const packets = 200
	offer(d, 0, packets, 2048)
	for range packets {
		c.give(t, 0, packet(own, 100))
		d.Wait(0)
	}
}

// TestLight: a worker waits long for packets that come one by one, and not where much moves.
func TestLight(t *testing.T) {
	dev, _, _ := nic(t, 1, virtiotest.Options{}, nil)
	dev.Pause()
	w := dev.workers[0]
	for range 100 {
		w.rx.tally.count(1400)
		if !w.light() {
			t.Fatal("single packets are taken for much data")
		}
	}
	for range 20 {
		w.tx.tally.count(60000)
		w.rx.tally.count(66)
		w.light()
	}
	if w.light() {
		t.Error("much data is not seen")
	}
	for range 100 {
		w.light()
	}
	if !w.light() {
		t.Error("much data is not forgotten")
	}
	dev.Resume()
}

// offer gives the device n receive buffers of size bytes.
func offer(d *virtiotest.Driver, q, n, size int) map[uint16]uint64 {
	at := map[uint16]uint64{}
	for range n {
		a := d.Alloc(size)
		at[d.Add(q, virtiotest.Buf{Addr: a, Len: uint32(size), Write: true})] = a
	}
	d.Nudge(q)
	return at
}

// TestReceiveMerged receives packets that fill several buffers.
func TestReceiveMerged(t *testing.T) {
	for i, o := range rings() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, d, c := nic(t, 1, o, nil)
			at := offer(d, 0, 100, 1024)
			for n := range 30 {
				p := packet(own, n*97)
				c.give(t, 0, p)
				var got []byte
				for parts := 1; parts > 0; parts-- {
					token, written := d.Wait(0)
					b := d.Bytes(at[token], int(written))
					if len(got) == 0 {
						parts = int(binary.LittleEndian.Uint16(b[headerSize-2:]))
					}
					got = append(got, b...)
					at[d.Add(0, virtiotest.Buf{Addr: at[token], Len: 1024, Write: true})] = at[token]
					d.Kick(0)
				}
				binary.LittleEndian.PutUint16(p[headerSize-2:], binary.LittleEndian.Uint16(got[headerSize-2:]))
				if !bytes.Equal(got, p) {
					t.Fatalf("packet %d: %d bytes of %d", n, len(got), len(p))
				}
			}
		})
	}
}

// TestReceiveSingle puts each packet into one chain.
func TestReceiveSingle(t *testing.T) {
	_, d, c := nic(t, 1, virtiotest.Options{Features: ^uint64(featureMrgRxBuf | featureGuestTSO4)}, nil)
	at := offer(d, 0, 20, 2048)
	for n := range 40 {
		p := packet(own, n*30)
		c.give(t, 0, p)
		token, written := d.Wait(0)
		if int(written) != len(p) || d.Bytes(at[token], len(p))[headerSize-2] != 1 {
			t.Fatalf("packet %d: %d bytes of %d", n, written, len(p))
		}
		at[d.Add(0, virtiotest.Buf{Addr: at[token], Len: 2048, Write: true})] = at[token]
		d.Kick(0)
	}
}

// TestFilterOnTheWay: what the guest does not want takes none of its buffers.
func TestFilterOnTheWay(t *testing.T) {
	_, d, c := nic(t, 1, virtiotest.Options{}, nil)
	control := func(b ...byte) byte {
		answer, _ := d.Send(2, 1, b[:2], b[2:])
		return answer[0]
	}
	if control(classRX, rxPromisc, 0) != ackOK || control(9, 9, 9) != ackErr {
		t.Fatal("control queue")
	}
	at := offer(d, 0, 80, 1024)
	c.give(t, 0, packet(MAC{2, 2, 2, 2, 2, 2}, 10))
	c.give(t, 0, packet(own, 11))
	token, _ := d.Wait(0)
	if got := MAC(d.Bytes(at[token]+headerSize, 6)); got != own {
		t.Errorf("a packet for %x arrived", got)
	}
}

func TestLinkDown(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{}, nil)
	var b [8]byte
	dev.SetLink(false)
	dev.SetLink(false)
	d.AwaitConfigChange(1)
	if dev.ReadConfig(6, b[:2]); b[0] != 0 {
		t.Error("the link is up")
	}
	d.Send(1, 0, packet(MAC{2}, 1)) // lost
	dev.SetLink(true)
	d.AwaitConfigChange(2)
	d.Send(1, 0, packet(MAC{4}, 1))
	if got := c.take(t, 0); got[headerSize] != 4 {
		t.Error("a packet crossed a link that was down")
	}
}

// TestPairs uses all queue pairs once the guest asked for them.
func TestPairs(t *testing.T) {
	dev, d, c := nic(t, 3, virtiotest.Options{}, nil)
	if n := len(dev.QueueSizes()); n != 7 || dev.Type() != virtio.IDNet {
		t.Fatalf("%d queues", n)
	}
	if answer, _ := d.Send(6, 1, []byte{classMQ, mqPairsSet}, []byte{3, 0}); answer[0] != ackOK {
		t.Fatal("three pairs were refused")
	}
	for i := range 3 {
		d.Send(2*i+1, 0, packet(MAC{byte(2 * i)}, i))
		if got := c.take(t, i); got[headerSize] != byte(2*i) {
			t.Errorf("queue %d", i)
		}
	}
	if answer, _ := d.Send(6, 1, []byte{classMQ, mqPairsSet}, []byte{4, 0}); answer[0] != ackErr {
		t.Error("four pairs of three were accepted")
	}
	if answer, _ := d.Send(6, 1, []byte{classOffloads, offloadsSet}, make([]byte, 8)); answer[0] != ackOK {
		t.Error("offloads were refused")
	}
	dev.Pause()
	if c.offloads != [4]bool{} || !c.enabled[2] {
		t.Errorf("offloads %v, enabled %v", c.offloads, c.enabled)
	}
}

// TestManyPairs uses the last of as many queue pairs as there can be.
func TestManyPairs(t *testing.T) {
	dev, d, c := nic(t, maxPairs, virtiotest.Options{RAM: 16 << 20}, nil)
	if answer, _ := d.Send(2*maxPairs, 1, []byte{classMQ, mqPairsSet}, []byte{0, 1}); answer[0] != ackOK || !c.enabled[maxPairs-1] {
		t.Fatal("256 pairs were refused")
	}
	d.Send(2*maxPairs-1, 0, packet(MAC{2}, 1))
	c.take(t, maxPairs-1)
	if n := dev.Counters().Tx[maxPairs-1].Packets; n != 1 {
		t.Errorf("%d packets", n)
	}
	more := newCable(t, maxPairs+1)
	t.Cleanup(more.close)
	if _, err := New(fullConfig(), more, &host{}); err == nil {
		t.Error("more pairs were accepted")
	}
}

// TestQueueSizes: only an engine that can do it gets long transmit queues.
func TestQueueSizes(t *testing.T) {
	c := newCable(t, 1)
	t.Cleanup(c.close)
	cfg := fullConfig()
	cfg.RxQueueSize, cfg.TxQueueSize = 1024, 512
	for want, l := range map[uint16]Link{256: c, 512: roomy{c}} {
		dev, err := New(cfg, l, &host{})
		if err != nil {
			t.Fatal(err)
		}
		if got := dev.QueueSizes(); got[0] != 1024 || got[1] != want {
			t.Errorf("sizes %v", got)
		}
	}
}

// roomy is a link with long transmit queues.
type roomy struct{ *cable }

func (roomy) LongQueues() bool { return true }

// TestLostLink tells once that the other end is gone.
func TestLostLink(t *testing.T) {
	told := make(chan error, 10)
	_, d, c := nic(t, 1, virtiotest.Options{}, &host{lost: told})
	offer(d, 0, 80, 1024)
	unix.Close(c.peer[0])
	c.peer[0] = -1
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Error("nobody was told")
	}
	d.Reset()
	if len(told) > 0 {
		t.Error("told twice")
	}
}

func TestPauseAndReset(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{}, nil)
	dev.Pause()
	at := d.Alloc(64)
	copy(d.Bytes(at, 64), packet(MAC{2}, 30))
	d.Add(1, virtiotest.Buf{Addr: at, Len: 60})
	d.Nudge(1)
	if _, _, ok := d.Poll(1); ok {
		t.Error("a packet was sent while the device was paused")
	}
	dev.Resume()
	d.Wait(1)
	c.take(t, 0)
	d.Reset()
	d.Activate()
	d.Send(1, 0, packet(MAC{8}, 1))
	if got := c.take(t, 0); got[headerSize] != 8 {
		t.Error("no packet after a reset")
	}
}

// TestBadBuffers break the device: rings whose buffers are no RAM.
func TestBadBuffers(t *testing.T) {
	_, d, _ := nic(t, 1, virtiotest.Options{}, nil)
	for q := range 3 {
		d.Add(q, virtiotest.Buf{Addr: 1 << 40, Len: 100, Write: q == 0})
		d.Nudge(q)
		if err := d.AwaitBroken(); err == nil {
			t.Error("not broken")
		}
		d.Reset()
		d.Activate()
	}
}

// FuzzQueues gives every queue chains of any shape.
func FuzzQueues(f *testing.F) {
	f.Add(uint8(1), packet(MAC{2}, 20), uint16(0), uint8(12))
	f.Add(uint8(0), []byte{}, uint16(1500), uint8(0))
	f.Add(uint8(2), []byte{classRX, rxPromisc, 1}, uint16(1), uint8(2))
	f.Fuzz(func(t *testing.T, q uint8, out []byte, in uint16, cut uint8) {
		_, d, c := nic(t, 1, virtiotest.Options{}, nil)
		i := int(q) % 3
		if !d.Feed(i, out, uint32(in), cut) {
			return
		}
		if i > 0 {
			d.Settle(i)
			return
		}
		_, _ = unix.Write(c.peer[0], packet(own, 100))
	})
}

// BenchmarkSend is a packet of 64 bytes from ring to link; BenchmarkReceive the way back.
func BenchmarkSend(b *testing.B) {
	_, d, c := nic(b, 1, virtiotest.Options{EventIdx: true}, nil)
	at := d.Alloc(headerSize + 64)
	buf := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		d.Add(1, virtiotest.Buf{Addr: at, Len: headerSize + 64})
		d.Kick(1)
		d.Wait(1)
		_, _ = unix.Read(c.peer[0], buf)
	}
}

func BenchmarkReceive(b *testing.B) {
	_, d, c := nic(b, 1, virtiotest.Options{EventIdx: true}, nil)
	at := d.Alloc(128)
	for range 150 {
		d.Add(0, virtiotest.Buf{Addr: at, Len: 1024, Write: true})
	}
	p := packet(own, 50)
	d.Nudge(0)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = unix.Write(c.peer[0], p)
		d.Wait(0)
		d.Add(0, virtiotest.Buf{Addr: at, Len: 1024, Write: true})
		d.Kick(0)
	}
}
