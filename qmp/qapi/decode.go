package qapi

import "fmt"

// ParamError is what is wrong with a value: the texts are QEMU's.
type ParamError struct {
	path   string // of the member, from the top
	named  bool   // there is a path
	format string // with the path as its first argument
	arg    string // the second, if it has one
	local  bool   // names the member alone, not its path
}

// Error implements error.
func (e *ParamError) Error() string {
	path := e.path
	if !e.named {
		path = "<anonymous>"
	}
	if e.arg == "" {
		return fmt.Sprintf(e.format, path)
	}
	return fmt.Sprintf(e.format, path, e.arg)
}

func wrongType(want string) error {
	return &ParamError{format: "Invalid parameter type for '%s', expected: %s", arg: want}
}

func outOfRange(want string) error {
	return &ParamError{format: "Parameter '%s' expects %s", arg: want, local: true}
}

func notOneOf(s []byte) error {
	// QEMU prints the value even if it is empty, so it is part of the format's
	// argument list either way.
	if len(s) == 0 {
		return &ParamError{format: "Parameter '%s' does not accept value ''", local: true}
	}
	return &ParamError{format: "Parameter '%s' does not accept value '%s'", arg: string(s), local: true}
}

// noneOf says that a value is none of what an alternate may be.
func noneOf(alternate string) error {
	return &ParamError{format: "Invalid parameter type for '%s', expected: %s", arg: alternate, local: true}
}

func missing(name string) error {
	return &ParamError{path: name, named: true, format: "Parameter '%s' is missing"}
}

// within adds the member in which err happened to its path.
func within(name string, err error) error {
	if p, ok := err.(*ParamError); ok && !(p.local && p.named) {
		if p.named && p.path[:min(1, len(p.path))] != "[" {
			name += "."
		}
		p.path, p.named = name+p.path, true
	}
	return err
}

// element adds the element in which err happened to its path.
func element(i int, err error) error {
	if p, ok := err.(*ParamError); ok && p.local && !p.named {
		p.path, p.named = "null", true // an element has no name
		return err
	}
	return within(fmt.Sprintf("[%d]", i), err)
}

// object is an object while it is decoded: it knows which members were taken.
type object struct {
	v    Value
	used uint64   // of the first 64 members
	more []uint64 // of the others
}

// object begins to decode an object. None is one without members, so that a
// command's arguments may be absent.
func (v Value) object() (object, error) {
	if k := v.Kind(); k != Object && k != None {
		return object{}, wrongType("object")
	}
	return object{v: v}, nil
}

// take returns a member and marks it as expected.
func (o *object) take(name string) (Value, bool) {
	i := 0
	for k, m := range o.v.Members() {
		if string(k.text()) == name {
			o.mark(i)
			return m, true
		}
		i++
	}
	return Value{}, false
}

func (o *object) mark(i int) {
	if i < 64 {
		o.used |= 1 << i
		return
	}
	if o.more == nil {
		o.more = make([]uint64, o.v.Len()/64)
	}
	o.more[i/64-1] |= 1 << (i % 64)
}

func (o *object) taken(i int) bool {
	if i < 64 {
		return o.used>>i&1 != 0
	}
	return o.more != nil && o.more[i/64-1]>>(i%64)&1 != 0
}

// finish returns an error if there is a member that nobody took.
func (o *object) finish() error {
	if o.v.doc == nil || o.v.doc.lenient {
		return nil
	}
	i := 0
	for k := range o.v.Members() {
		if !o.taken(i) {
			return &ParamError{path: string(k.text()), named: true, format: "Parameter '%s' is unexpected"}
		}
		i++
	}
	return nil
}

// rest returns the members that nobody took, None if there are none.
func (o *object) rest() Value {
	return NewValue(func(d *Document) {
		at, n, i := -1, 0, 0
		for k, m := range o.v.Members() {
			if !o.taken(i) {
				if at < 0 {
					at = d.Open(Object)
				}
				d.AddValue(k)
				d.AddValue(m)
				n++
			}
			i++
		}
		if at >= 0 {
			d.Close(at, n)
		}
	})
}

func (v Value) array() error {
	if v.Kind() != Array {
		return wrongType("array")
	}
	return nil
}

// enum returns a string, of which the caller finds the constant.
func (v Value) enum() ([]byte, error) {
	if v.Kind() != String {
		return nil, wrongType("string")
	}
	return v.text(), nil
}

func decodeString(v Value, dst *string) error {
	if v.Kind() != String {
		return wrongType("string")
	}
	*dst = string(v.text())
	return nil
}

func decodeBool(v Value, dst *bool) error {
	if v.isText() {
		return parseBool(v, dst)
	}
	if v.Kind() != Bool {
		return wrongType("boolean")
	}
	*dst = v.Bool()
	return nil
}

func decodeInt64(v Value, dst *int64) error {
	if v.isText() {
		return parseInt(v, dst)
	}
	i, ok := v.Int64()
	if !ok {
		return wrongType("integer")
	}
	*dst = i
	return nil
}

// decodeUint64 takes negative numbers too, as two's complement, as QEMU does.
func decodeUint64(v Value, dst *uint64) error {
	if v.isText() {
		return parseUint(v, dst)
	}
	if k := v.Kind(); k != Int && k != Uint {
		err := outOfRange("uint64").(*ParamError)
		err.local = false
		return err
	}
	*dst = v.node().bits
	return nil
}
