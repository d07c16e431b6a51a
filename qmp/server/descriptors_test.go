package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// cmdTake takes the command's descriptor and writes "taken by this" to it.
var cmdTake = qapi.Command[qapi.Empty, qapi.Empty]{Name: "x-take"}

func takes(c *Config) {
	dispatch.Register(c.Table, cmdTake, func(ctx context.Context, _ qapi.Empty) (qapi.Empty, error) {
		fd, ok := Descriptor(ctx)
		if !ok {
			return qapi.Empty{}, errors.New("none")
		}
		_, err := unix.Write(fd, []byte("taken"))
		return qapi.Empty{}, errors.Join(err, unix.Close(fd))
	})
}

// pass sends text with the writing ends of n pipes and returns the reading ones.
func (p *peer) pass(text string, n int) (ends []*os.File) {
	p.t.Helper()
	var fds []int
	for range n {
		r, w, err := os.Pipe()
		if err != nil {
			p.t.Fatal(err)
		}
		defer w.Close()
		p.t.Cleanup(func() { r.Close() })
		r.SetDeadline(time.Now().Add(patience))
		ends, fds = append(ends, r), append(fds, int(w.Fd()))
	}
	if _, _, err := p.Conn.(*net.UnixConn).WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil); err != nil {
		p.t.Fatal(err)
	}
	return ends
}

// got reads to the end of a pipe, which comes when the server has closed it.
func got(t testing.TB, r *os.File) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("the server keeps a descriptor open: %v", err)
	}
	return string(b)
}

const take = `{"execute": "x-take"}`

func TestDescriptors(t *testing.T) {
	p := negotiated(t, newRig(t, takes).listen(Monitor{}), "")
	p.send(take)
	p.expect("none")
	ends := p.pass(take, 2)
	p.expect("return")
	if a, b := got(t, ends[0]), got(t, ends[1]); a != "taken" || b != "" {
		t.Errorf("%q and %q", a, b)
	}
	p.send(take)
	p.expect("none")
	// It may come with less than a command, before it, and while others are executed.
	end := p.pass(" ", 1)[0]
	p.send(`{"execute": "query-status"}` + take)
	p.expect(running, "return")
	if s := got(t, end); s != "taken" {
		t.Errorf("%q", s)
	}
	// What nobody took is closed when the next comes, or at the end.
	old, last := p.pass(`{"execute": "query-status"}`, 1)[0], p.pass(`{"execute": "query-status"}`, 3)
	p.expect(running, running)
	got(t, old)
	p.Close()
	for _, end := range last {
		got(t, end)
	}
}

// TestDescriptorsInOrder sends many commands at once, of which each has its own.
func TestDescriptorsInOrder(t *testing.T) {
	for _, args := range []string{"", enableOOB} {
		p := negotiated(t, newRig(t, takes).listen(Monitor{}), args)
		var ends []*os.File
		for range 30 {
			ends = append(ends, p.pass(take, 1)...)
		}
		for i, end := range ends {
			p.expect(`{"return": {}}`)
			if s := got(t, end); s != "taken" {
				t.Errorf("command %d: %q", i, s)
			}
		}
	}
}

// TestDescriptorsOfOthers are not to be had.
func TestDescriptorsOfOthers(t *testing.T) {
	path := newRig(t, takes).listen(Monitor{})
	a, b := negotiated(t, path, ""), negotiated(t, path, "")
	end := a.pass(`{"execute": "query-status"}`, 1)[0]
	a.expect(running)
	b.send(take)
	b.expect("none")
	a.send(take)
	a.expect("return")
	if s := got(t, end); s != "taken" {
		t.Errorf("%q", s)
	}
	if _, ok := Descriptor(context.Background()); ok {
		t.Error("a descriptor without a session")
	}
}

func FuzzParseRights(f *testing.F) {
	f.Add([]byte{})
	f.Add(unix.UnixCredentials(&unix.Ucred{Pid: 1}))
	f.Add(fmt.Append(nil, "no control message at all"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(parseRights(b)); 4*n > len(b) {
			t.Errorf("%d descriptors in %d bytes", n, len(b))
		}
	})
}
