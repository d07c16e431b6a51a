package surface

import (
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// additions is where we differ from QEMU on purpose, and why.
var additions = map[string]string{
	"human-monitor-command":        "its feature savevm-monitor-nodes is about snapshots, which there are none of",
	"netdev_add.type=macvtap":      "a macvtap that is made for the VM; with QEMU somebody else makes it and passes its descriptors",
	"x-query-nic-counters":         "QEMU does not count by queue",
	"netdev_add{macvtap}":          "as above",
	"netdev_add{stream}.reconnect": "QEMU has it since 8.0",
}

// TestSchemaBesideQEMU holds each command and event of ours to QEMU's: arguments,
// data and returned values are its, without some that are optional.
func TestSchemaBesideQEMU(t *testing.T) {
	mine := schemaOf(t, ours(t))
	found := projection(mine, schemaOf(t, theirs(t)))
	for _, where := range sorted(found) {
		if additions[where] == "" {
			t.Errorf("%s: %s", where, found[where])
		}
	}
	for where, why := range additions {
		name, _, _ := strings.Cut(where, ".")
		if _, here := mine[name]; here && found[where] == "" {
			t.Errorf("%s (%s) is no difference: remove it from the list", where, why)
		}
	}
}

// TestComparison changes a schema in each way that matters, one at a time.
func TestComparison(t *testing.T) {
	const common = `{'name':'str','meta-type':'builtin','json-type':'string'}, {'name':'int','meta-type':'builtin','json-type':'int'},
		{'name':'e','meta-type':'object','members':[]}, {'name':'[int]','meta-type':'array','element-type':'int'},
		{'name':'[str]','meta-type':'array','element-type':'str'}, {'name':'null','meta-type':'builtin','json-type':'null'},`
	const base = `{'name':'x','meta-type':'enum','members':[{'name':'a'},{'name':'b'}],'values':['a','b']},
		{'name':'r','meta-type':'object','members':[{'name':'i','type':'[int]'},{'name':'self','type':'r','default':null},{'name':'l','type':'lt'}]},
		{'name':'lt','meta-type':'alternate','members':[{'type':'str'},{'type':'e'}]},
		{'name':'u','meta-type':'object','members':[{'name':'t','type':'x'}],'tag':'t','variants':[{'case':'a','type':'r'},{'case':'b','type':'e'}]},
		{'name':'c','meta-type':'command','arg-type':'u','ret-type':'r','features':['f']},
		{'name':'E','meta-type':'event','arg-type':'r'}`
	whole := newSchema(parse(t, "["+common+base+"]"))
	if found := projection(whole, whole); len(found) != 0 {
		t.Errorf("a schema differs from itself: %v", found)
	}
	for _, c := range []struct{ from, to, where string }{
		{`'name':'c'`, `'name':'d'`, "d"},
		{`'name':'E'`, `'name':'F'`, "F"},
		{`'features':['f']`, `'features':['g']`, "c"},
		{`'ret-type':'r'`, `'ret-type':'r','allow-oob':true`, "c"},
		{`'ret-type':'r'`, `'ret-type':'[int]'`, "c returns"},
		{`{'name':'b'}],'values':['a','b']`, `{'name':'z'}],'values':['a','z']`, "c.t=z"},
		{`'values':['a','b']`, `'values':['b','a']`, "c.t"},
		{`{'name':'b'}]`, `{'name':'b','features':['unstable']}]`, "c.t=b"},
		{`'type':'[int]'`, `'type':'[str]'`, "E.i[]"},
		{`'type':'[int]'`, `'type':'int'`, "E.i"},
		{`'type':'[int]'`, `'type':'[int]','default':null`, "E.i"},
		{`{'name':'i','type':'[int]'},`, ``, "E.i"},
		{`'name':'self'`, `'name':'selves'`, "E.selves"},
		{`{'type':'str'},`, `{'type':'str'},{'type':'null'},`, "E.l"},
		{`'tag':'t',`, ``, "c"},
		{`'case':'b'`, `'case':'q'`, "c{q}"},
		{`{'case':'b','type':'e'}`, `{'case':'b','type':'r'}`, "c{b}.i"},
	} {
		text := replace(t, base, c.from, c.to)
		found := projection(newSchema(parse(t, "["+common+text+"]")), whole)
		if found[c.where] == "" {
			t.Errorf("%s in place of %s was found in %v, not %s", c.to, c.from, found, c.where)
		}
	}
	for _, less := range []string{`{'name':'self','type':'r','default':null},`, `,{'type':'e'}`, `,{'name':'E','meta-type':'event','arg-type':'r'}`} {
		text := replace(t, base, less, "")
		if found := projection(newSchema(parse(t, "["+common+text+"]")), whole); len(found) != 0 {
			t.Errorf("without %s it differs: %v", less, found)
		}
	}
}

func parse(t *testing.T, text string) qapi.SchemaInfoList {
	t.Helper()
	v, err := wire.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var list qapi.SchemaInfoList
	if err := list.DecodeQAPI(v); err != nil {
		t.Fatal(err)
	}
	return list
}

// replace returns a text with the first place changed where from is.
func replace(t *testing.T, text, from, to string) string {
	t.Helper()
	flat := strings.ReplaceAll(text, "\n\t\t", "")
	if !strings.Contains(flat, from) {
		t.Fatalf("no %s to change", from)
	}
	return strings.Replace(flat, from, to, 1)
}
