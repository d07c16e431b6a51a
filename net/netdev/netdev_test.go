package netdev

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"hv/net/relay"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// patience is after what time a test gives up.
const patience = 20 * time.Second

// events collects what back ends tell, and has descriptors by name.
type events struct {
	news chan string
	fds  map[string]int
}

func newEvents() *events { return &events{make(chan string, 100), map[string]int{}} }

func (e *events) host() Host {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return Host{
		Descriptor: func(name string) (int, error) {
			fd, ok := e.fds[name]
			if !ok {
				return -1, fmt.Errorf("File descriptor named '%s' has not been found", name)
			}
			delete(e.fds, name)
			return fd, nil
		},
		Connected: func(id string, a *qapi.SocketAddress) {
			enc := qapi.NewEncoder(false)
			a.EncodeQAPI(enc)
			e.news <- id + " " + string(enc.Bytes())
		},
		Disconnected: func(id string) { e.news <- id + " gone" },
		Lost:         func(id string, err error) { e.news <- id + " lost" },
		Log:          log,
	}
}

func (e *events) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-e.news:
		if got != want {
			t.Fatalf("%q, not %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("no %q", want)
	}
}

// parse reads a description in JSON.
func parse(t *testing.T, text string) *qapi.Netdev {
	t.Helper()
	v, err := wire.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	n := &qapi.Netdev{}
	if err := n.DecodeQAPI(v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return n
}

func (e *events) open(t *testing.T, text string) Backend {
	t.Helper()
	b, err := Open(t.Context(), parse(t, text), e.host())
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func (e *events) info(t *testing.T, b Backend, want string) {
	t.Helper()
	if got := b.Info(0); got != want {
		t.Errorf("described as %q, not %q", got, want)
	}
}

// pass sends a frame from one guest to another.
func pass(t *testing.T, from, to Backend) {
	t.Helper()
	frame := make([]byte, relay.Header+60)
	frame[relay.Header] = 0x52
	b := make([]byte, 2000)
	limit := time.Now().Add(patience)
	for time.Now().Before(limit) { // a far end that is just being connected loses frames
		if _, err := unix.Write(from.QueueFD(0), frame); err != nil {
			t.Fatal(err)
		}
		fds := []unix.PollFd{{Fd: int32(to.QueueFD(0)), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 100); n == 0 {
			continue
		}
		if n, err := unix.Read(to.QueueFD(0), b); err != nil || n != len(frame) || b[relay.Header] != 0x52 {
			t.Fatalf("%d bytes, %v", n, err)
		}
		return
	}
	t.Fatal("the frame did not come")
}

// free returns a port that nobody listens on.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestPairs joins two back ends of each kind, and passes frames both ways.
func TestPairs(t *testing.T) {
	dir := t.TempDir()
	port, other := free(t), free(t)
	for name, c := range map[string]struct{ a, b, infoA, infoB string }{
		"stream unix": {
			fmt.Sprintf(`{"type":"stream","id":"a","server":true,"addr":{"type":"unix","path":"%s/s"}}`, dir),
			fmt.Sprintf(`{"type":"stream","id":"b","addr":{"type":"unix","path":"%s/s"}}`, dir),
			"unix:" + dir + "/s", "unix:" + dir + "/s",
		},
		"stream inet": {
			fmt.Sprintf(`{"type":"stream","id":"a","server":true,"addr":{"type":"inet","host":"127.0.0.1","port":"%d"}}`, port),
			fmt.Sprintf(`{"type":"stream","id":"b","reconnect":1,"addr":{"type":"inet","host":"127.0.0.1","port":"%d"}}`, port),
			"", fmt.Sprintf("tcp:127.0.0.1:%d", port),
		},
		"dgram unix": {
			fmt.Sprintf(`{"type":"dgram","id":"a","local":{"type":"unix","path":"%[1]s/d1"},"remote":{"type":"unix","path":"%[1]s/d2"}}`, dir),
			fmt.Sprintf(`{"type":"dgram","id":"b","local":{"type":"unix","path":"%[1]s/d2"},"remote":{"type":"unix","path":"%[1]s/d1"}}`, dir),
			fmt.Sprintf("udp=%[1]s/d1:%[1]s/d2", dir), fmt.Sprintf("udp=%[1]s/d2:%[1]s/d1", dir),
		},
		"dgram inet": {
			fmt.Sprintf(`{"type":"dgram","id":"a","local":{"type":"inet","host":"127.0.0.1","port":"%d"},"remote":{"type":"inet","host":"127.0.0.1","port":"%d"}}`, port, other),
			fmt.Sprintf(`{"type":"dgram","id":"b","local":{"type":"inet","host":"127.0.0.1","port":"%d"},"remote":{"type":"inet","host":"127.0.0.1","port":"%d"}}`, other, port),
			fmt.Sprintf("udp=127.0.0.1:%d/127.0.0.1:%d", port, other), fmt.Sprintf("udp=127.0.0.1:%d/127.0.0.1:%d", other, port),
		},
		"socket": {
			fmt.Sprintf(`{"type":"socket","id":"a","listen":"127.0.0.1:%d"}`, other),
			fmt.Sprintf(`{"type":"socket","id":"b","connect":"127.0.0.1:%d"}`, other),
			"", fmt.Sprintf("socket: connect to 127.0.0.1:%d", other),
		},
		"socket udp": {
			fmt.Sprintf(`{"type":"socket","id":"a","udp":"127.0.0.1:%d","localaddr":"127.0.0.1:%d"}`, port, other),
			fmt.Sprintf(`{"type":"socket","id":"b","udp":"127.0.0.1:%d","localaddr":"127.0.0.1:%d"}`, other, port),
			fmt.Sprintf("socket: udp=127.0.0.1:%d", port), fmt.Sprintf("socket: udp=127.0.0.1:%d", other),
		},
		"socket group": {
			fmt.Sprintf(`{"type":"socket","id":"a","mcast":"230.1.2.3:%d","localaddr":"127.0.0.1"}`, port),
			fmt.Sprintf(`{"type":"dgram","id":"b","remote":{"type":"inet","host":"230.1.2.3","port":"%d"},"local":{"type":"inet","host":"127.0.0.1","port":"0"}}`, port),
			fmt.Sprintf("socket: mcast=230.1.2.3:%d", port), fmt.Sprintf("mcast=230.1.2.3:%d", port),
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEvents()
			a, b := e.open(t, c.a), e.open(t, c.b)
			pass(t, a, b)
			pass(t, b, a)
			if c.infoA != "" {
				e.info(t, a, c.infoA)
			}
			e.info(t, b, c.infoB)
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if left, _ := filepath.Glob(dir + "/d*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestEvents hears of a stream's connections.
func TestEvents(t *testing.T) {
	path := t.TempDir() + "/s"
	e := newEvents()
	e.open(t, `{"type":"stream","id":"a","server":true,"addr":{"type":"unix","path":"`+path+`"}}`)
	for range 2 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		e.expect(t, `a {"path": "`+path+`", "type": "unix"}`)
		c.Close()
		e.expect(t, "a gone")
	}
	port := free(t)
	e.open(t, fmt.Sprintf(`{"type":"stream","id":"b","server":true,"addr":{"type":"inet","host":"::1","port":"%d"}}`, port))
	near := &net.TCPAddr{IP: net.IPv6loopback, Port: free(t)}
	c, err := (&net.Dialer{LocalAddr: near}).Dial("tcp", fmt.Sprintf("[::1]:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	e.expect(t, fmt.Sprintf(`b {"port": "%d", "ipv6": true, "host": "::1", "type": "inet"}`, near.Port))
	c.Close()
	e.expect(t, "b gone")
}

// TestDescriptors uses sockets that are open already.
func TestDescriptors(t *testing.T) {
	for kind, text := range map[int][2]string{
		unix.SOCK_STREAM: {`{"type":"stream","id":"a","addr":{"type":"fd","str":"x"}}`, `{"type":"socket","id":"b","fd":"y"}`},
		unix.SOCK_DGRAM:  {`{"type":"dgram","id":"a","local":{"type":"fd","str":"x"}}`, `{"type":"socket","id":"b","fd":"y"}`},
	} {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		e := newEvents()
		e.fds["x"], e.fds["y"] = fds[0], fds[1]
		a, b := e.open(t, text[0]), e.open(t, text[1])
		pass(t, a, b)
		pass(t, b, a)
	}
}

// TestRefused compares what is said of what cannot be with QEMU's words.
func TestRefused(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	in := `{"type":"inet","host":"127.0.0.1","port":"1"}`
	for text, want := range map[string]string{
		`{"type":"socket","id":"n"}`:                                                       "exactly one of listen=, connect=, mcast= or udp= is required",
		`{"type":"socket","id":"n","listen":":1","connect":":2"}`:                          "exactly one of listen=, connect=, mcast= or udp= is required",
		`{"type":"socket","id":"n","listen":":1","localaddr":":2"}`:                        "localaddr= is only valid with mcast= or udp=",
		`{"type":"socket","id":"n","udp":":1"}`:                                            "localaddr= is mandatory with udp=",
		`{"type":"socket","id":"n","connect":"here"}`:                                      "host address 'here' doesn't contain ':' separating host from port",
		`{"type":"socket","id":"n","connect":"1.2.3:4"}`:                                   "host address '1.2.3' is not a valid IPv4 address",
		`{"type":"socket","id":"n","connect":"1.2.3.4:x"}`:                                 "port number 'x' is invalid",
		`{"type":"socket","id":"n","mcast":"10.1.2.3:4"}`:                                  "specified mcastaddr 10.1.2.3 (0x0a010203) does not contain a multicast address",
		`{"type":"socket","id":"n","mcast":"230.1.2.3:4","localaddr":"x"}`:                 "localaddr 'x' is not a valid IPv4 address",
		`{"type":"socket","id":"n","fd":"none"}`:                                           "File descriptor named 'none' has not been found",
		`{"type":"dgram","id":"n"}`:                                                        "dgram requires local= parameter",
		`{"type":"dgram","id":"n","local":` + in + `}`:                                     "type=inet or type=unix requires remote parameter",
		`{"type":"dgram","id":"n","local":{"type":"fd","str":"x"},"remote":` + in + `}`:    "don't set remote with local.fd",
		`{"type":"dgram","id":"n","local":{"type":"unix","path":"x"},"remote":` + in + `}`: "remote and local types must be the same",
		`{"type":"stream","id":"n","server":true,"reconnect":1,"addr":` + in + `}`:         "'reconnect' option is incompatible with socket in server mode",
		`{"type":"tap","id":"n","fd":"1","ifname":"x"}`:                                    "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and vhostfds= are invalid with fd=",
		`{"type":"tap","id":"n","fds":"1","queues":2}`:                                     "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, and vhostfd= are invalid with fds=",
		`{"type":"tap","id":"n","helper":"x","queues":2}`:                                  "ifname=, script=, downscript=, vnet_hdr=, queues=, and vhostfds= are invalid with helper=",
		`{"type":"tap","id":"n","vhostfds":"1"}`:                                           "vhostfds= is invalid if fds= wasn't specified",
		`{"type":"tap","id":"n","vhostfd":"1","vhost":false}`:                              "vhostfd(s)= is not valid without vhost",
		`{"type":"tap","id":"n","queues":300}`:                                             "queues=300 is not from 1 to 256",
		`{"type":"tap","id":"n","fds":"y:none"}`:                                           "File descriptor named 'none' has not been found",
		`{"type":"macvtap","id":"n","parent":"none-such"}`:                                 "Link not found",
		`{"type":"macvtap","id":"n","parent":"lo","mac":"01:00:00:00:00:00"}`:              "no unicast address",
		`{"type":"user","id":"n","ipv4":false,"ipv6":false}`:                               "IPv4 and IPv6 disabled",
		`{"type":"user","id":"n","net":"10.0.0.0/31"}`:                                     "8 to 28 bits",
		`{"type":"user","id":"n","dns":"::1"}`:                                             "Parameter 'dns' expects an IPv4 address",
		`{"type":"user","id":"n","dnssearch":[{"str":"a b"}]}`:                             "Parameter 'dnssearch' expects a domain",
		`{"type":"user","id":"n","hostfwd":[{"str":"tcp::1-2"}]}`:                          "Invalid host forwarding rule 'tcp::1-2'",
	} {
		e := newEvents()
		fd, err := unix.Dup(int(null.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		e.fds["y"] = fd
		if b, err := Open(t.Context(), parse(t, text), e.host()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, not %s", text, b, err, want)
		}
		if _, still := e.fds["y"]; !still {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				t.Errorf("%s: a descriptor that was taken is left open", text)
			}
		} else {
			_ = unix.Close(fd)
		}
	}
}

func TestGuestNet(t *testing.T) {
	yes := true
	text := "192.168.7.0/25"
	c, err := passtConfig(&qapi.NetdevUserOptions{Ipv4: &yes, Net: &text, Hostfwd: qapi.StringWrapperList{{Str: "udp::53-:5353"}}})
	if err != nil || !c.NoIPv6 || c.Prefix != 25 || c.Gateway.String() != "192.168.7.2" || c.Address.String() != "192.168.7.15" || len(c.Forwards) != 1 || c.Forwards[0].Guest != 5353 {
		t.Errorf("%+v, %v", c, err)
	}
}

func FuzzHostPort(f *testing.F) {
	f.Add("127.0.0.1:80")
	f.Add(":0x10")
	f.Fuzz(func(t *testing.T, s string) {
		if host, _, _ := strings.Cut(s, ":"); host != "" && (host[0] < '0' || host[0] > '9') {
			return // a name, to be looked up
		}
		a, err := hostPort(s)
		if (err == nil) != a.IsValid() {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	})
}
