// Command ejectcd opens the tray of a CD drive, in guests that have no eject(1).
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const cdromEject = 0x5309

func main() {
	fd, err := unix.Open(os.Args[1], unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		err = unix.IoctlSetInt(fd, cdromEject, 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ejectcd:", err)
		os.Exit(1)
	}
}
