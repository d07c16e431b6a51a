package formats

import (
	"fmt"
	"path/filepath"
	"testing"

	"hv/block/blocktest"
	"hv/block/graph"
)

// subject is a node that options with %s for a folder describe; make makes what is in it.
func subject(options string, make func(t testing.TB, dir string)) blocktest.Subject {
	var dir string
	again := func(t testing.TB, g *graph.Graph) *graph.Node {
		t.Helper()
		x := newOpener()
		x.Graph = g
		return open(t, x, fmt.Sprintf(options, dir))
	}
	return blocktest.Subject{Again: again, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
		t.Helper()
		dir = t.TempDir()
		if make != nil {
			make(t, dir)
		}
		return again(t, g)
	}}
}

func create(args ...string) func(testing.TB, string) {
	return func(t testing.TB, dir string) {
		t.Helper()
		tool(t, dir, "qemu-img", append([]string{"create"}, args...)...)
	}
}

const onFile = `"file":{"driver":"file","filename":"%s/d"}`

func TestConformance(t *testing.T) {
	qcow2 := func(args ...string) blocktest.Subject {
		return subject(`{"driver":"qcow2","discard":"unmap",`+onFile+`}`, create(append([]string{"-f", "qcow2", "d", "300k", "-o"}, args...)...))
	}
	readOnly := subject(`{"driver":"raw","read-only":true,`+onFile+`}`, create("-f", "raw", "d", "300k"))
	readOnly.ReadOnly = true
	part := subject(`{"driver":"raw","offset":65536,"size":199680,"discard":"unmap",`+onFile+`}`, create("-f", "raw", "d", "300k"))
	part.Fixed = true
	null := subject(`{"driver":"null-co","size":1000000,"node-name":"n%.0s"}`, nil)
	null.Forgetful, null.Fixed = true, true
	overlay := subject(`{"driver":"qcow2","discard":"unmap",`+onFile+`}`, func(t testing.TB, dir string) {
		tool(t, dir, "qemu-img", "create", "-f", "raw", "base", "200k")
		tool(t, dir, "qemu-io", "-f", "raw", "-c", "write -P 5 0 200k", "base")
		tool(t, dir, "qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", "base", "d", "300k")
	})
	for name, s := range map[string]blocktest.Subject{
		"file":        subject(`{"driver":"file","filename":"%s/d","discard":"unmap"}`, create("-f", "raw", "d", "300k")),
		"file direct": subject(`{"driver":"file","filename":"%s/d","discard":"unmap","cache":{"direct":true}}`, create("-f", "raw", "d", "300k")),
		"raw":         subject(`{"driver":"raw","discard":"unmap","detect-zeroes":"unmap",`+onFile+`}`, create("-f", "raw", "d", "300k")),
		"raw part":    part,
		"read-only":   readOnly,
		"null":        null,
		"qcow2":       qcow2("compat=1.1"),
		"qcow2 v2":    qcow2("compat=0.10"),
		"qcow2 small": qcow2("cluster_size=512,refcount_bits=64,lazy_refcounts=on"),
		"qcow2 sub":   qcow2("extended_l2=on,cluster_size=64k"),
		"qcow2 data":  qcow2("data_file=" + filepath.Join(t.TempDir(), "data")),
		"qcow2 chain": overlay,
		"qcow2 direct": subject(`{"driver":"qcow2","discard":"unmap","cache":{"direct":true},`+onFile+`}`,
			create("-f", "qcow2", "d", "300k")),
	} {
		t.Run(name, func(t *testing.T) { blocktest.Run(t, s) })
	}
}
