package rxfilter

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// readGroups reads a link's groups from /proc/net/dev_mcast, the only place where the kernel
// says which of them user space joined: lines of index, name, users, joined by user space,
// address.
func readGroups(r io.Reader, index int) (joined, ours []MAC, err error) {
	in := bufio.NewScanner(r)
	for in.Scan() {
		f := strings.Fields(in.Text())
		if len(f) != 5 {
			return nil, nil, fmt.Errorf("dev_mcast: '%s' is no line of a group", in.Text())
		}
		if i, err := strconv.Atoi(f[0]); err != nil || i != index {
			continue
		}
		var m MAC
		if len(f[4]) != 2*len(m) {
			continue // no Ethernet
		}
		if _, err := hex.Decode(m[:], []byte(f[4])); err != nil {
			return nil, nil, fmt.Errorf("dev_mcast: '%s' is no address", f[4])
		}
		joined = append(joined, m)
		if f[3] != "0" {
			ours = append(ours, m)
		}
	}
	all := func(MAC) bool { return true }
	return sorted(joined, all), sorted(ours, all), in.Err()
}
