// Package passt runs the program passt, which gives a guest the host's own network without any
// rights of ours: frames go to it over a stream socket, and it makes connections of its own of
// what is in them.
//
// Start and Stop are for one goroutine at a time. A Process has a goroutine that waits for its
// end, and that Stop waits for.
//
// Follows passt(1). It depends on nothing of ours.
package passt

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Config is what the guest's network looks like. What is not said is as on the host.
type Config struct {
	NoIPv4, NoIPv6 bool
	Address        netip.Addr // of the guest
	Prefix         int        // of its network, 0 for the host's
	Gateway        netip.Addr // where the guest finds the host
	DNS            netip.Addr
	Search         []string // domains
	Forwards       []Forward
}

// Forward is a port of the host that is the guest's.
type Forward struct {
	UDP         bool
	Host        netip.Addr // invalid for any
	Port, Guest uint16
}

// Process is passt, as it runs.
type Process struct {
	// Conn carries frames, each behind its length.
	Conn net.Conn

	cmd   *exec.Cmd
	wg    sync.WaitGroup
	errs  head
	ended func(error)
}

// ParseForward reads [tcp|udp]:[HOST]:PORT-[GUEST]:PORT, QEMU's way to say it. The guest's address
// is the only one that it has, and need not be said.
func ParseForward(s string) (Forward, error) {
	bad := func(what string) (Forward, error) {
		return Forward{}, fmt.Errorf("Invalid host forwarding rule '%s' (%s)", s, what)
	}
	host, guest, ok := strings.Cut(s, "-")
	parts, ends := strings.SplitN(host, ":", 2), strings.LastIndexByte(guest, ':')
	if !ok || len(parts) != 2 || ends < 0 {
		return bad("PROTOCOL:HOST:PORT-GUEST:PORT is expected")
	}
	f := Forward{UDP: parts[0] == "udp"}
	if parts[0] != "" && parts[0] != "tcp" && !f.UDP {
		return bad("Bad protocol name")
	}
	at := strings.LastIndexByte(parts[1], ':')
	if at < 0 {
		return bad("Missing : separator")
	}
	if addr := strings.Trim(parts[1][:at], "[]"); addr != "" {
		var err error
		if f.Host, err = netip.ParseAddr(addr); err != nil {
			return bad("Bad host address")
		}
	}
	for _, p := range []struct {
		text string
		to   *uint16
		what string
	}{{parts[1][at+1:], &f.Port, "Bad host port"}, {guest[ends+1:], &f.Guest, "Bad guest port"}} {
		n, err := strconv.ParseUint(p.text, 10, 16)
		if err != nil || n == 0 {
			return bad(p.what)
		}
		*p.to = uint16(n)
	}
	return f, nil
}

// arguments returns passt's, but for its socket.
func (c *Config) arguments() []string {
	args := []string{"--foreground", "--quiet"}
	add := func(on bool, more ...string) {
		if on {
			args = append(args, more...)
		}
	}
	add(c.NoIPv4, "--ipv6-only")
	add(c.NoIPv6, "--ipv4-only")
	add(c.Address.IsValid(), "--address", c.Address.String())
	add(c.Prefix > 0, "--netmask", strconv.Itoa(c.Prefix))
	add(c.Gateway.IsValid(), "--gateway", c.Gateway.String())
	add(c.DNS.IsValid(), "--dns", c.DNS.String())
	add(len(c.Search) > 0, "--search", strings.Join(c.Search, " "))
	for _, f := range c.Forwards {
		what := fmt.Sprintf("%d:%d", f.Port, f.Guest)
		if f.Host.IsValid() {
			what = f.Host.String() + "/" + what
		}
		if f.UDP {
			args = append(args, "--udp-ports", what)
		} else {
			args = append(args, "--tcp-ports", what)
		}
	}
	return args
}

// Start runs passt. ended is told, on another goroutine, when it has ended by itself.
func Start(cfg Config, ended func(error)) (*Process, error) {
	path, err := exec.LookPath("passt")
	if err != nil {
		return nil, errors.New("the program passt is not installed: apt-get install passt")
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "passt"), os.NewFile(uintptr(fds[1]), "passt")
	defer ours.Close()
	defer theirs.Close()
	p := &Process{cmd: exec.Command(path, append(cfg.arguments(), "--fd", "3")...), ended: ended}
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.Stderr = &p.errs
	if p.Conn, err = net.FileConn(ours); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, p.Conn.Close())
	}
	p.wg.Go(p.wait)
	return p, nil
}

// wait waits for the end.
func (p *Process) wait() {
	err := p.cmd.Wait()
	if !p.errs.stop() {
		p.ended(fmt.Errorf("passt has ended: %w: %s", errors.Join(err, errEnded), p.errs.text()))
	}
}

var errEnded = errors.New("there is no network without it")

// Stop ends passt, after Conn was closed.
func (p *Process) Stop() {
	if !p.errs.stop() {
		_ = p.cmd.Process.Kill()
	}
	p.wg.Wait()
}

// head keeps the beginning of what the program says, and whether its end is known.
type head struct {
	mu   sync.Mutex
	said []byte
	over bool
}

func (h *head) Write(b []byte) (int, error) {
	const limit = 4096
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, b[:min(len(b), max(0, limit-len(h.said)))]...)
	return len(b), nil
}

func (h *head) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.TrimSpace(string(h.said))
}

// stop notes the end, and reports whether it was known.
func (h *head) stop() (known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, h.over = h.over, true
	return known
}
