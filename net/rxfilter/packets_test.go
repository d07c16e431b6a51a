package rxfilter

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// etherType is one for experiments (IEEE 802).
const etherType = 0x88b5

// frame is an Ethernet frame that says what it is, with a tag of a VLAN if that is not 0.
func frame(to MAC, vlan uint16, what string) []byte {
	f := slices.Concat(to[:], []byte{2, 0, 0, 0, 0, 0x77})
	if vlan != 0 {
		f = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(f, 0x8100), vlan)
	}
	f = append(binary.BigEndian.AppendUint16(f, etherType), what+"\x00"...)
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

// cable is both ends: the peer's packet socket, and the macvtap as a VM reads it.
type cable struct {
	s    *space
	peer int
	tap  *os.File
}

func (s *space) cable() *cable {
	s.t.Helper()
	w := &cable{s: s}
	var err error
	s.Inside(func() {
		var link *net.Interface
		if w.peer, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
			link, err = net.InterfaceByName("peer")
		}
		if err == nil {
			err = unix.Bind(w.peer, &unix.SockaddrLinklayer{Ifindex: link.Index})
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { unix.Close(w.peer) })
	w.tap = s.OpenTap()
	return w
}

// arrive sends frames and returns which of them come out. A broadcast, which always does,
// comes last.
func (w *cable) arrive(frames ...[]byte) (got []string) {
	w.s.t.Helper()
	for _, f := range append(frames, frame(broadcast, 0, "end")) {
		if _, err := unix.Write(w.peer, f); err != nil {
			w.s.t.Fatal(err)
		}
	}
	if err := w.tap.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		w.s.t.Fatal(err)
	}
	const header = 10 // struct virtio_net_hdr
	b := make([]byte, 4096)
	for {
		n, err := w.tap.Read(b)
		if err != nil {
			w.s.t.Fatal(err)
		}
		f := b[header:n]
		kind := 12
		if binary.BigEndian.Uint16(f[kind:]) == 0x8100 {
			kind += 4
		}
		if binary.BigEndian.Uint16(f[kind:]) != etherType {
			continue // the kernel's own
		}
		what := unix.ByteSliceToString(f[kind+2:])
		if what == "end" {
			slices.Sort(got)
			return got
		}
		got = append(got, what)
	}
}

// TestPackets: which packets a guest gets, by policy. What is filtered by a hash passes by
// chance, so that of many groups that nobody joined only few do.
func TestPackets(t *testing.T) {
	other, joined := MAC{0x52, 0x54, 0, 0, 0, 9}, MAC{0x33, 0x33, 0, 0, 0x12, 0x34}
	frames := [][]byte{
		frame(a1, 0, "first"), frame(a2, 0, "changed"), frame(a3, 0, "further"), frame(other, 0, "other"),
		frame(joined, 0, "group"), frame(a1, 10, "first tagged"), frame(a2, 10, "changed tagged"),
	}
	strange := func() (f [][]byte) {
		for i := range 20 {
			f = append(f, frame(MAC{0x33, 0x33, 9, 9, 9, byte(i)}, 0, fmt.Sprintf("strange %d", i)))
		}
		return f
	}()
	guest := Guest{MAC: a2, UnicastTable: []MAC{a3}, MulticastTable: []MAC{joined}, VLANTable: []uint16{0, 10}}
	calm := guest
	calm.MulticastTable = []MAC{g2}
	all := guest
	all.Multicast = All
	first, changed := []string{"first", "first tagged"}, []string{"changed", "changed tagged"}
	with := func(a []string, more ...string) []string { return slices.Sorted(slices.Values(append(more, a...))) }
	every := []string{"changed", "changed tagged", "first", "first tagged", "further", "other"}
	for _, c := range []struct {
		mode   string
		policy Policy
		guest  Guest
		want   []string
		groups bool // all of them
	}{
		{"bridge", policy(t, "none"), guest, first, false},
		{"bridge", policy(t, "none"), all, first, false},
		{"bridge", policy(t, "multicast"), guest, with(first, "group"), false},
		{"bridge", policy(t, "multicast"), calm, first, false},
		{"bridge", policy(t, "multicast"), all, with(first, "group"), true},
		{"bridge", policy(t, "listed", a3), guest, with(first, "group"), false},
		{"bridge", policy(t, "listed", a2), guest, with(changed, "group"), false},
		{"bridge", policy(t, "full"), guest, with(changed, "group"), false},
		{"passthru", policy(t, "none"), guest, every, false},
		{"passthru", policy(t, "full"), guest, with(every, "group"), false},
	} {
		s := newSpace(t)
		s.Macvtap(a1.String(), c.mode)
		w := s.cable()
		s.sync(s.syncer(c.policy), c.guest)
		got := w.arrive(frames...)
		// A group that was not joined may share the hash of one that was.
		chance := !slices.Contains(c.want, "group")
		if chance {
			got = slices.DeleteFunc(got, func(f string) bool { return f == "group" })
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: %q, not %q", c.mode, c.policy, got, c.want)
		}
		if n := len(w.arrive(strange...)); (n == len(strange)) != c.groups {
			t.Errorf("%s, %s: %d of %d groups that nobody joined", c.mode, c.policy, n, len(strange))
		}
	}
}

// TestTraffic: a link's counters are told from the guest's side.
func TestTraffic(t *testing.T) {
	s := newSpace(t)
	s.Macvtap(a1.String(), "bridge")
	w, l := s.cable(), s.open("tap0")
	before, err := l.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	w.arrive(frame(a1, 0, "a"), frame(a1, 0, "b"))
	if _, err := w.tap.Write(append(make([]byte, 10), frame(a2, 0, "c")...)); err != nil {
		t.Fatal(err)
	}
	after, err := l.Traffic()
	if in, out := after.ToGuest.Packets-before.ToGuest.Packets, after.FromGuest.Packets-before.FromGuest.Packets; err != nil || in < 3 || out != 1 {
		t.Error(in, out, err)
	}
	s.Run("ip tuntap add dev tap1 mode tap")
	if got, err := s.open("tap1").Traffic(); err != nil || got != (Traffic{}) {
		t.Error(got, err)
	}
}
