package netlab

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// followed is the type of the frames that the guest program's net.follow waits for.
const followed = 0x88b6

// Follow sends a frame from the far end for each change of a near link's address, to the new
// address, until the test ends: what net.follow in the guest waits for.
func (l *Lab) Follow(t testing.TB, link string) {
	t.Helper()
	far := l.Station(t, followed)
	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		for u := range updates {
			if a := u.Link.Attrs(); a.Name == link {
				f := far.Frame(a.HardwareAddr, a.HardwareAddr)
				f[12], f[13] = followed>>8, followed&0xff
				_ = far.Send(f)
			}
		}
	}()
	t.Cleanup(func() { close(done); <-told })
}
