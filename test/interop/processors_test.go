package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"hv/test/hvrun"
)

// pair is hv and QEMU, started alike.
type pair struct{ ours, theirs *conn }

func startPair(t *testing.T, args ...string) pair {
	t.Helper()
	start := func(program string) *conn {
		path := filepath.Join(t.TempDir(), "q")
		p := hvrun.Start(t, program, append([]string{"-nodefaults", "-display", "none", "-S", "-qmp", "unix:" + path + ",server=on,wait=off"}, args...)...)
		c := dial(t, p, path)
		c.until(line)
		c.send("{'execute': 'qmp_capabilities'}\n")
		c.until(line)
		return c
	}
	return pair{start(hvrun.Binary(t)), start(hvrun.Tool(t, qemu))}
}

// query sends a command and returns what came back: the value, or an error's text.
func (c *conn) query(command string, args any) any {
	c.t.Helper()
	request, err := json.Marshal(map[string]any{"execute": command, "arguments": args})
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(string(request) + "\n")
	for {
		var reply struct {
			Return any
			Error  *struct{ Desc string }
			Event  string
		}
		text := c.until(line)
		if err := json.Unmarshal([]byte(text), &reply); err != nil {
			c.t.Fatalf("%s: %v in %.200q", command, err, text)
		}
		switch {
		case reply.Error != nil:
			return reply.Error.Desc
		case reply.Event == "":
			return reply.Return
		}
	}
}

type object = map[string]any

// byName makes an object of a list whose elements have names.
func byName(t *testing.T, list any) object {
	t.Helper()
	out := object{}
	elements, ok := list.([]any)
	if !ok {
		t.Fatalf("%v is no list", list)
	}
	for _, e := range elements {
		o := e.(object)
		out[fmt.Sprint(o["name"])] = o
	}
	return out
}

// differ tells which members differ, but for those that may.
func differ(t *testing.T, what string, ours, theirs object, may ...string) {
	t.Helper()
	keys := maps.Clone(ours)
	maps.Copy(keys, theirs)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		a, inOurs := ours[k]
		b, inTheirs := theirs[k]
		if (inOurs != inTheirs || !reflect.DeepEqual(a, b)) && !slices.Contains(may, k) {
			t.Errorf("%s: %s is %v, QEMU's %v", what, k, a, b)
		}
	}
}

// TestProcessorModels: each model has the same features, and the same are missing.
func TestProcessorModels(t *testing.T) {
	for _, machine := range []string{"none", "microvm"} {
		p := startPair(t, "-machine", machine+",accel=kvm", "-m", "64")
		ours, theirs := byName(t, p.ours.query("query-cpu-definitions", object{})), byName(t, p.theirs.query("query-cpu-definitions", object{}))
		differ(t, machine, ours, theirs)
		for _, name := range slices.Sorted(maps.Keys(theirs)) {
			args := object{"type": "static", "model": object{"name": name}}
			compareExpansion(t, p, args, "kvm-msi-ext-dest-id") // QEMU's microvm has its I/O APIC outside KVM
		}
	}
}

// compareExpansion compares what both make of a model.
func compareExpansion(t *testing.T, p pair, args object, may ...string) object {
	t.Helper()
	model := func(c *conn) object {
		r, ok := c.query("query-cpu-model-expansion", args).(object)
		if !ok {
			t.Fatalf("%v: %v", args, r)
		}
		return r["model"].(object)
	}
	a, b := model(p.ours), model(p.theirs)
	if a["name"] != b["name"] {
		t.Errorf("%v has become %v, QEMU's %v", args, a["name"], b["name"])
	}
	differ(t, fmt.Sprint(args), a["props"].(object), b["props"].(object), may...)
	return a
}

// TestExpansion is what libvirt asks of the host's processor: all that hv has of its own way
// are things that it does not do, and caches.
func TestExpansion(t *testing.T) {
	p := startPair(t, "-machine", "none,accel=kvm")
	own := []string{"memory", "vmware-cpuid-freq", "pmu", "host-phys-bits", "legacy-cache", "hv-passthrough"}
	static := compareExpansion(t, p, object{"type": "static", "model": object{"name": "host"}})
	compareExpansion(t, p, object{"type": "full", "model": static}, own...)
	compareExpansion(t, p, object{"type": "static", "model": object{"name": "host", "props": object{"migratable": false}}})
	compareExpansion(t, p, object{"type": "full", "model": object{"name": "host", "props": object{"migratable": false, "hv-passthrough": true}}}, own...)
	compareExpansion(t, p, object{"type": "full", "model": object{"name": "EPYC-Rome", "props": object{"svm": true, "family": 6, "kvm": false}}}, own...)
	for _, model := range []object{
		{"name": "nope"}, {"name": "host", "props": object{"nope": 1}}, {"name": "host", "props": object{"avx2": 1}},
		{"name": "EPYC", "props": object{"stepping": true}}, {"name": "EPYC", "props": object{"model-id": 3}},
	} {
		args := object{"type": "full", "model": model}
		if a, b := p.ours.query("query-cpu-model-expansion", args), p.theirs.query("query-cpu-model-expansion", args); a != b {
			t.Errorf("%v: %v, QEMU: %v", model, a, b)
		}
	}
}

// TestMachineQueries compares what is said of machines, the places of vCPUs and memory.
func TestMachineQueries(t *testing.T) {
	memory := []string{"-object", "memory-backend-memfd,id=ram,size=64M,share=on,merge=off", "-m", "64"}
	for _, args := range [][]string{
		append(memory, "-machine", "q35,accel=kvm,memory-backend=ram", "-smp", "2,maxcpus=4,sockets=2,cores=2"),
		append(memory, "-machine", "q35,accel=kvm,memory-backend=ram", "-smp", "8,sockets=2,dies=2,cores=1,threads=2", "-cpu", "EPYC-v2"),
		append(memory, "-machine", "microvm,accel=kvm,memory-backend=ram"),
		{"-machine", "none,accel=kvm"},
	} {
		p := startPair(t, args...)
		for _, command := range []string{"query-hotpluggable-cpus", "query-cpus-fast", "query-memdev", "query-memory-size-summary", "query-memory-devices", "query-kvm"} {
			a, b := neutral(p.ours.query(command, object{})), neutral(p.theirs.query(command, object{}))
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%q: %s: %v, QEMU: %v", args, command, a, b)
			}
		}
		if _, ok := p.ours.query("query-current-machine", object{}).(object)["wakeup-suspend-support"].(bool); !ok {
			t.Error("query-current-machine does not say whether there is suspension")
		}
		machines(t, p)
	}
}

// neutral takes out of an answer what differs from run to run or by the objects that
// QEMU has beside.
func neutral(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = neutral(v[i])
		}
	case object:
		if _, ok := v["qom-path"]; ok {
			v["qom-path"] = "PATH"
		}
		if n, ok := v["thread-id"].(float64); ok && n > 1 && v["cpu-index"] != nil {
			v["thread-id"] = "TID"
		}
		for k := range v {
			v[k] = neutral(v[k])
		}
	}
	return v
}

// machines compares the machines that both have. hv allows more vCPUs, and has no nodes of
// memory on old machines either.
func machines(t *testing.T, p pair) {
	t.Helper()
	ours, theirs := byName(t, p.ours.query("query-machines", object{})), byName(t, p.theirs.query("query-machines", object{}))
	for name, m := range ours {
		there, ok := theirs[name].(object)
		if !ok {
			t.Errorf("QEMU has no machine %s", name)
			continue
		}
		differ(t, name, m.(object), there, "cpu-max", "is-default", "numa-mem-supported")
	}
}
