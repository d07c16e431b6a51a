package chardev

import (
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
	opens  *os.File // becomes readable when somebody opens the other end
	start  sync.Once
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
		t.opens, err = watchOpens(t.Path)
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

// watchOpens returns a file from which an event can be read each time that path is
// opened.
func watchOpens(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN); err != nil {
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
		t.start.Do(func() { t.work.Go(t.run) })
	}
}

// run serves one user after the other.
func (t *Terminal) run() {
	for t.awaitUser() {
		_ = t.master.SetDeadline(time.Time{})
		t.serve(terminalUser{t.master})
	}
}

// awaitUser waits until somebody has the other end open; false means that the terminal
// was closed.
func (t *Terminal) awaitUser() bool {
	events := make([]byte, 4096)
	for {
		t.mu.Lock()
		ended := t.ended
		t.mu.Unlock()
		poll := []unix.PollFd{{Fd: int32(t.fd)}}
		_, err := unix.Poll(poll, 0)
		switch {
		case ended:
			return false
		case err == nil && poll[0].Revents&unix.POLLHUP == 0:
			return true
		}
		if _, err := t.opens.Read(events); err != nil {
			return false
		}
	}
}

// terminalUser is the time from when somebody opens the other end until it is closed.
type terminalUser struct{ master *os.File }

// Read reports the end when nobody has the other end open.
func (u terminalUser) Read(p []byte) (int, error) {
	n, err := u.master.Read(p)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}

func (u terminalUser) Write(p []byte) (int, error) { return u.master.Write(p) }

// Close makes Read and Write return; the terminal stays.
func (u terminalUser) Close() error { return u.master.SetDeadline(time.Now()) }

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
