package chardev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Open makes a backend. A server socket that waits does so here, until ctx
// ends.
func Open(ctx context.Context, o Options) (Backend, error) {
	var log io.WriteCloser
	if o.LogFile != "" {
		f, err := o.Host.openOutput(o.LogFile, o.LogAppend)
		if err != nil {
			return nil, fmt.Errorf("chardev log: %w", err)
		}
		log = f
	}
	b, err := open(ctx, o, log)
	if err != nil && log != nil {
		log.Close()
	}
	return b, err
}

func open(ctx context.Context, o Options, log io.WriteCloser) (Backend, error) {
	switch o.Kind {
	case "null", "vc":
		if log == nil {
			return Null{o.Kind}, nil
		}
		return newStream(o.Kind, log, discard{}, nil), nil
	case "stdio":
		return openStdio(o, log)
	case "pty":
		return openPTY(o, log)
	case "file":
		return openFile(o, log)
	case "serial":
		return openSerial(o, log)
	case "pipe":
		return openPipe(o, log)
	case "udp":
		return openUDP(ctx, o, log)
	case "socket":
		return openSocket(ctx, o, log)
	case "ringbuf", "memory":
		r, err := newRingbuf(o.Kind, o.Size)
		if err != nil {
			return nil, err
		}
		r.log = log
		return r, nil
	}
	return nil, fmt.Errorf("'%s' is not a valid char driver name", o.Kind)
}

func (h Host) openOutput(path string, add bool) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if add {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	return h.openFile(path, flags)
}

// openFile writes to a file and, if there is one for that, reads another.
func openFile(o Options, log io.WriteCloser) (Backend, error) {
	out, err := o.Host.openOutput(o.Path, o.Append)
	if err != nil {
		return nil, err
	}
	if o.Input == "" {
		return newStream(o.Kind, log, writeOnly{out}, nil), nil
	}
	in, err := o.Host.openFile(o.Input, os.O_RDONLY|syscall.O_NONBLOCK)
	if err != nil {
		out.Close()
		return nil, err
	}
	return newStream(o.Kind, log, twoWays{in, out}, nil), nil
}

// openSerial uses a serial port of the host.
func openSerial(o Options, log io.WriteCloser) (Backend, error) {
	f, err := o.Host.openFile(o.Path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	c, err := f.SyscallConn()
	restore := func() {}
	if err == nil {
		err = errors.Join(c.Control(func(fd uintptr) { restore, err = rawMode(int(fd), false, false) }), err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return newStream(o.Kind, log, serialPort{f, restore}, nil), nil
}

// serialPort is a terminal that gets its settings back.
type serialPort struct {
	*os.File
	restore func()
}

// Close restores the settings while it is open.
func (p serialPort) Close() error {
	p.restore()
	return p.File.Close()
}

// writeOnly is a file that never has input: reading it waits for its end.
type writeOnly struct{ *os.File }

// Read reports the end at once; a stream keeps such a connection open.
func (writeOnly) Read([]byte) (int, error) { return 0, errNoInput }

type discard struct{}

func (discard) Read([]byte) (int, error)    { return 0, errNoInput }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// errNoInput says that a connection has output only.
var errNoInput = errors.New("no input")

// Stream is a backend with one connection for its whole life.
type Stream struct {
	port
	whole  io.ReadWriteCloser
	done   func() // restores what opening changed, or nil
	name   string // for query-chardev
	served bool
}

func newStream(name string, log io.WriteCloser, conn io.ReadWriteCloser, done func()) *Stream {
	s := &Stream{name: name, whole: conn, done: done}
	s.init()
	s.log = log
	return s
}

// Filename returns the kind.
func (s *Stream) Filename() string { return s.name }

// Attach starts the stream with its first frontend.
func (s *Stream) Attach(f Frontend) {
	s.mu.Lock()
	begin := !s.served && f != nil
	s.served = s.served || begin
	s.mu.Unlock()
	if begin {
		s.mu.Lock()
		s.front, s.conn = f, s.whole
		s.mu.Unlock()
		f.Event(Opened)
		s.work.Go(func() { s.send(s.whole) })
		s.work.Go(s.take)
		return
	}
	s.port.Attach(f)
}

// take takes input. When there is no more of it the other side has gone as far as the
// frontend is concerned, but output is still sent.
func (s *Stream) take() {
	s.receive(s.whole)
	s.mu.Lock()
	s.deaf = true
	ended := s.ended
	s.mu.Unlock()
	if !ended {
		s.event(Closed)
	}
}

// Close sends what is queued, ends the goroutines and restores the terminal.
func (s *Stream) Close() error {
	err := s.end(func() {
		if f, ok := s.whole.(interface{ SetDeadline(time.Time) error }); ok {
			_ = f.SetDeadline(time.Now().Add(time.Second))
		}
	})
	if s.done != nil {
		s.done()
	}
	return err
}

// openStdio uses the terminal, in raw mode if it is one.
func openStdio(o Options, log io.WriteCloser) (Backend, error) {
	restore, err := rawMode(0, o.Signal, true)
	if err != nil {
		return nil, err
	}
	in, err := pollable(0, "stdin")
	if err != nil {
		restore()
		return nil, err
	}
	return newStream(o.Kind, log, stdio{in, os.Stdout}, restore), nil
}

type stdio struct {
	in  *os.File
	out *os.File
}

func (s stdio) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

// Close ends reading; standard output stays for messages.
func (s stdio) Close() error { return s.in.Close() }

// pollable returns a copy of descriptor fd whose reads end when it is closed,
// if its kind can be polled.
func pollable(fd int, name string) (*os.File, error) {
	// A fresh description by /proc keeps O_NONBLOCK away from the shell's own.
	if f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
		return f, nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(dup), name), nil
}

// rawMode puts a terminal into raw mode, but for signals of its keys and for line ends
// of its output, and returns how to undo that. What is no terminal is left alone.
func rawMode(fd int, signals, lines bool) (func(), error) {
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}, nil
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	if raw.Oflag |= unix.OPOST; !lines {
		raw.Oflag &^= unix.OPOST
	}
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.IEXTEN
	if !signals {
		raw.Lflag &^= unix.ISIG
	}
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}

// openPipe uses PATH.in and PATH.out if there are such, else PATH both ways.
func openPipe(o Options, log io.WriteCloser) (Backend, error) {
	const flags = os.O_RDWR | syscall.O_NONBLOCK
	in, err := o.Host.openFile(o.Path+".in", flags)
	if err == nil {
		out, err := o.Host.openFile(o.Path+".out", flags)
		if err == nil {
			return newStream(o.Kind, log, twoWays{in, out}, nil), nil
		}
		in.Close()
	}
	both, err := o.Host.openFile(o.Path, flags)
	if err != nil {
		return nil, err
	}
	return newStream(o.Kind, log, both, nil), nil
}

type twoWays struct{ in, out *os.File }

func (t twoWays) Read(p []byte) (int, error)  { return t.in.Read(p) }
func (t twoWays) Write(p []byte) (int, error) { return t.out.Write(p) }
func (t twoWays) Close() error                { return errors.Join(t.in.Close(), t.out.Close()) }
