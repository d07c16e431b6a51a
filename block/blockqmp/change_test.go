package blockqmp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/block/formats"
	"hv/block/graph"
	"hv/block/jobs"
	"hv/qmp/qapi"
)

// changing is a VM with nodes alone. Drives named d0 and so on are on nodes n0 and so on.
type changing struct {
	VM
	*formats.Opener
	dir string
}

func (c *changing) Graph() *graph.Graph { return c.Opener.Graph }

func (c *changing) Drives() []Drive {
	var list []Drive
	for _, n := range c.Graph().Nodes() {
		if i, ok := strings.CutPrefix(n.Name(), "n"); ok && n.IsRoot() {
			list = append(list, Drive{ID: "d" + i, Node: n})
		}
	}
	return list
}

func (c *changing) OpenOverlay(o formats.Overlay, over *graph.Node) (*graph.Node, error) {
	return c.Overlay(o, over)
}
func (c *changing) GuestTime() time.Duration  { return 1500 * time.Millisecond }
func (c *changing) HasDisk(*graph.Child) bool { return false }

func (c *changing) path(name string) string { return filepath.Join(c.dir, name) }

// newChanging makes images n0 and n1.
func newChanging(t *testing.T) *changing {
	t.Helper()
	c := &changing{dir: t.TempDir(), Opener: &formats.Opener{Graph: &graph.Graph{}, OpenFile: os.OpenFile, Drive: func(string) *graph.Node { return nil }}}
	var fronts []*graph.Child
	for i := range 2 {
		name := fmt.Sprintf("n%d", i)
		file := &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, File: &qapi.BlockdevOptionsFile{Filename: c.path(name)}}
		for _, o := range []qapi.BlockdevCreateOptions{
			{Driver: qapi.BlockdevDriverFile, File: &qapi.BlockdevCreateOptionsFile{Filename: c.path(name)}},
			{Driver: qapi.BlockdevDriverQcow2, Qcow2: &qapi.BlockdevCreateOptionsQcow2{File: qapi.BlockdevRef{Definition: file}, Size: 1 << 20}},
		} {
			made, err := c.Create(&o)
			if err != nil {
				t.Fatal(err)
			}
			if err := made.Run(func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			if err := made.Close(); err != nil {
				t.Fatal(err)
			}
		}
		q := &qapi.BlockdevOptionsQcow2{}
		q.File.Definition = file
		n, err := c.Open(&qapi.BlockdevOptions{Driver: qapi.BlockdevDriverQcow2, NodeName: &name, Qcow2: q})
		if err != nil {
			t.Fatal(err)
		}
		n.Own()
		front, err := n.Use(func() string { return "block device 'd'" }, nil, graph.ConsistentRead|graph.Write, graph.ConsistentRead)
		if err != nil {
			t.Fatal(err)
		}
		fronts = append(fronts, front)
	}
	t.Cleanup(func() {
		for _, front := range fronts {
			if err := front.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := c.Graph().Close(); err != nil || len(c.Graph().Nodes()) != 0 {
			t.Errorf("%v, %d nodes left", err, len(c.Graph().Nodes()))
		}
	})
	return c
}

// over is a snapshot of a drive by an overlay, whose node is named if that is not empty.
func (c *changing) over(device, file, node string) qapi.TransactionAction {
	s := qapi.BlockdevSnapshotSync{Device: &device, SnapshotFile: c.path(file)}
	if node != "" {
		s.SnapshotNodeName = &node
	}
	return qapi.TransactionAction{Type: qapi.TransactionActionKindBlockdevSnapshotSync, BlockdevSnapshotSync: &qapi.BlockdevSnapshotSyncWrapper{Data: s}}
}

func within(device, name string) qapi.TransactionAction {
	return qapi.TransactionAction{Type: qapi.TransactionActionKindBlockdevSnapshotInternalSync,
		BlockdevSnapshotInternalSync: &qapi.BlockdevSnapshotInternalWrapper{Data: qapi.BlockdevSnapshotInternal{Device: device, Name: name}}}
}

func aborting() qapi.TransactionAction {
	return qapi.TransactionAction{Type: qapi.TransactionActionKindAbort, Abort: &qapi.AbortWrapper{}}
}

// drawing shows nodes with their children, and the snapshots that they keep.
func (c *changing) drawing() string {
	var s []string
	g := drawn(c)
	for _, e := range g.Edges {
		s = append(s, fmt.Sprint(e))
	}
	for _, n := range c.Graph().Nodes() {
		one := n.Name()
		if k := n.Snapshotter(); k != nil {
			one += fmt.Sprint(len(k.Snapshots()))
		}
		s = append(s, one)
	}
	return strings.Join(s, "; ")
}

func wantsError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestTransaction has actions be done together, or not at all.
func TestTransaction(t *testing.T) {
	c := newChanging(t)
	x := &transaction{vm: c}
	before := c.drawing()
	for want, list := range map[string]qapi.TransactionActionList{
		"Transaction aborted using Abort action":               {within("d0", "s"), c.over("d0", "t0", ""), c.over("d1", "t1", ""), aborting()},
		"Cannot find device='d7' nor node-name='d7'":           {c.over("d0", "t0", ""), within("d7", "s")},
		"Snapshot with name 's' already exists on device 'd0'": {within("d0", "s"), within("d0", "s")},
		"Name is empty":                          {within("d1", "s"), within("d0", "")},
		"New overlay node-name already in use":   {c.over("d0", "t0", "n1")},
		"Need a root block node":                 {c.over("d0", "t0", "t0"), within("n0", "s")},
		"is busy: node is used as backing hd of": {c.over("d1", "t1", ""), {Type: qapi.TransactionActionKindBlockdevSnapshot, BlockdevSnapshot: &qapi.BlockdevSnapshotWrapper{Data: qapi.BlockdevSnapshot{Node: "n1", Overlay: "n0"}}}},
	} {
		wantsError(t, x.run(list), want)
		if got := c.drawing(); got != before {
			t.Errorf("%s: %s\nwas %s", want, got, before)
		}
	}
	grouped := &transaction{vm: c, group: &jobs.Group{}}
	wantsError(t, grouped.run(qapi.TransactionActionList{within("d0", "s")}), "Action 'blockdev-snapshot-internal-sync' does not support Transaction property completion-mode = grouped")
	wantsError(t, x.run(qapi.TransactionActionList{within("d0", "s"), c.over("d0", "t0", "n2"), c.over("d1", "t1", "n3")}), "")
	for top, base := range map[string]string{"n2": "n0", "n3": "n1"} {
		n := c.Graph().Find(top)
		if n.Backing().Node().Name() != base || !n.Backing().Node().Options().ReadOnly {
			t.Error(c.drawing())
		}
	}
	if s := c.Graph().Find("n0").Snapshotter().Snapshots(); len(s) != 1 || s[0].Name != "s" || s[0].VMClock != 1500*time.Millisecond {
		t.Errorf("%+v", s)
	}
}

// TestDeleteSnapshot deletes what an image keeps.
func TestDeleteSnapshot(t *testing.T) {
	c := newChanging(t)
	for _, name := range []string{"a", "b"} {
		wantsError(t, snapshotInternal(c, &qapi.BlockdevSnapshotInternal{Device: "d0", Name: name}).run(), "")
	}
	del := deleteInternal(c)
	one, two, a := "1", "2", "a"
	for want, args := range map[string]qapi.BlockdevSnapshotDeleteInternalSyncArgs{
		"Name or id must be provided":                                          {Device: "d0"},
		"Snapshot with id '2' and name 'a' does not exist on device 'd0'":      {Device: "d0", Id: &two, Name: &a},
		"Snapshot with id '(null)' and name 'a' does not exist on device 'd1'": {Device: "d1", Name: &a},
		"Cannot find device='none' nor node-name='none'":                       {Device: "none", Name: &a},
	} {
		_, err := del(t.Context(), args)
		wantsError(t, err, want)
	}
	info, err := del(t.Context(), qapi.BlockdevSnapshotDeleteInternalSyncArgs{Device: "d0", Id: &one, Name: &a})
	if err != nil || info.Name != "a" || info.VmClockSec != 1 || info.VmClockNsec != 5e8 || info.Icount != nil {
		t.Errorf("%+v, %v", info, err)
	}
	if s := c.Graph().Find("n0").Snapshotter().Snapshots(); len(s) != 1 || s[0].Name != "b" {
		t.Errorf("%+v", s)
	}
}
