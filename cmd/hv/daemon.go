package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// daemonVar names the descriptor that a daemon reports to its parent on.
const daemonVar = "HV_DAEMON_FD"

func isDaemon() bool { return os.Getenv(daemonVar) != "" }

// daemonize runs this program again in a session of its own, and returns once that
// is ready, with status 0, or has failed, with its message. A Go program cannot
// fork: its threads would be lost.
func daemonize() (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	fd, err := inheritAll(w)
	if err != nil {
		return 1, err
	}
	// Standard error is the parent's until the daemon is ready, so that its
	// message reaches the user.
	cmd := &exec.Cmd{
		Path: self, Args: os.Args, Env: append(os.Environ(), daemonVar+"="+strconv.Itoa(fd)),
		Stderr: os.Stderr, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	cmd.ExtraFiles = inherited(fd, w)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("-daemonize: %w", err)
	}
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return 1, err
	}
	if bytes.Equal(b, []byte("ready")) {
		return 0, nil
	}
	if err := cmd.Wait(); cmd.ProcessState == nil {
		return 1, err
	}
	return max(cmd.ProcessState.ExitCode(), 1), nil
}

// inheritAll returns the number that w has in the child: above every descriptor
// that is open here, so that those keep theirs.
func inheritAll(w *os.File) (int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	top := int(w.Fd())
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			top = max(top, n)
		}
	}
	return top + 1, nil
}

// inherited lists the files for descriptors 3 to last of a child: those that this
// process was given itself, and w as the last.
func inherited(last int, w *os.File) []*os.File {
	files := make([]*os.File, last-2)
	for fd := 3; fd < last; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			files[fd-3] = os.NewFile(uintptr(fd), "inherited")
		}
	}
	files[last-3] = w
	return files
}

// releaseParent tells the waiting parent that all is up, and lets go of its
// standard streams.
func releaseParent() error {
	if !isDaemon() {
		return nil
	}
	fd, err := strconv.Atoi(os.Getenv(daemonVar))
	if err != nil {
		return fmt.Errorf("%s: %w", daemonVar, err)
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	for std := range 3 {
		if err := unix.Dup2(null, std); err != nil {
			return err
		}
	}
	w := os.NewFile(uintptr(fd), "parent")
	_, err = w.WriteString("ready")
	return errors.Join(err, w.Close(), unix.Close(null), os.Unsetenv(daemonVar))
}
