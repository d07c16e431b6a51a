package chardev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo-terminal. It is connected while somebody has its other end open.
type Terminal struct {
	port
	Path   string // the other end
	link   string // a symbolic link to it, or ""
	master *os.File
	fd     int      // of master
	opens  *os.File // inotify: who opens and closes the other end
	start  sync.Once

	// Guarded by port.mu. A visit is the time from when somebody opens the other end until nobody
	// has it open.
	users   int // who have it open
	visits  int // that have begun
	served  int // the latest that was connected
	serving bool
}

// openPTY makes a pseudo-terminal.
func openPTY(o Options, log io.WriteCloser) (Backend, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("pty: %w", err)
	}
	t := &Terminal{master: os.NewFile(uintptr(fd), "ptmx"), fd: fd}
	t.init()
	t.log = log
	if err = t.unlock(); err == nil {
		t.opens, err = watchVisits(t.Path)
	}
	if err == nil && o.Path != "" {
		err = os.Symlink(t.Path, o.Path)
	}
	if err != nil {
		t.log = nil // the caller's, as there is no terminal
		return nil, errors.Join(fmt.Errorf("pty: %w", err), t.Close())
	}
	t.link = o.Path
	return t, nil
}

// unlock makes the other end usable, and raw, which it stays for all who open it.
func (t *Terminal) unlock() error {
	if err := unix.IoctlSetPointerInt(t.fd, unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(t.fd, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	t.Path = "/dev/pts/" + strconv.Itoa(n)
	slave, err := unix.Open(t.Path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = rawMode(slave, false, false)
	return errors.Join(err, unix.Close(slave))
}

// watchVisits returns a file from which an event can be read each time that path is opened or
// closed.
func watchVisits(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_CLOSE); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Filename tells the path.
func (t *Terminal) Filename() string { return "pty:" + t.Path }

// Attach starts serving users with the first frontend.
func (t *Terminal) Attach(f Frontend) {
	t.port.Attach(f)
	if f != nil {
		t.start.Do(func() {
			t.work.Go(t.watch)
			t.work.Go(t.run)
		})
	}
}

// watch counts visits until the terminal is closed.
func (t *Terminal) watch() {
	events := make([]byte, 4096)
	for {
		n, err := t.opens.Read(events)
		if err != nil {
			return
		}
		t.count(events[:n])
	}
}

// count takes inotify's events. A new visit ends the one that is served: its end may not be seen
// in any other way.
func (t *Terminal) count(events []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		mask, name := binary.NativeEndian.Uint32(events[4:]), binary.NativeEndian.Uint32(events[12:])
		switch {
		case mask&unix.IN_OPEN != 0 && t.users == 0:
			t.visits++
			if t.serving {
				_ = t.master.SetDeadline(time.Now())
			}
			fallthrough
		case mask&unix.IN_OPEN != 0:
			t.users++
		case mask&unix.IN_CLOSE != 0:
			t.users = max(0, t.users-1)
		}
		events = events[unix.SizeofInotifyEvent+int(name):]
	}
	// Events in a row that are alike come as one.
	poll := []unix.PollFd{{Fd: int32(t.fd)}}
	if _, err := unix.Poll(poll, 0); err == nil && poll[0].Revents&unix.POLLHUP != 0 {
		t.users = 0
	}
	t.cond.Broadcast()
}

// run serves one visit after the other.
func (t *Terminal) run() {
	for t.awaitVisit() {
		t.serve(terminalUser{t.master, t.fd})
	}
}

// awaitVisit waits for a visit that was not served; false means that the terminal was closed.
func (t *Terminal) awaitVisit() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.serving = false; t.served == t.visits; t.cond.Wait() {
		if t.ended {
			return false
		}
	}
	t.served, t.serving = t.visits, true
	_ = t.master.SetDeadline(time.Time{})
	return !t.ended
}

// terminalUser is who has the other end open during a visit.
type terminalUser struct {
	master *os.File
	fd     int // of master
}

// Read reports the end when nobody has the other end open, or when that was so and somebody else
// has by now. What is there to be read comes first.
func (v terminalUser) Read(p []byte) (int, error) {
	n, err := v.master.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		n, err = unix.Read(v.fd, p)
		if n = max(0, n); n == 0 {
			err = io.EOF
		}
	}
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}

func (v terminalUser) Write(p []byte) (int, error) { return v.master.Write(p) }

// Close makes Read and Write return; the terminal stays.
func (v terminalUser) Close() error { return v.master.SetDeadline(time.Now()) }

// Close ends the terminal.
func (t *Terminal) Close() error {
	var errs []error
	if t.opens != nil {
		errs = append(errs, t.opens.Close())
	}
	errs = append(errs, t.end(func() { _ = t.master.SetWriteDeadline(time.Now().Add(time.Second)) }), t.master.Close())
	if t.link != "" {
		errs = append(errs, os.Remove(t.link))
	}
	return errors.Join(errs...)
}
