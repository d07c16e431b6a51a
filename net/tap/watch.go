package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher waits for the end of a device. A descriptor of a macvtap that is gone says nothing
// when it is read and written, but the kernel's news of links do.
type watcher struct {
	news *os.File
	wg   sync.WaitGroup
}

// watch has lost told when the device is gone. One of another network namespace cannot be
// watched.
func (t *Tap) watch(lost func(error)) {
	link, err := net.InterfaceByName(t.name)
	if err != nil {
		return
	}
	news, err := linkNews(link.Index)
	if err != nil {
		return
	}
	w := &watcher{news: news}
	fd := t.fds[0]
	w.wg.Go(func() {
		b := make([]byte, 4096)
		for {
			_, err := news.Read(b)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if _, gone := getIface(fd); gone != nil {
				lost(fmt.Errorf("%s: %w", t.name, gone))
				return
			}
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
		}
	})
	t.watcher = w
}

// close ends the watch, if there is one.
func (w *watcher) close() {
	if w != nil {
		w.news.Close()
		w.wg.Wait()
	}
}

// linkNews returns a socket that can be read when the link with an index goes, and then only, so
// that an idle VM is not woken for the links of others (rtnetlink(7)).
func linkNews(index int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// Filters load in network order what the kernel wrote in its own.
	kind, which := uint32(bits.ReverseBytes16(unix.RTM_DELLINK)), bits.ReverseBytes32(uint32(index))
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		kind, which = unix.RTM_DELLINK, uint32(index)
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4}, // nlmsg_type
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: kind, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: unix.SizeofNlMsghdr + 4}, // ifi_index
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: which, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "link news"), nil
}
