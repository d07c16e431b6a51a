package netqmp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// fake is a network that remembers what it was asked.
type fake struct{ asked []string }

func (f *fake) note(format string, args ...any) error {
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return nil
}

func (f *fake) AddNetdev(n qapi.Netdev) error            { return f.note("add %s %s", n.Type, n.Id) }
func (f *fake) RemoveNetdev(id string) error             { return f.note("remove %s", id) }
func (f *fake) SetLink(name string, up bool) error       { return f.note("link %s %v", name, up) }
func (f *fake) Announce(a qapi.AnnounceParameters) error { return f.note("announce %d", a.Rounds) }

func (f *fake) Filters(name *string, arm func(string)) (qapi.RxFilterInfoList, error) {
	if name != nil && *name != "nic" {
		return nil, fmt.Errorf("invalid net client name: %s", *name)
	}
	arm("/nic")
	return qapi.RxFilterInfoList{{Name: "nic", MainMac: "52:54:00:12:34:56", Unicast: qapi.RxStateNormal, Multicast: qapi.RxStateAll, Vlan: qapi.RxStateNone}}, f.note("filters")
}

func (f *fake) Counters(*string) (qapi.NicCountersList, error) {
	return qapi.NicCountersList{{Name: "nic", QomPath: "/nic", Rx: qapi.NicQueueCountersList{{Packets: 3, Drops: qapi.NicDrops{Filtered: 4}}}}}, nil
}

func TestCommands(t *testing.T) {
	f := &fake{}
	table := dispatch.NewTable()
	Register(table, f, func(_ context.Context, path string) { _ = f.note("arm %s", path) })
	run := func(text string) string {
		v, err := wire.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		e := qapi.NewEncoder(false)
		r := table.Parse(v, dispatch.Client{Negotiated: true})
		r.Run(t.Context(), e)
		return string(e.Bytes())
	}
	const done = "{\"return\": {}}\r\n"
	filter := `{"promiscuous": false, "name": "nic", "main-mac": "52:54:00:12:34:56", "unicast": "normal", "vlan": "none", "vlan-table": [], "unicast-table": [], ` +
		`"multicast": "all", "multicast-overflow": false, "unicast-overflow": false, "multicast-table": [], "broadcast-allowed": false}`
	for _, c := range [][2]string{
		{`{"execute":"netdev_add","arguments":{"type":"tap","id":"n0"}}`, done},
		{`{"execute":"netdev_del","arguments":{"id":"n0"}}`, done},
		{`{"execute":"set_link","arguments":{"name":"n0","up":false}}`, done},
		{`{"execute":"announce-self","arguments":{"initial":1,"max":2,"rounds":3,"step":4}}`, done},
		{`{"execute":"query-rx-filter"}`, `{"return": [` + filter + "]}\r\n"},
		{`{"execute":"query-rx-filter","arguments":{"name":"x"}}`, `{"error": {"class": "GenericError", "desc": "invalid net client name: x"}}` + "\r\n"},
	} {
		if got := run(c[0]); got != c[1] {
			t.Errorf("%s: %s", c[0], got)
		}
	}
	if got := run(`{"execute":"x-query-nic-counters"}`); !strings.Contains(got, `"packets": 3`) || !strings.Contains(got, `"filtered": 4`) {
		t.Error(got)
	}
	if want := []string{"add tap n0", "remove n0", "link n0 false", "announce 3", "arm /nic", "filters"}; !slices.Equal(f.asked, want) {
		t.Errorf("asked %q", f.asked)
	}
}
