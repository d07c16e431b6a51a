package vm

import (
	"fmt"
	"os"

	"hv/block/graph"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// quorum tells what goes wrong in quorums. Requests tell it, on any goroutine.
type quorum struct{ v *VM }

// Bad implements quorumdrv.Reports.
func (q quorum) Bad(e qapi.QuorumReportBadEvent) {
	q.v.control.Post(func() { events.Emit(q.v.events, qapi.EventQuorumReportBad, e) })
}

// Failed implements quorumdrv.Reports. Who knows the node by a drive's name hears that.
func (q quorum) Failed(e qapi.QuorumFailureEvent) {
	q.v.control.Post(func() {
		e.Reference = q.v.blocks.reference(q.v.blocks.graph.Find(e.Reference), e.Reference)
		events.Emit(q.v.events, qapi.EventQuorumFailure, e)
	})
}

// Mismatch implements quorumdrv.Reports. What is wrong must not get any further, so the
// process ends where it stands.
func (q quorum) Mismatch(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}

// breakpoints returns what tells the user of requests that wait at breakpoints, nil if those
// are a test's.
func (v *VM) breakpoints() func(text string) {
	if v.clock != nil {
		return nil
	}
	return func(text string) { fmt.Println(text) }
}

// reference returns the id of the drive that has a node, or else the node's name.
func (b *blocks) reference(n *graph.Node, name string) string {
	for _, d := range b.drives {
		if d.node() == n && n != nil && d.id != "" {
			return d.id
		}
	}
	return name
}
