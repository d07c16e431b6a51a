package vublk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/filedrv"
	"hv/block/graph"
	"hv/devices/virtio/vhostwire"
)

const (
	diskSize = 4 << 20
	memSize  = 1 << 20
	userBase = 0x7f0000000000 // where the client has its memory, so it says
	ringSize = 64
	// Places in the guest's memory.
	descAt, availAt, usedAt, dataAt = 0, 0x1000, 0x2000, 0x10000
)

// rig is a device on a file.
type rig struct {
	t      testing.TB
	g      graph.Graph
	root   *graph.Child
	dev    *Device
	socket string
	disk   string

	mu     sync.Mutex
	logged []error
}

func newRig(t testing.TB, writable bool) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, socket: filepath.Join(dir, "s"), disk: filepath.Join(dir, "disk")}
	r.must(os.WriteFile(r.disk, make([]byte, diskSize), 0o600))
	o := graph.Options{Discard: true}
	n, err := r.g.Open(graph.Spec{Name: "n", Driver: "file", Options: o, Filename: func() string { return "" }, Open: func([]*graph.Child) (graph.Driver, error) {
		return filedrv.Open(filedrv.Config{Path: r.disk, Options: o, OpenFile: os.OpenFile})
	}})
	r.must(err)
	perm := graph.ConsistentRead
	if writable {
		perm |= graph.Write
	}
	r.root, err = n.Use(func() string { return "it" }, nil, perm, graph.AllPerms)
	r.must(err)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.socket, Net: "unix"})
	r.must(err)
	r.dev = Serve(l, Config{Root: r.root, Writable: writable, BlockSize: 512, Queues: 2, Log: func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.logged = append(r.logged, err)
	}})
	t.Cleanup(func() {
		r.dev.ShutDown()
		r.dev.Wait()
		r.must(errors.Join(r.root.Close(), n.Unref()))
	})
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// client is a front end.
type client struct {
	t          testing.TB
	c          *net.UnixConn
	mem        []byte
	fd         int
	kick, call [2]int
	err        int
	avail      [2]uint16
	seen       [2]uint16
}

func (r *rig) client() *client {
	r.t.Helper()
	u, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: r.socket, Net: "unix"})
	r.must(err)
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	r.must(err)
	r.must(unix.Ftruncate(fd, memSize))
	b, err := unix.Mmap(fd, 0, memSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	r.must(err)
	c := &client{t: r.t, c: u, mem: b, fd: fd}
	fds := []*int{&c.kick[0], &c.kick[1], &c.call[0], &c.call[1], &c.err}
	for _, p := range fds {
		*p, err = unix.Eventfd(0, unix.EFD_CLOEXEC)
		r.must(err)
	}
	r.t.Cleanup(func() {
		_ = u.Close()
		for _, p := range fds {
			_ = unix.Close(*p)
		}
		_ = unix.Close(fd)
		_ = unix.Munmap(b)
	})
	return c
}

// send sends a message, asking for an acknowledgement, and returns that or the answer.
func (c *client) send(request vhostwire.Request, payload []byte, fds ...int) ([]byte, error) {
	c.t.Helper()
	if err := vhostwire.Send(c.c, vhostwire.Message{Request: request, Flags: vhostwire.FlagNeedAck, Payload: payload, FDs: fds}); err != nil {
		return nil, err
	}
	m, err := vhostwire.Receive(c.c)
	if err != nil {
		return nil, err
	}
	if m.Request != request || m.Flags&vhostwire.FlagReply == 0 {
		c.t.Fatalf("answer %v to %d", m, request)
	}
	return m.Payload, nil
}

func u64(v uint64) []byte     { return le.AppendUint64(nil, v) }
func pair(a, b uint32) []byte { return u64(uint64(a) | uint64(b)<<32) }
func (c *client) ask(request vhostwire.Request) uint64 {
	c.t.Helper()
	b, err := c.send(request, nil)
	if err != nil || len(b) != 8 {
		c.t.Fatal(b, err)
	}
	return le.Uint64(b)
}

// tell sends what is acknowledged, and reports whether it was taken.
func (c *client) tell(request vhostwire.Request, payload []byte, fds ...int) bool {
	c.t.Helper()
	b, err := c.send(request, payload, fds...)
	if err != nil || len(b) != 8 {
		c.t.Fatalf("request %d: %x, %v", request, b, err)
	}
	return le.Uint64(b) == 0
}

func piece(guest, size, user, offset uint64) vhostwire.Region {
	return vhostwire.Region{Guest: guest, Size: size, User: user, Offset: offset}
}

func table(regions ...vhostwire.Region) []byte {
	b := pair(uint32(len(regions)), 0)
	for _, r := range regions {
		b = le.AppendUint64(le.AppendUint64(b, r.Guest), r.Size)
		b = le.AppendUint64(le.AppendUint64(b, r.User), r.Offset)
	}
	return b
}

func addresses(index int) []byte {
	base := uint64(userBase + index*0x4000)
	b := pair(uint32(index), 0)
	for _, at := range []uint64{descAt, usedAt, availAt, 0} {
		b = le.AppendUint64(b, base+at)
	}
	return b
}

// negotiate brings the client to where requests can be made.
func (c *client) negotiate(queues int) {
	c.t.Helper()
	if f := c.ask(vhostwire.GetFeatures); f&(vhostwire.FeatureProtocol|featureVersion1) != vhostwire.FeatureProtocol|featureVersion1 {
		c.t.Fatalf("features %x", f)
	}
	p := c.ask(vhostwire.GetProtocolFeatures)
	if err := vhostwire.Send(c.c, vhostwire.Message{Request: vhostwire.SetProtocolFeatures, Payload: u64(p)}); err != nil { // acknowledged only from now on
		c.t.Fatal(err)
	}
	ok := c.tell(vhostwire.SetOwner, nil) && c.tell(vhostwire.SetFeatures, u64(vhostwire.FeatureProtocol|featureVersion1|featureIndirect|featureFlush)) &&
		c.tell(vhostwire.SetMemTable, table(piece(0, memSize, userBase, 0)), c.fd)
	for i := range queues {
		ok = ok && c.tell(vhostwire.SetVringNum, pair(uint32(i), ringSize)) && c.tell(vhostwire.SetVringBase, pair(uint32(i), 0)) && c.tell(vhostwire.SetVringAddr, addresses(i)) &&
			c.tell(vhostwire.SetVringCall, u64(uint64(i)), c.call[i]) && c.tell(vhostwire.SetVringErr, u64(uint64(i)), c.err) && c.tell(vhostwire.SetVringKick, u64(uint64(i)), c.kick[i]) &&
			c.tell(vhostwire.SetVringEnable, pair(uint32(i), 1))
	}
	if !ok || c.ask(vhostwire.GetQueueNum) != 2 {
		c.t.Fatal("it was refused")
	}
}

// request makes a request and returns its status. Buffers of the device's to write come
// after those to read.
func (c *client) request(q int, typ uint32, sector uint64, out []byte, in int) (byte, []byte) {
	c.t.Helper()
	base, at := q*0x4000, dataAt+q*0x40000
	le.PutUint32(c.mem[at:], typ)
	le.PutUint64(c.mem[at+8:], sector)
	copy(c.mem[at+64:], out)
	status := at + 0x3fff0
	c.mem[status] = 0xff
	type part struct{ at, n, flags int }
	parts := []part{{at, 16, 1}}
	if len(out) > 0 {
		parts = append(parts, part{at + 64, len(out), 1})
	}
	if in > 0 {
		parts = append(parts, part{at + 0x20000, in, 3})
	}
	parts = append(parts, part{status, 1, 2})
	for i, p := range parts {
		d := c.mem[base+descAt+16*i:]
		le.PutUint64(d, uint64(p.at))
		le.PutUint32(d[8:], uint32(p.n))
		le.PutUint16(d[12:], uint16(p.flags))
		le.PutUint16(d[14:], uint16(i+1))
	}
	c.offer(q, 0)
	c.await(q)
	return c.mem[status], c.mem[at+0x20000:][:in]
}

// offer makes a chain available.
func (c *client) offer(q int, head uint16) {
	ring := c.mem[q*0x4000+availAt:]
	le.PutUint16(ring[4+2*int(c.avail[q]%ringSize):], head)
	c.avail[q]++
	le.PutUint16(ring[2:], c.avail[q])
	signal(c.kick[q])
}

// await waits for a completion.
func (c *client) await(q int) {
	c.t.Helper()
	for c.seen[q] == le.Uint16(c.mem[q*0x4000+usedAt+2:]) {
		fds := []unix.PollFd{{Fd: int32(c.call[q]), Events: unix.POLLIN}, {Fd: int32(c.err), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 30000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 || fds[1].Revents != 0 {
			c.t.Fatalf("no completion: %d, %v", n, err)
		}
		var b [8]byte
		_, _ = unix.Read(c.call[q], b[:])
	}
	c.seen[q]++
}

func TestRequests(t *testing.T) {
	r := newRig(t, true)
	c := r.client()
	c.negotiate(2)
	question := append(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 0), configSize), 0), make([]byte, configSize)...)
	answer, err := c.send(vhostwire.GetConfig, question)
	if err != nil || len(answer) != len(question) || le.Uint64(answer[12:]) != diskSize/512 || le.Uint16(answer[12+34:]) != 2 || answer[12+configWCE] != 1 {
		t.Fatalf("%x, %v", answer, err)
	}
	model, rng := make([]byte, diskSize), rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		q := i % 2
		n := 512 * (1 + rng.IntN(32))
		sector := rng.IntN((diskSize - n) / 512)
		off := sector * 512
		seg := make([]byte, 16)
		le.PutUint64(seg, uint64(sector))
		le.PutUint32(seg[8:], uint32(n/512))
		var status byte
		switch rng.IntN(6) {
		case 0, 1:
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			copy(model[off:], b)
			status, _ = c.request(q, typeOut, uint64(sector), b, 0)
		case 2:
			status, _ = c.request(q, typeFlush, 0, nil, 0)
		case 3:
			le.PutUint32(seg[12:], uint32(rng.IntN(2)))
			clear(model[off : off+n])
			status, _ = c.request(q, typeWriteZeroes, 0, seg, 0)
		default:
			var got []byte
			if status, got = c.request(q, typeIn, uint64(sector), nil, n); !bytes.Equal(got, model[off:off+n]) {
				t.Fatalf("%d: %d bytes at %d differ", i, n, off)
			}
		}
		if status != statusOK {
			t.Fatalf("%d: status %d", i, status)
		}
		if i%50 == 25 { // the queue is stopped and started again, as when the guest is
			b, err := c.send(vhostwire.GetVringBase, pair(uint32(q), 0))
			if err != nil || le.Uint32(b[4:]) != uint32(c.avail[q]) {
				t.Fatalf("%x, %v, want %d", b, err, c.avail[q])
			}
			if !c.tell(vhostwire.SetVringBase, pair(uint32(q), le.Uint32(b[4:]))) || !c.tell(vhostwire.SetVringKick, u64(uint64(q)), c.kick[q]) {
				t.Fatal("it does not start again")
			}
		}
		if i%100 == 60 && !c.tell(vhostwire.SetMemTable, table(piece(0, memSize, userBase, 0)), c.fd) {
			t.Fatal("no new memory")
		}
	}
	if s, id := c.request(0, typeGetID, 0, nil, 20); s != statusOK || !strings.HasPrefix(string(id), serial) {
		t.Errorf("%d, %q", s, id)
	}
	seg := make([]byte, 16)
	le.PutUint32(seg[8:], 8)
	if s, _ := c.request(0, typeDiscard, 0, seg, 0); s != statusOK {
		t.Errorf("a discard: %d", s)
	}
	for name, want := range map[string]byte{
		"past the end": first(c.request(1, typeIn, diskSize/512, nil, 512)), "far past the end": first(c.request(1, typeIn, 1<<63, nil, 512)),
		"half a block": first(c.request(1, typeOut, 0, make([]byte, 100), 0)),
	} {
		if want != statusIOErr {
			t.Errorf("%s: %d", name, want)
		}
	}
	if s := first(c.request(1, 99, 0, nil, 0)); s != statusUnsupp {
		t.Errorf("unknown: %d", s)
	}
	if !c.tell(vhostwire.SetConfig, append(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, configWCE), 1), 0), 0)) || !r.dev.writeThrough.Load() || c.tell(vhostwire.SetConfig, nil) {
		t.Error("the write cache")
	}
}

func first(b byte, _ []byte) byte { return b }

// TestInUse has a client come, and leave.
func TestInUse(t *testing.T) {
	r := newRig(t, true)
	c := r.client()
	c.negotiate(1)
	if !r.dev.InUse() {
		t.Error("there is a client")
	}
	r.must(c.c.Close())
	if r.dev.InUse() {
		t.Error("the client has hung up")
	}
}

func TestReadOnly(t *testing.T) {
	r := newRig(t, false)
	c := r.client()
	if c.ask(vhostwire.GetFeatures)&featureReadOnly == 0 {
		t.Error("it can be written to")
	}
	c.negotiate(1)
	if s := first(c.request(0, typeOut, 0, make([]byte, 512), 0)); s != statusIOErr {
		t.Errorf("%d", s)
	}
}

// TestResize tells a client of another size, by its channel.
func TestResize(t *testing.T) {
	r := newRig(t, true)
	c := r.client()
	c.negotiate(1)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	r.must(err)
	defer unix.Close(fds[0])
	if !c.tell(vhostwire.SetBackendReqFD, nil, fds[1]) || c.tell(vhostwire.SetBackendReqFD, nil, c.fd) || c.tell(vhostwire.SetBackendReqFD, nil) {
		t.Error("the channel")
	}
	_ = unix.Close(fds[1])
	r.dev.Resized()
	b := make([]byte, 64)
	if n, err := unix.Read(fds[0], b); err != nil || n != 12 || vhostwire.Request(le.Uint32(b)) != vhostwire.ConfigChanged {
		t.Errorf("%x, %v", b[:n], err)
	}
}

// TestRefusals has a client say what makes no sense. It is refused, and the client goes on.
func TestRefusals(t *testing.T) {
	r := newRig(t, true)
	c := r.client()
	c.negotiate(1)
	small, err := unix.MemfdCreate("small", unix.MFD_CLOEXEC)
	r.must(err)
	defer unix.Close(small)
	bad := addresses(0)
	le.PutUint64(bad[8:], 12345)
	for i, taken := range []bool{
		c.tell(vhostwire.SetFeatures, u64(1<<50)), c.tell(vhostwire.SetProtocolFeatures, u64(1<<50)), c.tell(vhostwire.SetVringNum, pair(0, 0)), c.tell(vhostwire.SetVringNum, pair(0, 1<<20)),
		c.tell(vhostwire.SetVringNum, pair(7, 16)), c.tell(vhostwire.SetVringNum, nil), c.tell(vhostwire.SetVringKick, u64(0)), c.tell(vhostwire.SetVringCall, nil), c.tell(vhostwire.SetVringAddr, nil),
		c.tell(vhostwire.SetVringAddr, addresses(9)), c.tell(vhostwire.SetVringAddr, bad), c.tell(vhostwire.SetMemTable, nil), c.tell(vhostwire.SetMemTable, table(piece(0, memSize, userBase, 0))),
		c.tell(vhostwire.SetMemTable, table(piece(0, memSize, userBase, 0)), small), c.tell(vhostwire.SetMemTable, table(piece(0, ^uint64(0), userBase, 4096)), c.fd),
		c.tell(vhostwire.SetMemTable, pair(9999, 0)), c.tell(vhostwire.SetMemTable, table(piece(0, 4096, userBase, 0), piece(0, 4096, userBase, 0)), c.fd, c.fd), c.tell(999, nil),
	} {
		if taken {
			t.Errorf("%d was taken", i)
		}
	}
	r.must(c.c.Close()) // the next one is heard once this one has gone
	for _, b := range [][]byte{
		pair(uint32(vhostwire.GetFeatures), 0), {0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0},
	} {
		x := r.raw()
		_, _ = x.Write(append(b, make([]byte, 16)...))
		_ = x.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := x.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%x: nothing happens", b)
		}
		_ = x.Close()
	}
}

func (r *rig) raw() *net.UnixConn {
	r.t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: r.socket, Net: "unix"})
	r.must(err)
	return c
}

// TestHostileRings has a guest write nonsense into its rings: the queue stops and tells.
func TestHostileRings(t *testing.T) {
	for name, spoil := range map[string]func(c *client){
		"head":  func(c *client) { c.offer(0, 60000) },
		"index": func(c *client) { c.avail[0] += 1000; c.offer(0, 0) },
		"address": func(c *client) {
			le.PutUint64(c.mem[descAt:], 1<<60)
			le.PutUint32(c.mem[descAt+8:], 16)
			c.offer(0, 0)
		},
		"loop":     func(c *client) { le.PutUint32(c.mem[descAt+8:], 16); le.PutUint16(c.mem[descAt+12:], 1); c.offer(0, 0) },
		"too tiny": func(c *client) { le.PutUint32(c.mem[descAt+8:], 4); le.PutUint16(c.mem[descAt+12:], 2); c.offer(0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newRig(t, true).client()
			c.negotiate(1)
			spoil(c)
			fds := []unix.PollFd{{Fd: int32(c.err), Events: unix.POLLIN}}
			for {
				n, err := unix.Poll(fds, 30000)
				if errors.Is(err, unix.EINTR) {
					continue
				}
				if n != 1 {
					t.Errorf("it does not tell: %v", err)
				}
				break
			}
			if b, err := c.send(vhostwire.GetVringBase, pair(0, 0)); err != nil || len(b) != 8 {
				t.Errorf("%x, %v", b, err)
			}
		})
	}
}

// TestQEMU has QEMU's firmware boot from the disk: its boot sector prints a line.
func TestQEMU(t *testing.T) {
	r := newRig(t, true)
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatalf("%v: run `make deps` to install what the tests need", err)
	}
	// mov si, text; loop: lodsb; test al, al; jz end; mov dx, 0x3f8; out dx, al; jmp loop; end: hlt; jmp end
	sector := []byte{0xbe, 0x20, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, 0xf4, 0xeb, 0xfd}
	sector = append(sector, make([]byte, 512-len(sector))...)
	copy(sector[0x20:], "booted from hv\n")
	sector[510], sector[511] = 0x55, 0xaa
	r.must(r.root.Writev(0, [][]byte{sector}, 0))
	cmd := exec.Command(program, "-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-serial", "stdio", "-object", "memory-backend-memfd,id=m,size=64M,share=on",
		"-machine", "q35,memory-backend=m", "-chardev", "socket,id=c,path="+r.socket, "-device", "vhost-user-blk-pci,chardev=c,num-queues=2,bootindex=0")
	out, err := cmd.StdoutPipe()
	r.must(err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	r.must(cmd.Start())
	end := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer end.Stop()
	var line string
	_, err = fmt.Fscanf(out, "%s from hv\n", &line)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if line != "booted" {
		t.Errorf("%q, %v; %s; %v", line, err, stderr.String(), r.logged)
	}
}

// FuzzMessages hears anything.
func FuzzMessages(f *testing.F) {
	f.Add(uint32(vhostwire.SetMemTable), table(piece(0, memSize, userBase, 0)))
	f.Add(uint32(vhostwire.SetVringAddr), addresses(0))
	f.Add(uint32(vhostwire.GetConfig), make([]byte, 72))
	f.Add(uint32(vhostwire.SetVringNum), pair(0, 64))
	f.Fuzz(func(t *testing.T, number uint32, payload []byte) {
		request := vhostwire.Request(number)
		if all, err := vhostwire.ParseRegions(payload); err == nil && len(all) > vhostwire.MaxRegions {
			t.Errorf("%d regions", len(all))
		}
		m := &vhostwire.Message{Request: request, Payload: payload}
		_, _, _ = m.State()
		s := newSession(&Device{cfg: Config{Queues: 2, BlockSize: 512, Log: func(error) {}}}, nil)
		if request != vhostwire.GetFeatures && request != vhostwire.GetProtocolFeatures && request != vhostwire.GetQueueNum && request != vhostwire.GetVringBase && request != vhostwire.GetConfig {
			_ = s.told(m)
		}
		s.stopAll()
	})
}
