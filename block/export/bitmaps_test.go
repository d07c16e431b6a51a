package export

import (
	"errors"
	"strings"
	"testing"

	"hv/block/bitmap"
	"hv/block/graph"
	"hv/block/nbddrv"
	"hv/qmp/qapi"
)

// TestBitmaps shows dirty bitmaps to clients.
func TestBitmaps(t *testing.T) {
	r := newRig(t)
	r.file("f", 16<<20, graph.Options{})
	n := r.g.Find("f")
	marks, err := n.AddBitmap(bitmap.Config{Name: "b0", Granularity: 64 << 10, Enabled: true})
	r.must(err)
	r.start(ServerConfig{})
	add := func(id string, writable bool, list ...qapi.BlockDirtyBitmapOrStr) error {
		all := qapi.BlockDirtyBitmapOrStrList(list)
		return r.Add(&qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: id, NodeName: "f", Writable: &writable, Nbd: &qapi.BlockExportOptionsNbd{Bitmaps: &all}})
	}
	external := func(node, name string) qapi.BlockDirtyBitmapOrStr {
		return qapi.BlockDirtyBitmapOrStr{External: &qapi.BlockDirtyBitmap{Node: node, Name: name}}
	}
	r.refused(add("e", true, qapi.BlockDirtyBitmapOrStr{Local: text("b1")}), "Bitmap 'b1' is not found")
	r.refused(add("e", false, qapi.BlockDirtyBitmapOrStr{Local: text("b0")}), "Enabled bitmap 'b0' incompatible with readonly export")
	r.refused(add("e", true, external("g", "b0")), "Node 'g' not found")
	r.refused(add("e", true, external("f", "b1")), "Dirty bitmap 'b1' not found")
	marks.SetBusy(true)
	r.refused(add("e", true, external("f", "b0")), "Bitmap 'b0' is currently in use by another operation and cannot be used")
	marks.SetBusy(false)
	r.must(r.AddNBD(&qapi.NbdServerAddOptions{Device: "f", Writable: yes(), Bitmap: text("b0")}, false))
	if !marks.Busy() {
		t.Error("others may change it")
	}
	d := r.client("f")
	r.must(errors.Join(d.Writev(1<<20, [][]byte{make([]byte, 1000)}, 0), d.Writev(15<<20, [][]byte{make([]byte, 1<<20)}, 0), d.Close()))
	out := strings.Join(strings.Fields(tool(t, "nbdinfo", "--map=qemu:dirty-bitmap:b0", r.uri("f"))), " ")
	if want := "0 1048576 0 clean 1048576 65536 1 dirty 1114112 14614528 0 clean 15728640 1048576 1 dirty"; out != want {
		t.Error(out)
	}
	c, err := nbddrv.Open(nbddrv.Config{Server: r.address(), Export: "f", Context: "qemu:dirty-bitmap:b0", Log: func(error) {}})
	r.must(err)
	if x, err := c.BlockStatus(1<<20, 1<<20); err != nil || x.N != 64<<10 || x.Status&graph.Data != 0 {
		t.Errorf("%+v, %v", x, err)
	}
	r.must(c.Close())
	r.must(r.Delete("f", true))
	r.deleted("f")
	if marks.Busy() {
		t.Error("it is busy for ever")
	}
}
