package qom

import "hv/qmp/qapi"

// Str is a value that is a text.
func Str(s string) Getter { return func(d *qapi.Document) { d.AddString([]byte(s)) } }

// Bool is a value that is a truth.
func Bool(b bool) Getter { return func(d *qapi.Document) { d.AddBool(b) } }

// Int is a value that is a number.
func Int(i int64) Getter { return func(d *qapi.Document) { d.AddInt(i) } }

// Uint is a value that is a number, which may lie beyond int64.
func Uint(u uint64) Getter {
	return func(d *qapi.Document) {
		if int64(u) >= 0 {
			d.AddInt(int64(u))
		} else {
			d.AddUint(u)
		}
	}
}

// Member is a member of a Struct.
type Member struct {
	Name  string
	Value Getter
}

// Struct is a value with members.
func Struct(members ...Member) Getter {
	return func(d *qapi.Document) {
		at := d.Open(qapi.Object)
		for _, m := range members {
			d.AddString([]byte(m.Name))
			m.Value(d)
		}
		d.Close(at, len(members))
	}
}

// List is a value with elements.
func List(elements ...Getter) Getter {
	return func(d *qapi.Document) {
		at := d.Open(qapi.Array)
		for _, e := range elements {
			e(d)
		}
		d.Close(at, len(elements))
	}
}
