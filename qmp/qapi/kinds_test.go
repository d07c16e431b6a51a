package qapi_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

// TestKinds reads and writes values of every construct that a schema may have.
func TestKinds(t *testing.T) {
	const full = `{"str": "s", "bool": true, "num": 1.5, "i8": -128, "i16": -32768, "i32": -2147483648, "i64": -1, ` +
		`"u8": 255, "u16": 65535, "u32": 4294967295, "u64": 18446744073709551615, "any": [{"x": null}], "nil": null, "enum": "c", "list": ["a", "b"]%s}`
	for _, c := range []struct {
		into codec
		in   string
	}{
		{&qapi.AllTypes{}, fmt.Sprintf(full, "")},
		{&qapi.AllTypes{}, fmt.Sprintf(full, `, "maybe-any": null, "maybe-num": 3, "maybe-list": []`)},
		{&qapi.Outer{}, `{"id": "i", "letter": "c"}`},
		{&qapi.Outer{}, `{"id": "i", "letter": "b", "deep": 1, "deep-2": 2}`},
		{&qapi.Outer{}, `{"id": "i", "letter": "a", "kind": "c", "deep-2": 2}`},
		{&qapi.Alternates{}, `{}`},
		{&qapi.Alternates{}, `{"one": "x", "two": "b", "bits": 7}`},
		{&qapi.Alternates{}, `{"one": null, "two": {"id": "", "letter": "c"}, "bits": false}`},
		{&qapi.Alternates{}, `{"one": 0.5, "two": [{"id": "", "letter": "c"}], "many": ["a", {"id": "x", "letter": "b", "deep-2": 4}]}`},
		{&qapi.Open{}, `{"id": "i", "letter": "a", "whatever": {"a": [1, 2]}, "more": null}`},
		{&qapi.Open{}, `{"id": "i", "letter": "a"}`},
	} {
		if err := c.into.DecodeQAPI(parse(t, c.in)); err != nil {
			t.Errorf("%T from %s: %v", c.into, c.in, err)
			continue
		}
		got, back := encode(c.into, false), reflect.New(reflect.TypeOf(c.into).Elem()).Interface().(codec)
		if len(got) != len(c.in) { // the same but for the order
			t.Errorf("%T from %s: written as %s", c.into, c.in, got)
		}
		if err := back.DecodeQAPI(parse(t, got)); err != nil || encode(back, true) != encode(c.into, true) {
			t.Errorf("%T from %s: read back %+v, %v", c.into, got, back, err)
		}
	}
}

// TestAlternateKeepsOne checks that the alternative that fits is set, and it alone.
func TestAlternateKeepsOne(t *testing.T) {
	var a qapi.Alternates
	if err := a.DecodeQAPI(parse(t, `{'one': 3, 'two': {'id': 'x', 'letter': 'b', 'deep-2': 9}}`)); err != nil {
		t.Fatal(err)
	}
	if a.One.N == nil || *a.One.N != 3 || a.One.S != nil || a.One.Z != nil {
		t.Errorf("one: %+v", a.One)
	}
	if d := a.Two.Definition; d == nil || d.Id != "x" || d.B == nil || d.B.Deep2 != 9 || a.Two.Reference != nil || a.Two.Many != nil {
		t.Errorf("two: %+v", a.Two)
	}
	if got := encode(&qapi.StrOrNumber{}, false); got != "null" {
		t.Errorf("nothing is written as %s", got)
	}
}

// TestRest checks that what is kept outlives the document that it came in.
func TestRest(t *testing.T) {
	v := parse(t, `{'x': 'text', 'letter': 'a', 'y': {'z': ['deep']}, 'id': 'i'}`)
	var o qapi.Open
	if err := o.DecodeQAPI(v); err != nil {
		t.Fatal(err)
	}
	e := qapi.NewEncoder(false)
	e.Value(o.Rest)
	if got := string(e.Bytes()); o.Rest.Len() != 2 || string(o.Rest.Get("x").Text()) != "text" || !strings.Contains(got, `"y": {"z": ["deep"]}`) {
		t.Errorf("rest %s", got)
	}
	none := qapi.NewValue(func(*qapi.Document) {})
	if none.Kind() != qapi.None {
		t.Errorf("a value of kind %d from nothing", none.Kind())
	}
	one := qapi.NewValue(func(d *qapi.Document) { d.AddValue(v.Get("y")) })
	if string(one.Get("z").Kind()) != string(qapi.Array) || one.Get("z").Len() != 1 {
		t.Error("a copied value lost its members")
	}
}

// TestKindErrors compares texts with those of QEMU 7.2's visitor.
func TestKindErrors(t *testing.T) {
	for _, c := range []struct {
		into qapi.Decodable
		in   string
		want string
	}{
		{&qapi.AllTypes{}, `{'str': '', 'bool': true, 'num': 'x'}`, "Invalid parameter type for 'num', expected: number"},
		{&qapi.AllTypes{}, `{'str': '', 'bool': true, 'num': 1, 'i8': 128}`, "Parameter 'i8' expects int8_t"},
		{&qapi.AllTypes{}, `{'str': '', 'bool': true, 'num': 1, 'i8': 1.5}`, "Invalid parameter type for 'i8', expected: integer"},
		{&qapi.AllTypes{}, `{'str': '', 'bool': true, 'num': 1, 'i8': 1, 'i16': -32769}`, "Parameter 'i16' expects int16_t"},
		{&qapi.AllTypes{}, `{'str': '', 'bool': true, 'num': 1, 'i8': 1, 'i16': 1, 'i32': 2147483648}`, "Parameter 'i32' expects int32_t"},
		{&qapi.AllTypes{}, `{'str': '', 'bool': true, 'num': 1, 'i8': 1, 'i16': 1, 'i32': 1, 'i64': 1, 'u8': 256}`, "Parameter 'u8' expects uint8_t"},
		{&qapi.AllTypes{}, `{'str': '', 'bool': true, 'num': 1, 'i8': 1, 'i16': 1, 'i32': 1, 'i64': 1, 'u8': 1, 'u16': -1}`, "Parameter 'u16' expects uint16_t"},
		{new(qapi.NullType), `1`, "Invalid parameter type for '<anonymous>', expected: null"},
		{&qapi.Alternates{}, `{'one': true}`, "Invalid parameter type for 'one', expected: StrOrNumber"},
		{&qapi.Alternates{}, `{'one': {}}`, "Invalid parameter type for 'one', expected: StrOrNumber"},
		{&qapi.Alternates{}, `{'two': null}`, "Invalid parameter type for 'two', expected: OuterRef"},
		{&qapi.Alternates{}, `{'two': 'z'}`, "Parameter 'two' does not accept value 'z'"},
		{&qapi.Alternates{}, `{'two': {}}`, "Parameter 'two.id' is missing"},
		{&qapi.Alternates{}, `{'two': {'id': '', 'letter': 'c', 'more': 1}}`, "Parameter 'two.more' is unexpected"},
		{&qapi.Alternates{}, `{'two': {'id': '', 'letter': 'b', 'deep': 1}}`, "Parameter 'two.deep-2' is missing"},
		{&qapi.Alternates{}, `{'two': [[]]}`, "Invalid parameter type for 'two[0]', expected: object"},
		{&qapi.Alternates{}, `{'many': [1]}`, "Invalid parameter type for 'null', expected: OuterRef"},
		{&qapi.Alternates{}, `{'bits': 256}`, "Parameter 'bits' expects uint8_t"},
		{&qapi.Alternates{}, `{'bits': 1.5}`, "Parameter 'bits' expects uint64"},
		{&qapi.Open{}, `{'letter': 'a', 'x': 1}`, "Parameter 'id' is missing"},
		{&qapi.Outer{}, `{'id': 'i', 'letter': 'a', 'kind': 'a', 'deep-2': 2}`, "Parameter 'deep-2' is unexpected"},
	} {
		err := c.into.DecodeQAPI(parse(t, c.in))
		if err == nil || err.Error() != c.want {
			t.Errorf("%T from %s: %v, want %s", c.into, c.in, err, c.want)
		}
	}
}
