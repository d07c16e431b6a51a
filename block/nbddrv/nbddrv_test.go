package nbddrv

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/nbdproto"
	"hv/qmp/qapi"
)

func at(socket string) *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddress{Path: socket}}
}

// program starts a server that is not ours, which ends with the test.
func program(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run `make deps` to install what the tests need", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// open connects, as soon as somebody listens.
func open(t testing.TB, cfg Config) *Driver {
	t.Helper()
	cfg.OpenTimeout = time.Minute
	cfg.Log = func(err error) { t.Log(err) }
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func image(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	return path
}

// exercise reads and writes at random places, several at once, each in a part of its own.
func exercise(t *testing.T, d *Driver, rounds int) {
	t.Helper()
	const workers = 8
	part := d.Size() / workers
	var tasks sync.WaitGroup
	for w := range int64(workers) {
		tasks.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 9))
			model := make([]byte, part)
			if err := d.Readv(w*part, [][]byte{model}); err != nil {
				t.Error(err)
			}
			for range rounds {
				n := 1 + rng.Int64N(min(part, 1<<uint(1+rng.IntN(17))))
				off := rng.Int64N(part - n + 1)
				b := make([]byte, n)
				var err error
				switch rng.IntN(6) {
				case 0, 1:
					for i := range b {
						b[i] = byte(rng.Uint32())
					}
					copy(model[off:], b)
					err = d.Writev(w*part+off, [][]byte{b[:n/2], b[n/2:]}, 0)
				case 2:
					if err = d.WriteZeroes(w*part+off, n, graph.MayUnmap); err == nil {
						clear(model[off : off+n])
					} else if errors.Is(err, graph.ErrNotSupported) {
						err = nil
					}
				case 3:
					var e graph.Extent
					e, err = d.BlockStatus(w*part+off, n)
					if err == nil && (e.N < 1 || e.N > n || e.Status&graph.Zero != 0 && len(bytes.Trim(model[off:off+e.N], "\x00")) > 0) {
						t.Errorf("%+v at %d of %d", e, off, w)
					}
				case 4:
					err = d.Flush()
				default:
					if err = d.Readv(w*part+off, [][]byte{b}); err == nil && !bytes.Equal(b, model[off:off+n]) {
						t.Errorf("%d bytes at %d of %d differ", n, off, w)
						return
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	tasks.Wait()
}

// TestServersOfOthers uses qemu-nbd and nbdkit.
func TestServersOfOthers(t *testing.T) {
	const size = 4 << 20
	for name, server := range map[string]func(t *testing.T, socket string){
		"qemu-nbd": func(t *testing.T, socket string) {
			program(t, "qemu-nbd", "-f", "raw", "-t", "-e", "8", "-k", socket, "--discard=unmap", image(t, size))
		},
		"sectors": func(t *testing.T, socket string) {
			program(t, "qemu-nbd", "--image-opts", "-t", "-k", socket, "driver=raw,file.driver=blkdebug,file.align=512,file.image.driver=file,file.image.filename="+image(t, size))
		},
		"nbdkit":   func(t *testing.T, socket string) { program(t, "nbdkit", "-f", "-U", socket, "memory", "4M") },
		"oldstyle": func(t *testing.T, socket string) { program(t, "nbdkit", "-f", "-o", "-U", socket, "memory", "4M") },
		"simple": func(t *testing.T, socket string) {
			program(t, "nbdkit", "-f", "--no-sr", "-U", socket, "memory", "4M")
		},
		"late": func(t *testing.T, socket string) {
			program(t, "nbdkit", "-f", "-U", socket, "--filter=delay", "memory", "4M", "rdelay=1ms", "wdelay=1ms")
		},
		"blocks": func(t *testing.T, socket string) {
			program(t, "nbdkit", "-f", "-U", socket, "--filter=blocksize-policy", "memory", "4M", "blocksize-minimum=4096", "blocksize-preferred=4096", "blocksize-maximum=65536",
				"blocksize-error-policy=error")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "s")
			server(t, socket)
			d := open(t, Config{Server: at(socket)})
			if d.Size() != size {
				t.Fatalf("%d bytes", d.Size())
			}
			if name == "oldstyle" {
				// This nbdkit forgets then what else it said that it can do.
				if err := errors.Join(d.Writev(512, [][]byte{make([]byte, 512)}, 0), d.Readv(0, [][]byte{make([]byte, 4096)})); err != nil {
					t.Error(err)
				}
				return
			}
			exercise(t, d, 100)
			if err := errors.Join(d.Discard(100, 100000), d.Close()); err != nil && !errors.Is(err, graph.ErrNotSupported) {
				t.Error(err)
			}
		})
	}
}

// TestServerErrors has a server fail what it is told to.
func TestServerErrors(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	inject := filepath.Join(t.TempDir(), "inject")
	program(t, "nbdkit", "-f", "-U", socket, "--filter=error", "memory", "4M", "error=ENOSPC", "error-rate=100%", "error-file="+inject)
	d := open(t, Config{Server: at(socket)})
	b := make([]byte, 4096)
	for range 3 {
		if err := d.Writev(0, [][]byte{b}, 0); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(inject, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{d.Writev(0, [][]byte{b}, 0), d.Readv(0, [][]byte{b}), d.WriteZeroes(0, 4096, 0), d.Discard(0, 4096)} {
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%v", err)
			}
		}
		if err := os.Remove(inject); err != nil {
			t.Fatal(err)
		}
		if err := d.Readv(0, [][]byte{b}); err != nil {
			t.Error(err)
		}
	}
}

// TestReadOnly is a server that takes no writes.
func TestReadOnly(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	program(t, "nbdkit", "-f", "-r", "-U", socket, "memory", "4M")
	d := open(t, Config{Server: at(socket)})
	if !d.ReadOnly() || d.Permit(graph.ConsistentRead, graph.AllPerms) != nil || d.Permit(graph.Write, graph.AllPerms) == nil {
		t.Error("it can be written to")
	}
	if err := d.Writev(0, [][]byte{make([]byte, 512)}, 0); !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}

// TestReconnect kills a server under way. Requests wait for its successor, but not for
// ever.
func TestReconnect(t *testing.T) {
	socket, path := filepath.Join(t.TempDir(), "s"), image(t, 1<<20)
	serve := func() *exec.Cmd { return program(t, "qemu-nbd", "-f", "raw", "-t", "-e", "8", "-k", socket, path) }
	cmd := serve()
	d, once := open(t, Config{Server: at(socket), ReconnectDelay: time.Minute}), open(t, Config{Server: at(socket)})
	stop, failed := make(chan struct{}), make(chan error, 4)
	var tasks sync.WaitGroup
	for i := range int64(4) {
		tasks.Go(func() {
			b := make([]byte, 4096)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := errors.Join(d.Writev(i<<16, [][]byte{b}, 0), d.Readv(i<<16, [][]byte{b})); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	for range 3 {
		end(cmd)
		if err := once.Readv(0, [][]byte{make([]byte, 512)}); err == nil {
			t.Error("a request to nobody was answered")
		}
		cmd = serve()
		if err := d.Readv(0, [][]byte{make([]byte, 512)}); err != nil {
			t.Error(err)
		}
		connected(t, once)
	}
	close(stop)
	tasks.Wait()
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
	if err := errors.Join(d.Close(), once.Close()); err != nil {
		t.Error(err)
	}
	if err := d.Readv(0, [][]byte{make([]byte, 512)}); err == nil {
		t.Error("it is closed")
	}
}

// connected waits until a driver has a connection again.
func connected(t *testing.T, d *Driver) {
	t.Helper()
	for {
		d.mu.Lock()
		n, changed := len(d.links), d.changed
		d.mu.Unlock()
		if n > 0 {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("no connection")
		}
	}
}

// shelf has one export.
type shelf struct{ e nbdproto.Export }

func (s *shelf) Exports() []*nbdproto.Export         { return []*nbdproto.Export{&s.e} }
func (s *shelf) Export(name string) *nbdproto.Export { return &s.e }
func (s *shelf) Choose(*nbdproto.Export) bool        { return true }

// fake is a server that answers requests as a test wants.
func fake(t testing.TB, answer func(q nbdproto.Request) []byte) *Driver {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { converse(c, answer) })
		}
	})
	d := open(t, Config{Server: at(socket)})
	t.Cleanup(func() {
		_ = errors.Join(d.Close(), l.Close())
		tasks.Wait()
	})
	return d
}

func converse(c net.Conn, answer func(q nbdproto.Request) []byte) {
	defer c.Close()
	s, err := nbdproto.Accept(c, &shelf{nbdproto.Export{Size: 1 << 20, Flags: nbdproto.HasFlags | nbdproto.SendFlush, MinBlock: 1, Contexts: []string{nbdproto.BaseAllocation}}}, nil)
	if err != nil {
		return
	}
	for {
		var b [nbdproto.RequestSize]byte
		if _, err := io.ReadFull(s.Conn, b[:]); err != nil {
			return
		}
		q, err := nbdproto.ParseRequest(&b)
		if err != nil || q.Type == nbdproto.CmdDisc {
			return
		}
		if q.Type == nbdproto.CmdWrite {
			if _, err := io.CopyN(io.Discard, c, int64(q.Length)); err != nil {
				return
			}
		}
		if _, err := s.Conn.Write(answer(q)); err != nil {
			return
		}
	}
}

// TestHostileReplies has servers break the rules.
func TestHostileReplies(t *testing.T) {
	for name, reply := range map[string]func(q nbdproto.Request) []byte{
		"simple":            func(q nbdproto.Request) []byte { return nbdproto.AppendSimple(nil, q.Cookie, 0) },
		"other cookie":      func(q nbdproto.Request) []byte { return nbdproto.AppendDone(nil, q.Cookie+1) },
		"wild cookie":       func(q nbdproto.Request) []byte { return nbdproto.AppendDone(nil, 255) },
		"nothing":           func(q nbdproto.Request) []byte { return nbdproto.AppendDone(nil, q.Cookie) },
		"no magic":          func(q nbdproto.Request) []byte { return make([]byte, 64) },
		"before":            func(q nbdproto.Request) []byte { return nbdproto.AppendData(nil, q.Cookie, q.Offset-1, 512, true) },
		"after":             func(q nbdproto.Request) []byte { return nbdproto.AppendData(nil, q.Cookie, q.Offset+1, 512, true) },
		"huge":              func(q nbdproto.Request) []byte { return nbdproto.AppendData(nil, q.Cookie, q.Offset, 1<<30, true) },
		"hole past the end": func(q nbdproto.Request) []byte { return nbdproto.AppendHole(nil, q.Cookie, q.Offset, 513, true) },
		"twice": func(q nbdproto.Request) []byte {
			return nbdproto.AppendHole(nbdproto.AppendHole(nil, q.Cookie, q.Offset, 512, false), q.Cookie, q.Offset, 512, true)
		},
		"half": func(q nbdproto.Request) []byte { return nbdproto.AppendHole(nil, q.Cookie, q.Offset, 256, true) },
		"status": func(q nbdproto.Request) []byte {
			return nbdproto.AppendExtents(nil, q.Cookie, 0, []nbdproto.Extent{{Length: 512}}, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := fake(t, reply)
			if err := d.Readv(4096, [][]byte{make([]byte, 512)}); !errors.Is(err, unix.EIO) {
				t.Errorf("a read: %v", err)
			}
		})
	}
	for name, reply := range map[string]func(q nbdproto.Request) []byte{
		"other context": func(q nbdproto.Request) []byte {
			return nbdproto.AppendExtents(nil, q.Cookie, 7, []nbdproto.Extent{{Length: 512}}, true)
		},
		"empty": func(q nbdproto.Request) []byte {
			return nbdproto.AppendExtents(nil, q.Cookie, 0, []nbdproto.Extent{{}}, true)
		},
		"none": func(q nbdproto.Request) []byte { return nbdproto.AppendDone(nil, q.Cookie) },
		"two": func(q nbdproto.Request) []byte {
			b := nbdproto.AppendExtents(nil, q.Cookie, 0, []nbdproto.Extent{{Length: 512}}, false)
			return nbdproto.AppendExtents(b, q.Cookie, 0, []nbdproto.Extent{{Length: 512}}, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := fake(t, reply).BlockStatus(0, 4096); !errors.Is(err, unix.EIO) {
				t.Errorf("status: %v", err)
			}
		})
	}
	d := fake(t, func(q nbdproto.Request) []byte { return nbdproto.AppendError(nil, q.Cookie, 1234, "what") })
	if err := d.Flush(); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
	if err := d.Flush(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("an error ended the connection: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(Config{Server: at(dir + "/s")})
	if want := "Failed to connect to '" + dir + "/s': No such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	program(t, "nbdkit", "-f", "-U", dir+"/s", "memory", "4M")
	open(t, Config{Server: at(dir + "/s")})
	if _, err := Open(Config{Server: at(dir + "/s"), Context: "qemu:none"}); err == nil || err.Error() != "requested x-dirty-bitmap qemu:none not found" {
		t.Errorf("%v", err)
	}
	inet := &qapi.SocketAddress{Type: qapi.SocketAddressTypeInet, Inet: &qapi.InetSocketAddress{Host: "h", Port: "1"}}
	for want, got := range map[string]string{
		"nbd+unix:///e?socket=/s": Filename(at("/s"), "e"), "nbd+unix://?socket=/s": Filename(at("/s"), ""), "nbd://h:1/e": Filename(inet, "e"), "nbd://h:1": Filename(inet, ""),
		"": Filename(&qapi.SocketAddress{}, ""),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// FuzzReplies has a server answer anything to a read and a question for status.
func FuzzReplies(f *testing.F) {
	const cookie = 1 << 8
	f.Add(append(nbdproto.AppendData(nil, cookie, 4096, 512, true), make([]byte, 512)...))
	f.Add(nbdproto.AppendHole(nbdproto.AppendHole(nil, cookie, 4096, 256, false), cookie, 4352, 256, true))
	f.Add(nbdproto.AppendError(nil, cookie, nbdproto.EIO, "broken"))
	f.Add(nbdproto.AppendExtents(nil, cookie, 0, []nbdproto.Extent{{Length: 4096, Flags: 3}}, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, q := range []nbdproto.Request{{Type: nbdproto.CmdRead, Offset: 4096, Length: 512}, {Type: nbdproto.CmdBlockStatus, Offset: 4096, Length: 4096}} {
			l := newLink(&nbdproto.Offer{Conn: &tape{Reader: bytes.NewReader(b)}, Structured: true, Context: true})
			guard := bytes.Repeat([]byte{0xaa}, 1024)
			e, err := l.do(q, [][]byte{guard[256:512], guard[512:768]})
			if err == nil && q.Type == nbdproto.CmdBlockStatus && (e.Length == 0 || e.Length > 4096) {
				t.Errorf("%+v", e)
			}
			if len(bytes.Trim(guard[:256], "\xaa"))+len(bytes.Trim(guard[768:], "\xaa")) > 0 {
				t.Error("it wrote beside its buffer")
			}
		}
	})
}

// tape is a connection that says what it has to say.
type tape struct {
	net.Conn
	*bytes.Reader
}

func (p *tape) Read(b []byte) (int, error)  { return p.Reader.Read(b) }
func (p *tape) Write(b []byte) (int, error) { return len(b), nil }
func (p *tape) Close() error                { return nil }
