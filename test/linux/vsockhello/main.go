// Command vsockhello runs in a guest: it connects to the host by vsock, says hello with
// the guest's own CID, and prints the answer. It depends on nothing of ours.
package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	if err := hello(); err != nil {
		fmt.Println("vsock=" + err.Error())
		os.Exit(1)
	}
}

func hello() error {
	port, err := strconv.ParseUint(os.Args[1], 10, 32)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_HOST, Port: uint32(port)}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		return err
	}
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	fmt.Printf("vsock=%s\n", b[:max(n, 0)])
	return err
}
