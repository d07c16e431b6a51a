package hmp

import (
	"encoding/json"
	"fmt"
	"strings"
)

// infoMemoryCommands show memory.
func infoMemoryCommands() []*command {
	return []*command{
		show("query-memory-size-summary", "memory_size_summary", "", "", "show how much memory there is", (*call).infoMemorySize),
		show("query-memory-devices", "memory-devices", "", "", "list the memory devices", (*call).infoMemoryDevices),
		show("query-memdev", "memdev", "", "", "list the memory back ends", (*call).infoMemdev),
		{name: "mem", help: "show what the CPU's page tables map", needs: []string{needsMachine}, run: (*call).infoMem},
	}
}

func (c *call) infoMemorySize() error {
	var m struct {
		Base    uint64  `json:"base-memory"`
		Plugged *uint64 `json:"plugged-memory"`
	}
	if err := c.query("query-memory-size-summary", nil, &m); err != nil {
		return err
	}
	c.printf("base memory: %d\n", m.Base)
	if m.Plugged != nil {
		c.printf("plugged memory: %d\n", *m.Plugged)
	}
	return nil
}

// memoryFields are the members of memory devices, in the order in which they are
// printed; a device has some.
var memoryFields = []struct{ name, format string }{
	{"memaddr", "0x%x"}, {"addr", "0x%x"}, {"slot", "%d"}, {"node", "%d"}, {"requested-size", "%d"}, {"size", "%d"}, {"max-size", "%d"},
	{"block-size", "%d"}, {"memdev", "%s"}, {"hotplugged", "%t"}, {"hotpluggable", "%t"},
}

func (c *call) infoMemoryDevices() error {
	var list []struct {
		Type string
		Data map[string]json.RawMessage
	}
	err := c.query("query-memory-devices", nil, &list)
	for _, d := range list {
		id := ""
		_ = json.Unmarshal(d.Data["id"], &id)
		c.printf("Memory device [%s]: \"%s\"\n", d.Type, id)
		for _, f := range memoryFields {
			if b, ok := d.Data[f.name]; ok {
				c.printf("  %s: "+f.format+"\n", f.name, scalar(b))
			}
		}
	}
	return err
}

// scalar reads a number, a boolean or a string.
func scalar(b json.RawMessage) any {
	var i int64
	if json.Unmarshal(b, &i) == nil {
		return i
	}
	var v any
	_ = json.Unmarshal(b, &v)
	return v
}

func (c *call) infoMemdev() error {
	var list []struct {
		ID                           string
		Size                         int64
		Merge, Dump, Prealloc, Share bool
		Reserve                      *bool
		Policy                       string
		Nodes                        []uint64 `json:"host-nodes"`
	}
	if err := c.query("query-memdev", nil, &list); err != nil {
		return err
	}
	for _, m := range list {
		c.printf("memory backend: %s\n  size:  %d\n  merge: %t\n  dump: %t\n  prealloc: %t\n  share: %t\n", m.ID, m.Size, m.Merge, m.Dump, m.Prealloc, m.Share)
		if m.Reserve != nil {
			c.printf("  reserve: %t\n", *m.Reserve)
		}
		c.printf("  policy: %s\n  host nodes: %s\n", m.Policy, ranges(m.Nodes))
	}
	c.printf("\n")
	return nil
}

// ranges prints sorted numbers as "0-2,5".
func ranges(list []uint64) string {
	var out []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if s := fmt.Sprint(list[i]); i == j {
			out = append(out, s)
		} else {
			out = append(out, fmt.Sprintf("%s-%d", s, list[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}
