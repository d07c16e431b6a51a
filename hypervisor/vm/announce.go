package vm

import (
	"fmt"
	"slices"
	"time"

	"hv/qmp/qapi"
)

// announcement is one of announce-self that goes on for a while.
type announcement struct {
	params qapi.AnnounceParameters
	left   int64 // rounds
	timer  *time.Timer
}

func (a *announcement) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// maxAnnouncements bounds how many go on at a time.
const maxAnnouncements = 1000

// Announce has NICs announce themselves, now and after each of some pauses. Control
// goroutine only.
func (v *VM) Announce(p qapi.AnnounceParameters) error {
	id := ""
	if p.Id != nil {
		id = *p.Id
	}
	if a := v.net.announces[id]; a != nil {
		a.stop()
		delete(v.net.announces, id)
	}
	if p.Rounds == 0 {
		return nil
	}
	if len(v.net.announces) == maxAnnouncements {
		return fmt.Errorf("%d announcements go on already", maxAnnouncements)
	}
	if v.net.announces == nil {
		v.net.announces = map[string]*announcement{}
	}
	a := &announcement{params: p, left: p.Rounds}
	v.net.announces[id] = a
	v.announce(id, a)
	return nil
}

// announce is one round.
func (v *VM) announce(id string, a *announcement) {
	for _, n := range v.net.nics {
		if a.params.Interfaces == nil || slices.Contains(a.params.Interfaces, n.name) {
			n.dev.Announce()
		}
	}
	a.left--
	if a.left == 0 {
		delete(v.net.announces, id)
		return
	}
	a.timer = time.AfterFunc(a.pause(), func() {
		v.control.Post(func() {
			if v.net.announces[id] == a {
				v.announce(id, a)
			}
		})
	})
}

// pause is what lies between this round and the next: longer each time, up to a bound.
func (a *announcement) pause() time.Duration {
	p := &a.params
	ms := float64(p.Initial) + float64(p.Rounds-a.left-1)*float64(p.Step)
	if ms < 0 || ms > float64(p.Max) {
		ms = float64(p.Max)
	}
	const longest = 24 * 60 * 60 * 1000
	return time.Duration(min(max(ms, 1), longest)) * time.Millisecond
}
