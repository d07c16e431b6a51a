package e2e

import (
	"fmt"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// bitmaps returns the bitmaps of a node by name.
func bitmaps(t testing.TB, v *vm, node string) map[string]qapi.BlockDirtyInfo {
	t.Helper()
	all := map[string]qapi.BlockDirtyInfo{}
	for _, n := range ask(t, v, qapi.CmdQueryNamedBlockNodes, qapi.QueryNamedBlockNodesArgs{}) {
		if *n.NodeName == node {
			for _, b := range n.DirtyBitmaps {
				all[*b.Name] = b
			}
		}
	}
	return all
}

// TestDirtyBitmaps has a guest write to a disk, straight to its file and through the graph,
// while bitmaps come and go: those that are there when a write is acknowledged have it.
func TestDirtyBitmaps(t *testing.T) {
	for name, option := range map[string]string{"direct": "off", "graph": "on"} {
		t.Run(name, func(t *testing.T) {
			image := hvrun.Image(t, t.TempDir(), 8)
			v, sh := startShell(t, "-blockdev", fmt.Sprintf("driver=raw,node-name=n,detect-zeroes=%s,discard=unmap,file.driver=file,file.node-name=f,file.filename=%s,file.discard=unmap", option, image),
				"-device", "virtio-blk-pci,drive=n,id=d")
			v.works(t, "block-dirty-bitmap-add", `{"node":"n","name":"b0","granularity":4096}`)
			v.works(t, "block-dirty-bitmap-add", `{"node":"n","name":"off","disabled":true}`)
			v.works(t, "block-dirty-bitmap-add", `{"node":"f","name":"low","granularity":512}`)
			sh.does(t, "blk.verify size=1M")
			if b := bitmaps(t, v, "n"); b["b0"].Count != 1<<20 || b["off"].Count != 0 || !b["b0"].Recording || b["off"].Recording || b["off"].Granularity != 65536 {
				t.Errorf("%+v", b)
			}
			if b := bitmaps(t, v, "f"); b["low"].Count != 1<<20 {
				t.Errorf("%+v", b)
			}
			v.works(t, "block-dirty-bitmap-enable", `{"node":"n","name":"off"}`)
			v.works(t, "block-dirty-bitmap-disable", `{"node":"n","name":"b0"}`)
			sh.does(t, "blk.write sector=4096 size=4096")
			sh.does(t, "blk.zeroes sector=8192 size=65536")
			sh.does(t, "blk.discard sector=12288 size=65536")
			if b := bitmaps(t, v, "n"); b["b0"].Count != 1<<20 || b["off"].Count != 3*65536 {
				t.Errorf("%+v", b)
			}
			v.works(t, "block-dirty-bitmap-merge", `{"node":"n","target":"b0","bitmaps":["off",{"node":"f","name":"low"}]}`)
			if b := bitmaps(t, v, "n"); b["b0"].Count != 1<<20+3*65536 {
				t.Errorf("%+v", b)
			}
			v.works(t, "block-dirty-bitmap-clear", `{"node":"n","name":"off"}`)
			sum := ask(t, v, qapi.CmdDebugBlockDirtyBitmapSha256, qapi.BlockDirtyBitmap{Node: "n", Name: "off"})
			if want := "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb"; sum.Sha256 != want {
				t.Errorf("%s is not the hash of 16 bytes of zeroes", sum.Sha256)
			}
			v.works(t, "block_resize", `{"node-name":"n","size":16777216}`)
			v.works(t, "block-dirty-bitmap-remove", `{"node":"n","name":"off"}`)
			v.failing(t, "Dirty bitmap 'off' not found", "block-dirty-bitmap-remove", `{"node":"n","name":"off"}`)
			sh.does(t, "blk.write sector=32760 size=4096")
			if b := bitmaps(t, v, "n"); len(b) != 1 || b["b0"].Count != 1<<20+3*65536 {
				t.Errorf("%+v", b)
			}
			v.do(t, "quit")
			v.ends(t, 0)
		})
	}
}
