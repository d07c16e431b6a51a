package tap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// openHelper has a program such as qemu-bridge-helper, which may do what we may not, open
// a tap and hand it over through a socket.
func (t *Tap) openHelper() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair() failed: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "helper")
	defer ours.Close()
	cmd := helperCommand(t.cfg.Helper, t.cfg.Bridge)
	cmd.ExtraFiles = []*os.File{theirs}
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := errors.Join(cmd.Start(), theirs.Close()); err != nil {
		return fmt.Errorf("helper %s: %w", t.cfg.Helper, err)
	}
	fd, err := receiveDescriptor(fds[0])
	if e := cmd.Wait(); e != nil {
		if err == nil {
			_ = unix.Close(fd)
		}
		return fmt.Errorf("bridge helper failed: %w: %s", e, strings.TrimSpace(string(out.text)))
	}
	if err != nil {
		return fmt.Errorf("failed to recv file descriptor: %w", err)
	}
	if err := t.adopt(fd); err != nil {
		if !slices.Contains(t.fds, fd) {
			_ = unix.Close(fd)
		}
		return err
	}
	return nil
}

// tail keeps the beginning of what a program says.
type tail struct{ text []byte }

func (w *tail) Write(b []byte) (int, error) {
	const limit = 4096
	w.text = append(w.text, b[:min(len(b), limit-min(limit, len(w.text)))]...)
	return len(b), nil
}

// helperCommand runs a helper, which is a program or a line for the shell. Its socket is
// descriptor 3.
func helperCommand(helper, bridge string) *exec.Cmd {
	args := []string{"--use-vnet", "--fd=3"}
	if !strings.Contains(helper, "--br=") {
		args = append(args, "--br="+bridge)
	}
	if strings.ContainsAny(helper, " \t") {
		return exec.Command("/bin/sh", "-c", helper+" "+strings.Join(args, " "))
	}
	return exec.Command(helper, args...)
}

// receiveDescriptor waits for the descriptor that the other end of a socket sends.
func receiveDescriptor(socket int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	var b [1]byte
	_, n, _, _, err := unix.Recvmsg(socket, b[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 || len(msgs[0].Data) != 4 {
		return -1, errors.New("there was none")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}
