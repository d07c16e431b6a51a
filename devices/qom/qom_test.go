package qom

import (
	"errors"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

func tree() *Object {
	root := New("container")
	m := root.Add("machine", New("board"))
	p := m.Add("peripheral", New("container"))
	level := int64(1)
	p.Add("a", New("thing",
		Property{Name: "level", Type: "int", Get: func(d *qapi.Document) { d.AddInt(level) }, Set: func(v qapi.Value) error {
			n, ok := v.Int64()
			if !ok {
				return errors.New("no number")
			}
			level = n
			return nil
		}},
		Property{Name: "secret", Type: "string"},
		Property{Name: "fixed", Type: "string", Get: Str("x")}))
	root.Add("objects", New("container")).Add("a", New("other"))
	return root
}

func text(v qapi.Value) string {
	e := qapi.NewEncoder(false)
	e.Value(v)
	return string(e.Bytes())
}

func TestResolve(t *testing.T) {
	root := tree()
	for path, want := range map[string]string{
		"/": "/", "": "/", "/machine": "/machine", "/machine//peripheral/a/": "/machine/peripheral/a", "peripheral/a": "/machine/peripheral/a",
		"peripheral": "/machine/peripheral", "objects": "/objects",
	} {
		o, err := root.Resolve(path)
		if path == "" {
			// Every object matches the empty partial path.
			if err == nil {
				t.Error("an empty path means one object")
			}
			continue
		}
		if err != nil || o.Path() != want {
			t.Errorf("%q: %v, %v", path, o, err)
		}
	}
	for path, want := range map[string]string{"a": "does not uniquely identify an object", "/a": "Device '/a' not found", "b": "Device 'b' not found"} {
		if _, err := root.Resolve(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := root.Resolve("/nothing"); qapi.ClassOf(err) != qapi.QapiErrorClassDeviceNotFound {
		t.Errorf("class of %v", err)
	}
}

func TestProperties(t *testing.T) {
	o, err := tree().Resolve("/machine/peripheral/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Set("level", qapi.NewValue(Int(7))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"type": `"thing"`, "level": "7", "fixed": `"x"`} {
		if v, err := o.Get(name); err != nil || text(v) != want {
			t.Errorf("%s is %s, %v", name, text(v), err)
		}
	}
	if err := o.Set("level", qapi.NewValue(Bool(true))); err == nil {
		t.Error("a number was set to a truth")
	}
	if err := o.Set("fixed", qapi.NewValue(Str("y"))); err == nil || !strings.Contains(err.Error(), "'thing.fixed' is not writable") {
		t.Error(err)
	}
	if _, err := o.Get("secret"); err == nil || !strings.Contains(err.Error(), "is not readable") {
		t.Error(err)
	}
	if _, err := o.Get("nothing"); err == nil || !strings.Contains(err.Error(), "Property 'thing.nothing' not found") {
		t.Error(err)
	}
	if err := o.Set("nothing", qapi.Value{}); err == nil {
		t.Error("a property that is not there was set")
	}
	if c := o.parent.List()[1]; c.Name != "a" || c.Type != "child<thing>" || text(qapi.NewValue(c.Get)) != `"/machine/peripheral/a"` {
		t.Errorf("child %+v", c)
	}
}

func TestValues(t *testing.T) {
	v := qapi.NewValue(Struct(Member{"list", List(Int(-1), Uint(1<<63), Uint(5), Bool(false))}, Member{"text", Str("t")}))
	if got := text(v); !strings.Contains(got, `"list": [-1, 9223372036854775808, 5, false]`) || !strings.Contains(got, `"text": "t"`) {
		t.Error(got)
	}
}

func types() *Types {
	return NewTypes(Type{Name: "object", Abstract: true}, Type{Name: "device", Parent: "object", Abstract: true, Props: func() []Property {
		return []Property{{Name: "realized", Type: "bool"}, {Name: "speed", Type: "int", Default: Int(1)}}
	}}, Type{Name: "car", Parent: "device", Props: func() []Property { return []Property{{Name: "speed", Type: "int", Default: Int(9)}} }},
		Type{Name: "box", Parent: "object"})
}

func TestTypes(t *testing.T) {
	ts := types()
	names := func(list []Type) (s string) {
		for _, x := range list {
			s += x.Name + " "
		}
		return s
	}
	for _, c := range []struct {
		ancestor string
		abstract bool
		want     string
	}{{"", false, "box car "}, {"", true, "box car device object "}, {"device", false, "car "}, {"device", true, "car device "}, {"nothing", true, ""}} {
		if got := names(ts.List(c.ancestor, c.abstract)); got != c.want {
			t.Errorf("%q %v: %q", c.ancestor, c.abstract, got)
		}
	}
	p, err := ts.DeviceProperties("car")
	if err != nil || len(p) != 1 || text(qapi.NewValue(p[0].Default)) != "9" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ts.Properties("device"); err != nil || len(p) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	for name, want := range map[string]string{"device": "non-abstract", "box": "non-abstract", "nothing": "Device 'nothing' not found"} {
		if _, err := ts.DeviceProperties(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ts.Properties("nothing"); qapi.ClassOf(err) != qapi.QapiErrorClassDeviceNotFound {
		t.Error(err)
	}
}

// TestMistakes: types that cannot be right are found when the program starts.
func TestMistakes(t *testing.T) {
	for _, list := range [][]Type{{{Name: "a"}, {Name: "a"}}, {{Name: "a", Parent: "b"}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was taken", list)
				}
			}()
			NewTypes(list...)
		}()
	}
}
