package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

// vmDisks is what a VM answers: the disks, the nodes, and the graph.
var vmDisks = [3]string{`[
{"device":"d0","qdev":"/machine/peripheral/vd0/virtio-backend","inserted":{"node-name":"#block003","drv":"qcow2"}},
{"device":"","qdev":"cd0"}]`, `[
{"node-name":"#block003","drv":"qcow2","file":"t.qcow2","image":{"virtual-size":2097152}},
{"node-name":"#block002","drv":"qcow2","ro":true,"file":"b.qcow2","image":{"virtual-size":1048576}},
{"node-name":"#block001","drv":"file","ro":true,"file":"b.qcow2","image":{"virtual-size":196608}},
{"node-name":"#block000","drv":"file","file":"t.qcow2","image":{"virtual-size":196608}},
{"node-name":"shared","drv":"raw","file":"null-co://","image":{"virtual-size":1073741824}},
{"node-name":"spare","drv":"null-co","file":"null-co://","image":{"virtual-size":1073741824}}]`, `{"nodes":[
{"id":1,"type":"block-backend","name":"d0"},{"id":2,"type":"block-driver","name":"#block003"},
{"id":3,"type":"block-driver","name":"#block002"},{"id":4,"type":"block-driver","name":"#block001"},
{"id":5,"type":"block-driver","name":"#block000"},{"id":6,"type":"block-driver","name":"shared"},
{"id":7,"type":"block-driver","name":"spare"},{"id":8,"type":"block-job","name":"j0"}],"edges":[
{"parent":1,"child":2,"name":"root"},{"parent":2,"child":3,"name":"backing"},{"parent":2,"child":5,"name":"file"},
{"parent":3,"child":4,"name":"file"},{"parent":6,"child":7,"name":"file"},{"parent":8,"child":3,"name":"main node"}]}`}

const vmTree = `d0 (/machine/peripheral/vd0/virtio-backend)
└─ #block003 [qcow2] 2 MiB
   ├─ file: #block000 [file] t.qcow2 192 KiB
   └─ backing: #block002 [qcow2] 1 MiB read-only
      └─ file: #block001 [file] b.qcow2 192 KiB read-only
cd0: no medium
job j0
└─ #block002 [qcow2] 1 MiB read-only (see above)
shared [raw] 1 GiB
└─ file: spare [null-co] null-co:// 1 GiB
`

// A VM that does not tell its graph has its nodes listed.
const vmList = `d0 (/machine/peripheral/vd0/virtio-backend)
└─ #block003 [qcow2] t.qcow2 2 MiB
cd0: no medium
#block002 [qcow2] b.qcow2 1 MiB read-only
#block001 [file] b.qcow2 192 KiB read-only
#block000 [file] t.qcow2 192 KiB
shared [raw] null-co:// 1 GiB
spare [null-co] null-co:// 1 GiB
`

func TestForest(t *testing.T) {
	for _, c := range []struct{ graph, want string }{{vmDisks[2], vmTree}, {"{}", vmList}} {
		f := forest{nodes: map[string]*blockNode{}, drawn: map[string]bool{}}
		var nodes []*blockNode
		for text, to := range map[string]any{vmDisks[0]: &f.disks, vmDisks[1]: &nodes, c.graph: &f.graph} {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range nodes {
			f.nodes[n.Name] = n
			f.order = append(f.order, n.Name)
		}
		var out bytes.Buffer
		f.draw(&out)
		if out.String() != c.want {
			t.Errorf("got\n%s\nwant\n%s", &out, c.want)
		}
	}
}

// TestForestCircle sees that a graph that cannot be is drawn all the same, and ends.
func TestForestCircle(t *testing.T) {
	f := forest{nodes: map[string]*blockNode{"a": {Name: "a"}, "b": {Name: "b"}}, order: []string{"a", "b"}, drawn: map[string]bool{}}
	const text = `{"nodes":[{"id":1,"type":"block-driver","name":"a"},{"id":2,"type":"block-driver","name":"b"},{"id":3,"type":"block-job","name":"j"}],
"edges":[{"parent":1,"child":2,"name":"file"},{"parent":2,"child":1,"name":"file"},{"parent":3,"child":1,"name":"x"}]}`
	if err := json.Unmarshal([]byte(text), &f.graph); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	f.draw(&out)
	if want := "job j\n└─ a [] 0 B\n   └─ file: b [] 0 B\n      └─ file: a [] 0 B (see above)\n"; out.String() != want {
		t.Errorf("got\n%s", &out)
	}
}
