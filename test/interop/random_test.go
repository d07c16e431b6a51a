package interop

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// entity is an entry of query-qmp-schema.
type entity struct {
	Name        string
	MetaType    string `json:"meta-type"`
	JSONType    string `json:"json-type"`
	ArgType     string `json:"arg-type"`
	ElementType string `json:"element-type"`
	Values      []string
	Tag         string
	Members     []struct {
		Name, Type string
		Default    json.RawMessage
	}
	Variants []struct{ Case, Type string }
}

// maker makes arguments that a schema allows, and some that it does not.
type maker struct {
	*rand.Rand
	types map[string]entity
	wrong float64 // how often something is
}

// What is taken for texts and numbers: names that there are, and what may hurt.
// Nothing is as large as to fill the host's memory, and no file is outside of the
// folder where the VM runs.
var (
	texts = []string{"", "a", "b", "dice", "source", "disk", "0", "mon", "/machine", "/objects", "/machine/peripheral/dice", "peripheral", "type", "realized",
		"virtio-rng-pci", "virtio-blk-pci", "rng-random", "device", "memory-backend-ram", "pcie.0", "a b", "x,y=z", "é", "\U0001f600", "\x00", "%s%n", "file:out", "none", "info status",
		"info qtree", "q35", "on", "off", "max", "qemu64", strings.Repeat("long", 2000), "-1", "18446744073709551616", "aGVsbG8=", "../" + strings.Repeat("x", 300)}
	integers = []int64{0, 1, -1, 2, 3, 7, 8, 63, 64, 255, 256, 4095, 4096, 65535, 65536, 1 << 20, 1 << 45, math.MaxInt32 << 20, math.MaxInt64, math.MinInt64}
)

func pick[T any](m *maker, list []T) T { return list[m.IntN(len(list))] }

// value makes a value of a type.
func (m *maker) value(name string, depth int) any {
	if m.Float64() < m.wrong {
		return pick(m, []any{nil, true, -1, 1.5, "", "text", []any{}, []any{1, "a"}, map[string]any{}, map[string]any{"x": nil}, math.MaxUint32})
	}
	e := m.types[name]
	switch e.MetaType {
	case "enum":
		return pick(m, e.Values)
	case "array":
		list := []any{}
		for range m.IntN(3) {
			list = append(list, m.value(e.ElementType, depth+1))
		}
		return list
	case "object":
		return m.object(e, depth)
	case "alternate":
		return m.value(pick(m, e.Members).Type, depth)
	}
	switch e.JSONType {
	case "string":
		return pick(m, texts)
	case "int":
		return pick(m, integers)
	case "number":
		return m.NormFloat64() * 1e6
	case "boolean":
		return m.IntN(2) == 0
	case "null":
		return nil
	}
	return pick(m, []any{nil, false, 17, "text", []any{}, map[string]any{}})
}

// deep is how far objects nest before optional members are left out.
const deep = 6

func (m *maker) object(e entity, depth int) map[string]any {
	out := map[string]any{}
	for _, member := range e.Members {
		if member.Default != nil && (depth > deep || m.IntN(2) == 0) || m.Float64() < m.wrong {
			continue
		}
		out[member.Name] = m.value(member.Type, depth+1)
	}
	for _, v := range e.Variants {
		if out[e.Tag] == v.Case {
			for name, value := range m.object(m.types[v.Type], depth) {
				out[name] = value
			}
		}
	}
	if m.Float64() < m.wrong {
		out[pick(m, texts)] = 1
	}
	return out
}

// ends are the commands that end the VM.
var ends = []string{"quit"}

// schema returns the commands that there are, and the types they need.
func schema(t *testing.T, c *conn) (commands []entity, types map[string]entity) {
	t.Helper()
	c.send(`{"execute": "query-qmp-schema"}`)
	var reply struct{ Return []entity }
	if err := json.Unmarshal([]byte(c.until(line)), &reply); err != nil {
		t.Fatal(err)
	}
	types = map[string]entity{}
	for _, e := range reply.Return {
		if e.MetaType == "command" {
			commands = append(commands, e)
		} else {
			types[e.Name] = e
		}
	}
	return slices.DeleteFunc(commands, func(e entity) bool { return slices.Contains(ends, e.Name) }), types
}

// TestRandomCommands has a VM execute commands with random arguments, most of them
// such as the schema allows. Each is answered, and the VM lives.
func TestRandomCommands(t *testing.T) {
	for seed := range uint64(hvrun.Count(3, 100)) {
		random(t, seed, hvrun.Count(1000, 10000))
	}
}

func random(t *testing.T, seed uint64, n int) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "q")
	cmd := exec.Command(hvrun.Binary(t), "-nodefaults", "-display", "none", "-cpu", "host", "-m", "64", "-append", "idle", "-no-shutdown",
		"-qmp", "unix:"+path+",server=on,wait=off", "-object", "rng-random,id=source,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=source,id=dice",
		"-drive", "file="+hvrun.Image(t, dir, 1)+",format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-balloon-pci", "-device", "pcie-root-port,id=port")
	cmd.Dir = dir
	p := hvrun.StartCmd(t, cmd)
	c := dial(t, p, path)
	c.send(negotiate)
	c.until(line)
	c.until(line)
	commands, types := schema(t, c)
	m := &maker{rand.New(rand.NewPCG(seed, 1)), types, 0.03}
	good := 0
	for i := range n {
		e := pick(m, commands)
		request, err := json.Marshal(map[string]any{"execute": e.Name, "arguments": m.value(e.ArgType, 0), "id": i})
		if err != nil {
			t.Fatal(err)
		}
		ok := answered(c, string(request), i)
		if ok {
			good++
		}
		if e.Name == "set-action" { // what would end the VM is not to last
			answered(c, fmt.Sprintf(`{"execute": "set-action", "arguments": {"shutdown": "pause"}, "id": %d}`, i), i)
		}
		if t.Failed() {
			t.Fatalf("seed %d, command %d: %.2000s", seed, i, request)
		}
	}
	if good < n/10 {
		t.Errorf("seed %d: only %d of %d commands succeeded", seed, good, n)
	}
	t.Logf("seed %d: %d of %d commands succeeded", seed, good, n)
	c.send(`{"execute": "quit"}`)
	if status := p.Wait(t); status != 0 || strings.Contains(p.Output(), "panic:") || strings.Contains(p.Output(), "DATA RACE") {
		t.Errorf("seed %d: ended with %d: %s", seed, status, p.Output())
	}
}

// answered sends a command, reads to its reply and tells whether it succeeded.
func answered(c *conn, request string, id int) bool {
	c.t.Helper()
	c.send(request)
	for {
		s := c.until(line)
		var reply struct {
			Return, Error, Event json.RawMessage
			ID                   json.RawMessage
		}
		if err := json.Unmarshal([]byte(s), &reply); err != nil {
			c.t.Errorf("%.300q: %v", s, err)
			return false
		}
		if reply.Event != nil {
			continue
		}
		if string(reply.ID) != fmt.Sprint(id) || (reply.Return == nil) == (reply.Error == nil) {
			c.t.Errorf("to %d: %.300q", id, s)
		}
		return reply.Return != nil
	}
}
