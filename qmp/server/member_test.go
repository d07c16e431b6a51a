package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// member is what a process with clients is to do.
type member struct {
	Path            string
	Listening, Busy int
	Last            int64 // number of the last event
}

// account is what it tells: how far its slowest client is, and at the end how long
// commands took.
type account struct {
	Next     int64
	Commands int
	P50, P99 time.Duration
}

// role is the variable of the environment that makes a test binary a member.
const role = "HV_CROWD"

// process is a running member.
type process struct {
	cmd  *exec.Cmd
	over io.Closer // ends its commands
	next atomic.Int64
	last chan account // what it told last
}

// enter starts a member and returns when all of its clients are connected.
func enter(t testing.TB, m member) *process {
	t.Helper()
	spec, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMember$", "-test.timeout=5m"), last: make(chan account, 1)}
	p.cmd.Env = append(os.Environ(), role+"="+string(spec))
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.over = in
	ready := make(chan struct{})
	go p.follow(out, ready)
	<-ready
	return p
}

// follow reads what the member tells until it ends.
func (p *process) follow(out io.Reader, ready chan struct{}) {
	var last account
	tell := sync.OnceFunc(func() { close(ready) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if json.Unmarshal(lines.Bytes(), &last) == nil {
			p.next.Store(last.Next)
			tell()
		} else if !bytes.Equal(lines.Bytes(), []byte("PASS")) {
			fmt.Println(lines.Text())
		}
	}
	p.next.Store(1 << 60) // it holds nobody up
	tell()
	p.last <- last
}

// leave ends the commands, and returns the account once the clients have all events.
func (p *process) leave(t testing.TB) account {
	t.Helper()
	p.over.Close()
	last := <-p.last
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a process with clients: %v", err)
	}
	return last
}

// TestMember is a process of TestManyClients. On its own it has nothing to do.
func TestMember(t *testing.T) {
	spec := os.Getenv(role)
	if spec == "" {
		return
	}
	var m member
	if err := json.Unmarshal([]byte(spec), &m); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		trips []time.Duration
		all   []*listener
	)
	for range m.Listening {
		all = append(all, &listener{peer: dialFor(t, m.Path, ""), last: m.Last})
	}
	crowd := newHall(t, slices.Clone(all))
	wg.Go(crowd.listen)
	for range m.Busy {
		l := &listener{peer: dialFor(t, m.Path, enableOOB), last: m.Last}
		all = append(all, l)
		wg.Go(func() {
			d := l.command(over)
			mu.Lock()
			defer mu.Unlock()
			trips = append(trips, d...)
		})
	}
	end := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		report(all, end)
	}()
	wg.Wait()
	close(end)
	<-told
	slices.Sort(trips)
	a := account{Next: m.Last + 1, Commands: len(trips)}
	if n := len(trips); n > 0 {
		a.P50, a.P99 = trips[n/2], trips[n*99/100]
	}
	tell(a)
}

// report tells how far the slowest client is, until the end.
func report(all []*listener, end <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		a := account{Next: 1 << 60}
		for _, l := range all {
			a.Next = min(a.Next, l.next.Load())
		}
		tell(a)
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

func tell(a account) {
	b, err := json.Marshal(a)
	if err == nil {
		fmt.Printf("%s\n", b)
	}
}

// listener is a client that knows which events must come. It looks at the first
// and the last offset of what it has read and at how many lines lie between, so
// that a thousand of them leave the processor to the server.
type listener struct {
	*peer
	buf     []byte
	have    int          // bytes in buf
	next    atomic.Int64 // event
	last    int64
	sent    int // commands
	replies int
}

// dialFor is negotiated, for a client that lives as long as it takes.
func dialFor(t *testing.T, path, args string) *peer {
	t.Helper()
	p := negotiated(t, path, args)
	if err := p.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// read takes what there is. It returns false after a failure.
func (l *listener) read() bool {
	if l.buf == nil {
		l.buf = make([]byte, 64<<10)
	}
	n, err := l.Read(l.buf[l.have:])
	left, ok := l.took(l.buf[:l.have+n], err)
	l.have = copy(l.buf, left)
	return ok
}

// took checks what was read, and returns what is no whole line.
func (l *listener) took(b []byte, err error) (left []byte, ok bool) {
	if err != nil {
		l.t.Errorf("after event %d: %v", l.next.Load()-1, err)
		l.next.Store(1 << 60)
		return nil, false
	}
	end := bytes.LastIndexByte(b, '\n') + 1
	return b[end:], end == 0 || l.check(b[:end])
}

// key is before an event's number.
var key = []byte(`"offset": `)

// check takes whole lines.
func (l *listener) check(b []byte) bool {
	lines, events, next := int64(bytes.Count(b, []byte("\n"))), int64(0), l.next.Load()
	if at := bytes.Index(b, key); at >= 0 {
		first, last := number(b[at:]), number(b[bytes.LastIndex(b, key):])
		if events = last - first + 1; first != next || events < 1 {
			l.t.Errorf("events %d to %d, want them from %d", first, last, next)
			l.next.Store(1 << 60)
			return false
		}
		l.next.Store(next + events)
	}
	l.replies += int(lines - events)
	if l.replies > l.sent || events > lines {
		l.t.Errorf("%d replies to %d commands, %d lines for %d events from %d", l.replies, l.sent, lines, events, next)
		l.next.Store(1 << 60)
		return false
	}
	return true
}

// number returns the number of the event whose key b begins with.
func number(b []byte) int64 {
	b = b[len(key):]
	n, err := strconv.ParseInt(string(b[:bytes.IndexByte(b, ',')]), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// listen reads all events.
func (l *listener) listen() {
	for l.next.Load() <= l.last && l.read() {
	}
}

// command sends commands one after the other until it is over, reads their replies
// among events, and returns how long each took.
func (l *listener) command(over <-chan struct{}) (trips []time.Duration) {
	think := time.NewTicker(10 * time.Millisecond)
	defer think.Stop()
	for {
		select {
		case <-over:
			l.listen()
			return trips
		case <-think.C:
		}
		began := time.Now()
		l.sent++
		l.send(`{"execute": "query-status"}`)
		for l.replies < l.sent {
			if !l.read() {
				return trips
			}
		}
		trips = append(trips, time.Since(began))
	}
}
