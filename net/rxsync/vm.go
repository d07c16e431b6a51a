package rxsync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hv/net/rxfilter"
	"hv/qmp/client"
	"hv/qmp/qapi"
)

// VM is a VM as its QMP socket shows it.
type VM struct {
	Client *client.Client
	// PID is the VM's process, whose descriptors tell which links they are; 0 if it is not
	// known.
	PID int
}

// Peer returns the process at the other end of a connection, 0 if it is on no Unix socket.
func Peer(c net.Conn) int {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// Filters asks what the guest wants one NIC to receive, or all if there is no name.
func (v *VM) Filters(ctx context.Context, name string) ([]rxfilter.Guest, error) {
	var args qapi.QueryRxFilterArgs
	if name != "" {
		args.Name = &name
	}
	list, err := client.Call(ctx, v.Client, qapi.CmdQueryRxFilter, args)
	if err != nil {
		return nil, err
	}
	out := make([]rxfilter.Guest, len(list))
	for i := range list {
		if out[i], err = rxfilter.FromQMP(&list[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// NIC is a NIC and what it is connected to.
type NIC struct {
	Name, Model string
	MAC         string // the one that it was made with
	Netdev      string // "" if it has none
	Kind        string // of the netdev
	// about is what the VM says of the netdev.
	about map[string]string
}

// NICs asks for the NICs and what they are connected to.
func (v *VM) NICs(ctx context.Context) ([]NIC, error) {
	var text string
	args := map[string]string{"command-line": "info network"}
	if err := v.Client.Execute(ctx, qapi.CmdHumanMonitorCommand.Name, args, &text); err != nil {
		return nil, err
	}
	return parseNetwork(text), nil
}

// parseNetwork reads what `info network` prints: a line for each NIC, and after it one for
// its netdev; with several queues they come again.
//
//	nic0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56
//	 \ net0: index=0,type=tap,fd=3
func parseNetwork(text string) (out []NIC) {
	var last *NIC
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		below, isBelow := strings.CutPrefix(line, ` \ `)
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, ` \ `), ": ")
		if !ok {
			continue
		}
		f := fields(rest)
		switch {
		case f["index"] != "0":
			last = nil
		case !isBelow && f["type"] == "nic":
			out = append(out, NIC{Name: name, Model: f["model"], MAC: f["macaddr"]})
			last = &out[len(out)-1]
		case isBelow && last != nil:
			name, _, _ = strings.Cut(below, ": ")
			last.Netdev, last.Kind, last.about = name, f["type"], f
			last = nil
		}
	}
	return out
}

// fields reads NAME=VALUE with commas between them.
func fields(text string) map[string]string {
	out := map[string]string{}
	for _, word := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(word, "=")
		if _, again := out[name]; !again {
			out[name] = value
		}
	}
	return out
}

// Link returns the name of the host's link that a NIC is on, "" if it is on none.
func (v *VM) Link(n *NIC) (string, error) {
	switch {
	case n.Netdev == "":
		return "", errors.New("it has no netdev")
	case n.about["ifname"] != "":
		return n.about["ifname"], nil
	case n.about["fd"] == "":
		return "", fmt.Errorf("a netdev of type %s has no link", n.Kind)
	}
	first, _, _ := strings.Cut(n.about["fd"], ":")
	fd, err := strconv.Atoi(first)
	if err != nil || v.PID == 0 {
		return "", fmt.Errorf("the VM does not tell which link descriptor %s is", first)
	}
	return linkOfFD(v.PID, fd)
}

// linkOfFD returns the name of the tap or macvtap that a process has open.
func linkOfFD(pid, fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), &st); err != nil {
		return "", fmt.Errorf("descriptor %d of process %d: %w", fd, pid, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		if st.Rdev == unix.Mkdev(10, 200) { // /dev/net/tun
			if name := tapName(pid, fd); name != "" {
				return name, nil
			}
		}
		number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		nodes, _ := filepath.Glob("/sys/class/net/*/macvtap/tap*/dev")
		for _, path := range nodes {
			if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == number {
				return strings.Split(path, "/")[4], nil
			}
		}
	}
	return "", fmt.Errorf("descriptor %d of process %d is no tap or macvtap of ours", fd, pid)
}

// tapName reads the name of a tap from what the kernel tells of a descriptor.
func tapName(pid, fd int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	for _, line := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "iff:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
