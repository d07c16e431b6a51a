package qapi

import (
	"iter"
	"math"
)

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds. A number is Int if it fits int64, else Uint if it fits uint64,
// else, and if it has a fraction or an exponent, Float.
const (
	None Kind = iota // no value
	Null
	Bool
	Int
	Uint
	Float
	String
	Object
	Array
)

// node is a value of a Document. A container is followed by what it holds, an
// object's keys each before their value.
type node struct {
	bits uint64 // a scalar's value; a string's offset in text << 32 | length; a container's size
	end  uint32 // index of the node after this value
	kind Kind
}

// Document is a JSON value in two flat buffers, which are used again for the next
// one. It is filled front to back by a parser and read through Values.
type Document struct {
	nodes   []node
	text    []byte
	lenient bool
	keyval  bool
}

// keep is what a Document keeps of its buffers when it is reset, in nodes and
// bytes, so that one large value is not paid for ever after.
const keep = 16 << 10

// SetLenient makes decoders ignore unexpected members, as a client should that
// talks to a newer server.
func (d *Document) SetLenient() { d.lenient = true }

// SetKeyval has strings stand for booleans and numbers, too, as on a command line.
func (d *Document) SetKeyval() { d.keyval = true }

// Reset empties the document and makes its Values invalid.
func (d *Document) Reset() {
	if cap(d.nodes) > keep || cap(d.text) > keep {
		d.nodes, d.text = nil, nil
	}
	d.nodes, d.text = d.nodes[:0], d.text[:0]
}

func (d *Document) add(k Kind, bits uint64) {
	d.nodes = append(d.nodes, node{bits, uint32(len(d.nodes) + 1), k})
}

// AddNull appends null.
func (d *Document) AddNull() { d.add(Null, 0) }

// AddBool appends a boolean.
func (d *Document) AddBool(b bool) {
	if b {
		d.add(Bool, 1)
	} else {
		d.add(Bool, 0)
	}
}

// AddInt appends a number.
func (d *Document) AddInt(i int64) { d.add(Int, uint64(i)) }

// AddUint appends a number beyond int64.
func (d *Document) AddUint(u uint64) { d.add(Uint, u) }

// AddFloat appends a number that is no integer of 64 bits.
func (d *Document) AddFloat(f float64) { d.add(Float, math.Float64bits(f)) }

// AddString appends a string, or the key of the member whose value comes next.
func (d *Document) AddString(s []byte) {
	d.add(String, uint64(len(d.text))<<32|uint64(len(s)))
	d.text = append(d.text, s...)
}

// Open begins an Object or an Array and returns what Close needs.
func (d *Document) Open(k Kind) int {
	d.add(k, 0)
	return len(d.nodes) - 1
}

// Close ends the container begun as at, which has size members or elements.
func (d *Document) Close(at, size int) {
	d.nodes[at].bits = uint64(size)
	d.nodes[at].end = uint32(len(d.nodes))
}

// HasKey tells whether the open object begun as at has a member of this name.
// It looks at each member.
func (d *Document) HasKey(at int, key []byte) bool {
	for i := at + 1; i < len(d.nodes); {
		v := Value{d, uint32(i)}
		if string(v.text()) == string(key) {
			return true
		}
		if i+1 >= len(d.nodes) {
			return false
		}
		i = int(d.nodes[i+1].end)
	}
	return false
}

// Root returns the value that the document holds, which is None if it is empty.
func (d *Document) Root() Value {
	if len(d.nodes) == 0 {
		return Value{}
	}
	return Value{d, 0}
}

// At returns the container begun as at, once it is closed.
func (d *Document) At(at int) Value { return Value{d, uint32(at)} }

// Value is a value within a Document, valid until that is reset. The zero Value
// is of kind None.
type Value struct {
	doc *Document
	at  uint32
}

// Kind returns the value's kind.
func (v Value) Kind() Kind {
	if v.doc == nil {
		return None
	}
	return v.doc.nodes[v.at].kind
}

func (v Value) node() node { return v.doc.nodes[v.at] }

// text returns a string's bytes, which must not be changed or kept.
func (v Value) text() []byte {
	n := v.node()
	off := n.bits >> 32
	return v.doc.text[off : off+n.bits&math.MaxUint32]
}

// Text returns the bytes of a string, nil for other kinds. They must not be
// changed, nor used after the document was reset.
func (v Value) Text() []byte {
	if v.Kind() != String {
		return nil
	}
	return v.text()
}

// Bool returns a boolean, false for other kinds.
func (v Value) Bool() bool { return v.Kind() == Bool && v.node().bits != 0 }

// Int64 returns a number that fits.
func (v Value) Int64() (int64, bool) {
	if v.Kind() != Int {
		return 0, false
	}
	return int64(v.node().bits), true
}

// Uint64 returns a number that fits.
func (v Value) Uint64() (uint64, bool) {
	switch k := v.Kind(); {
	case k == Uint, k == Int && int64(v.node().bits) >= 0:
		return v.node().bits, true
	}
	return 0, false
}

// Float64 returns any number, rounded if need be.
func (v Value) Float64() (float64, bool) {
	switch v.Kind() {
	case Int:
		return float64(int64(v.node().bits)), true
	case Uint:
		return float64(v.node().bits), true
	case Float:
		return math.Float64frombits(v.node().bits), true
	}
	return 0, false
}

// Len returns the number of members or elements of a container.
func (v Value) Len() int {
	if k := v.Kind(); k != Object && k != Array {
		return 0
	}
	return int(v.node().bits)
}

// Get returns a member of an object, None if it is absent.
func (v Value) Get(name string) Value {
	for k, m := range v.Members() {
		if string(k.text()) == name {
			return m
		}
	}
	return Value{}
}

// Members yields the members of an object in the order in which they came.
func (v Value) Members() iter.Seq2[Value, Value] {
	return func(yield func(k, v Value) bool) {
		if v.Kind() != Object {
			return
		}
		for i, end := v.at+1, v.node().end; i < end; i = v.doc.nodes[i+1].end {
			if !yield(Value{v.doc, i}, Value{v.doc, i + 1}) {
				return
			}
		}
	}
}

// Elements yields the elements of an array.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != Array {
			return
		}
		for i, end := v.at+1, v.node().end; i < end; i = v.doc.nodes[i].end {
			if !yield(Value{v.doc, i}) {
				return
			}
		}
	}
}

// Clone returns a copy of the value in a document of its own.
func (v Value) Clone() Value {
	if v.doc == nil {
		return v
	}
	d := &Document{lenient: v.doc.lenient}
	d.AddValue(v)
	return d.Root()
}

// AddValue appends a copy of a value of another document, nothing for None.
func (d *Document) AddValue(v Value) {
	if v.doc == nil {
		return
	}
	by := uint32(len(d.nodes)) - v.at // wraps if the copy is in front of the original
	for _, n := range v.doc.nodes[v.at:v.node().end] {
		if n.kind == String {
			off := n.bits >> 32
			d.AddString(v.doc.text[off : off+n.bits&math.MaxUint32])
			continue
		}
		n.end += by
		d.nodes = append(d.nodes, n)
	}
}
