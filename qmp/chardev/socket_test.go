package chardev

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// address returns where a TCP server listens.
func at(t *testing.T, b Backend) string {
	t.Helper()
	name := strings.TrimSuffix(b.(*Socket).Filename(), ",server=on")
	host, ok := strings.CutPrefix(name, "disconnected:tcp:")
	if !ok {
		t.Fatal(name)
	}
	i := strings.LastIndexByte(host, ':')
	return net.JoinHostPort(host[:i], host[i+1:])
}

func TestTCP(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		b := must(t, Options{Kind: "socket", Socket: inet(host, "0"), Server: true, NoDelay: true})
		c := newConsole(10)
		b.Attach(c)
		client := must(t, Options{Kind: "socket", Socket: inet(host, at(t, b)[strings.LastIndexByte(at(t, b), ':')+1:])})
		d := newConsole(10)
		client.Attach(d)
		c.expect(t, Opened)
		d.expect(t, Opened)
		_, _ = client.Write([]byte("hi\n"))
		c.wait(t, "hi\n")
		if name := b.(*Socket).Filename(); !strings.Contains(name, ",server=on <-> ") {
			t.Error(name)
		}
		if err := errors.Join(client.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}
}

func inet(host, port string) *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeInet, Inet: &qapi.InetSocketAddress{Host: host, Port: port}}
}

func descriptor(name string) *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeFd, Fd: &qapi.SocketFd{Str: name}}
}

// TestNoAddress has sockets with an address of a kind that there is not, and with none.
func TestNoAddress(t *testing.T) {
	vsock := &qapi.SocketAddress{Type: qapi.SocketAddressTypeVsock, Vsock: &qapi.VsockSocketAddress{Cid: "2", Port: "1"}}
	for _, server := range []bool{true, false} {
		if _, err := Open(context.Background(), Options{Kind: "socket", Socket: vsock, Server: server}); text(err) != "addresses of type 'vsock' are not available" {
			t.Error(err)
		}
		if _, err := Open(context.Background(), Options{Kind: "socket", Server: server}); text(err) != "chardev: socket: no address given" {
			t.Error(err)
		}
	}
}

func TestAbstract(t *testing.T) {
	for _, tight := range []bool{true, false} {
		yes := true
		a := sockaddr.Unix("hv-test-" + strconv.Itoa(os.Getpid()))
		a.Unix.Abstract, a.Unix.Tight = &yes, &tight
		b := must(t, Options{Kind: "socket", Socket: a, Server: true})
		if name := b.(*Socket).Filename(); name != map[bool]string{
			true:  "disconnected:unix:" + a.Unix.Path + ",abstract=on,tight=on,server=on",
			false: "disconnected:unix:" + a.Unix.Path + ",abstract=on,server=on",
		}[tight] {
			t.Error(name)
		}
		client := must(t, Options{Kind: "socket", Socket: a})
		if err := errors.Join(client.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestMonitorClients has several clients at once, each with a connection of its own.
func TestMonitorClients(t *testing.T) {
	dir := t.TempDir()
	path, log := filepath.Join(dir, "s"), filepath.Join(dir, "log")
	b := must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true, LogFile: log})
	s := b.(*Socket)
	var conns []io.ReadWriteCloser
	for range 3 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conn, err := s.Listener().Accept()
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, ok := conn.(interface {
			ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
		}); !ok {
			t.Error("the connection cannot pass descriptors")
		}
	}
	if name := s.Filename(); name != "unix:"+path+",server=on" {
		t.Error(name)
	}
	for _, c := range conns {
		if _, err := c.Write([]byte("reply ")); err != nil {
			t.Error(err)
		}
		c.Close()
		c.Close()
	}
	if name := s.Filename(); name != "disconnected:unix:"+path+",server=on" {
		t.Error(name)
	}
	if s.Listener().Addr().String() != path {
		t.Error(s.Listener().Addr())
	}
	if err := s.Listener().Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Next(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Listener().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(log); err != nil || string(text) != "reply reply reply " {
		t.Errorf("%q, %v", text, err)
	}
}

// TestTryWrite writes to monitors' clients without waiting, where what is sent goes as it
// is, and records what went.
func TestTryWrite(t *testing.T) {
	type tryWriter interface {
		TryWrite(p []byte) (int, error)
	}
	for _, o := range []Options{
		{Kind: "socket", Socket: sockaddr.Unix(filepath.Join(t.TempDir(), "s"))},
		{Kind: "socket", Socket: inet("127.0.0.1", "0")},
		{Kind: "socket", Socket: inet("127.0.0.1", "0"), Telnet: true},
	} {
		o.Server, o.LogFile = true, filepath.Join(t.TempDir(), "log")
		b := must(t, o)
		l := b.(*Socket).listener.Addr()
		client, err := net.Dial(l.Network(), l.String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := b.(*Socket).Next()
		if err != nil {
			t.Fatal(err)
		}
		w, ok := conn.(tryWriter)
		if ok == o.Telnet {
			t.Errorf("%s, telnet %v: writes without waiting: %v", l.Network(), o.Telnet, ok)
		}
		want := 0
		if ok {
			for range 2 { // until there is no more room
				n, err := w.TryWrite(make([]byte, 16<<20))
				if err != nil || want == 0 && n == 0 || n == 16<<20 {
					t.Errorf("%s: %d bytes written, %v", l.Network(), n, err)
				}
				want += n
			}
		}
		client.Close()
		conn.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if st, err := os.Stat(o.LogFile); err != nil || int(st.Size()) != want {
			t.Errorf("%s: %d bytes written, but logged %v, %v", l.Network(), want, st.Size(), err)
		}
	}
}

// TestMonitorDials has one connection after the other, each made when the last has gone.
func TestMonitorDials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var said []string
	b := must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Reconnect: time.Millisecond, Host: Host{
		Notify: func(format string, _ ...any) { said = append(said, format) },
	}})
	defer b.Close()
	if len(said) != 1 {
		t.Errorf("said %q", said)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 3 {
		c, err := b.(*Socket).Next()
		if err != nil {
			t.Fatal(err)
		}
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		peer.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("read from who has gone")
		}
		c.Close()
	}
	once := must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path)})
	if once.(*Socket).Listener() != nil {
		t.Error("a client listens")
	}
	defer once.Close()
	c, err := once.(*Socket).Next()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := once.(*Socket).Next(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second connection without reconnect: %v", err)
	}
}

func TestDescriptor(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(pair[1]), "peer")
	defer peer.Close()
	host := Host{Descriptor: func(name string) (int, error) {
		switch name {
		case "pair":
			return pair[0], nil
		case "file":
			return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		}
		return -1, errors.New("no such name")
	}}
	b := must(t, Options{Kind: "socket", Socket: descriptor("pair"), Host: host})
	if name := b.(*Socket).Filename(); name != "disconnected:fd:pair" {
		t.Error(name)
	}
	c := newConsole(10)
	b.Attach(c)
	c.expect(t, Opened)
	if _, err := peer.Write([]byte("by fd")); err != nil {
		t.Fatal(err)
	}
	c.wait(t, "by fd")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"file": "File descriptor 'file' is not a socket", "x": "no such name"} {
		if _, err := Open(context.Background(), Options{Kind: "socket", Socket: descriptor(name), Host: host}); text(err) != want {
			t.Error(err)
		}
	}
}

// TestWaitEnds gives up waiting for a client when nobody wants that any more.
func TestWaitEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{Kind: "socket", Socket: sockaddr.Unix(filepath.Join(t.TempDir(), "s")), Server: true, Wait: true}
	o.Host.Notify = func(string, ...any) { cancel() }
	if _, err := Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUDP(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.LocalAddr().String())
	b := must(t, Options{Kind: "udp", Socket: inet("127.0.0.1", port), Local: inet("127.0.0.1", "0")})
	c := newConsole(100)
	b.Attach(c)
	c.expect(t, Opened)
	_, _ = b.Write([]byte("out\n"))
	buf := make([]byte, 100)
	n, from, err := l.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "out\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if _, err := l.WriteTo([]byte("in"), from); err != nil {
		t.Fatal(err)
	}
	c.wait(t, "in")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(context.Background(), Options{Kind: "udp"}); err == nil {
		t.Error("datagrams to nowhere")
	}
}

func TestPipe(t *testing.T) {
	both, one := filepath.Join(t.TempDir(), "p"), filepath.Join(t.TempDir(), "q")
	for _, path := range []string{both + ".in", both + ".out", one} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := must(t, Options{Kind: "pipe", Path: both})
	c := newConsole(10)
	b.Attach(c)
	in, err := os.OpenFile(both+".in", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Open(both + ".out")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("in")); err != nil {
		t.Fatal(err)
	}
	c.wait(t, "in")
	_, _ = b.Write([]byte("out\n"))
	if got := read(t, out, 4); got != "out\n" {
		t.Errorf("%q", got)
	}
	single := must(t, Options{Kind: "pipe", Path: one})
	if err := errors.Join(in.Close(), out.Close(), b.Close(), single.Close()); err != nil {
		t.Error(err)
	}
	if _, err := Open(context.Background(), Options{Kind: "pipe", Path: both + ".no"}); text(err) != "Could not open '"+both+".no': No such file or directory" {
		t.Error(err)
	}
}

// TestFromQAPI refuses options that exclude each other.
func TestFromQAPI(t *testing.T) {
	yes, no, five := true, false, int64(5)
	socket := func(change func(*qapi.ChardevSocket)) *qapi.ChardevBackend {
		w := &qapi.ChardevSocketWrapper{Data: qapi.ChardevSocket{Addr: qapi.SocketAddressLegacy{
			Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddressWrapper{Data: qapi.UnixSocketAddress{Path: "/x"}}}}}
		change(&w.Data)
		return &qapi.ChardevBackend{Type: qapi.ChardevBackendKindSocket, Socket: w}
	}
	o, err := FromQAPI(socket(func(*qapi.ChardevSocket) {}), Host{})
	if err != nil || !o.Server || o.Wait || o.Socket.Unix == nil || o.Socket.Unix.Path != "/x" {
		t.Errorf("%+v, %v", o, err)
	}
	name := "creds"
	for want, change := range map[string]func(*qapi.ChardevSocket){
		"listen mode":        func(s *qapi.ChardevSocket) { s.Reconnect = &five },
		"connect mode":       func(s *qapi.ChardevSocket) { s.Server, s.Wait = &no, &no },
		"No TLS credentials": func(s *qapi.ChardevSocket) { s.TlsCreds = &name },
		"requires":           func(s *qapi.ChardevSocket) { s.TlsAuthz = &name },
		"not available":      func(s *qapi.ChardevSocket) { s.Websocket = &yes },
		"number of seconds":  func(s *qapi.ChardevSocket) { s.Server = &no; v := int64(-1); s.Reconnect = &v },
		"'fd' address type":  func(s *qapi.ChardevSocket) { s.Server, s.Reconnect = &no, &five; s.Addr.Fd = &qapi.SocketFdWrapper{} },
	} {
		if _, err := FromQAPI(socket(change), Host{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if _, err := FromQAPI(&qapi.ChardevBackend{Type: "braille", Braille: &qapi.ChardevCommonWrapper{}}, Host{}); text(err) != "'braille' is not a valid char driver name" {
		t.Error(err)
	}
}
