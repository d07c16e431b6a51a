// Package rxfilter makes a link of the host let through what a guest's NIC wants to
// receive, as far as a policy allows.
//
// There are four parts, of which all but the last are pure. A Guest is what the guest
// asked for, as query-rx-filter tells it. A Policy makes of it what the link has to let
// through, a Want. Diff compares that with the link's state, a Host, and lists the
// operations that are missing; what others added to the link is never removed. A Link
// reads the state of a link and carries operations out. A Syncer joins them: it knows what
// it added itself.
//
// Nothing here has goroutines, but for Link.Watch, which runs on its caller's. A Syncer is
// used by one goroutine at a time; a Link's Read and Apply too.
//
// What the kernel does with the lists: Linux's net/core/dev_addr_lists.c, drivers/net/macvlan.c.
// It depends on qmp/qapi and github.com/vishvananda/netlink.
package rxfilter

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// MAC is an address of Ethernet.
type MAC [6]byte

// ParseMAC reads six bytes in hex with colons between them.
func ParseMAC(text string) (MAC, error) {
	var m MAC
	ok := len(text) == 17
	for i := range m {
		if !ok {
			break
		}
		_, err := hex.Decode(m[i:i+1], []byte(text[3*i:3*i+2]))
		ok = err == nil && (i == 5 || text[3*i+2] == ':')
	}
	if !ok {
		return MAC{}, fmt.Errorf("'%s' is no MAC address", text)
	}
	return m, nil
}

// String writes the address as the kernel's tools do.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Group says that the address is a multicast address or the one of broadcasts.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// Station says that a NIC may have the address.
func (m MAC) Station() bool { return !m.Group() && m != MAC{} }

// broadcast is received without being listed.
var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func compareMACs(a, b MAC) int { return bytes.Compare(a[:], b[:]) }

// sorted returns those of a list that keep says, in order and each once.
func sorted(list []MAC, keep func(MAC) bool) []MAC {
	out := make([]MAC, 0, len(list))
	for _, m := range list {
		if keep(m) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, compareMACs)
	return slices.Compact(out)
}

// has looks an address up in a list that is in order.
func has(list []MAC, m MAC) bool {
	_, ok := slices.BinarySearchFunc(list, m, compareMACs)
	return ok
}

// with returns a list that is in order with an address, or without it.
func with(list []MAC, m MAC, present bool) []MAC {
	i, ok := slices.BinarySearchFunc(list, m, compareMACs)
	switch {
	case ok == present:
		return list
	case present:
		return slices.Insert(list, i, m)
	}
	return slices.Delete(list, i, i+1)
}

// ParseMACs reads addresses with commas between them.
func ParseMACs(text string) ([]MAC, error) {
	var out []MAC
	for _, word := range strings.Split(text, ",") {
		m, err := ParseMAC(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}
