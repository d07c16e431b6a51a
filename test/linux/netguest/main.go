// Command netguest runs in a guest: it prints the frames that it hears, or exchanges data
// with the host that both check. It depends on test/flow.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hv/test/flow"
)

const usage = "usage: netguest frames IFACE | streams ADDRESS SECONDS COUNT | datagrams ADDRESS SECONDS SIZE"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("netguest=" + err.Error())
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "frames":
		return frames(args[1])
	case len(args) == 4:
		seconds, err := strconv.Atoi(args[2])
		n, err2 := strconv.Atoi(args[3])
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		d := time.Duration(seconds) * time.Second
		switch args[0] {
		case "streams":
			return streams(args[1], d, n)
		case "datagrams":
			return datagrams(args[1], d, n)
		}
	}
	return errors.New(usage)
}

// Frames of this type carry a name; the last is called so.
const (
	ether = 0x88b5
	last  = "last"
)

// frames prints the names of the frames that come, until the last one.
func frames(iface string) error {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}); err != nil {
		return err
	}
	fmt.Println("listening=.")
	var names []string
	b := make([]byte, 2048)
	for {
		n, err := unix.Read(fd, b)
		if err != nil {
			return err
		}
		// The kernel has taken VLAN tags out.
		if n < 14 || b[12] != ether>>8 || b[13] != ether&0xff {
			continue
		}
		name, _, _ := bytes.Cut(b[14:n], []byte{0})
		if string(name) == last {
			fmt.Println("heard=" + strings.Join(names, " "))
			return nil
		}
		names = append(names, string(name))
	}
}

// streams has several streams at once.
func streams(address string, d time.Duration, count int) error {
	var wg sync.WaitGroup
	all, failed := make([]flow.Moved, count), make([]error, count)
	for i := range count {
		wg.Go(func() {
			c, err := net.Dial("tcp", address)
			if err == nil {
				all[i], err = flow.Stream(c, uint64(i), d)
			}
			failed[i] = err
		})
	}
	wg.Wait()
	var sum flow.Moved
	for _, m := range all {
		sum.Sent += m.Sent
		sum.Received += m.Received
	}
	fmt.Printf("streams=%d sent=%d received=%d\n", count, sum.Sent, sum.Received)
	return errors.Join(failed...)
}

func datagrams(address string, d time.Duration, size int) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	sent, back, err := flow.Datagrams(c, size, d)
	fmt.Printf("datagrams=%d back=%d\n", sent, back)
	return err
}
