package qapi

import (
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// Encoder writes JSON as QEMU does: ASCII only, members separated by a comma and
// a space, or in pretty form each on a line of its own, indented by four.
// Lines end in CRLF. It keeps its buffer from message to message.
type Encoder struct {
	buf    []byte
	depth  int
	pretty bool
	comma  bool
}

// NewEncoder returns an encoder for the compact or the pretty form.
func NewEncoder(pretty bool) *Encoder { return &Encoder{pretty: pretty} }

// Reset empties the buffer.
func (e *Encoder) Reset() {
	if cap(e.buf) > keep {
		e.buf = nil
	}
	e.buf, e.depth, e.comma = e.buf[:0], 0, false
}

// Bytes returns what was written since Reset; it is valid until the next write.
func (e *Encoder) Bytes() []byte { return e.buf }

// EndLine ends a message.
func (e *Encoder) EndLine() { e.buf = append(e.buf, '\r', '\n') }

func (e *Encoder) newline() {
	e.EndLine()
	for range e.depth {
		e.buf = append(e.buf, "    "...)
	}
}

func (e *Encoder) begin(c byte) {
	e.buf = append(e.buf, c)
	e.depth++
	e.comma = false
}

func (e *Encoder) end(c byte) {
	e.depth--
	if e.pretty {
		e.newline()
	}
	e.buf = append(e.buf, c)
	e.comma = true
}

// BeginObject begins an object; each member is a Key and then a value.
func (e *Encoder) BeginObject() { e.begin('{') }

// EndObject ends it.
func (e *Encoder) EndObject() { e.end('}') }

// BeginArray begins an array; each element is Elem and then a value.
func (e *Encoder) BeginArray() { e.begin('[') }

// EndArray ends it.
func (e *Encoder) EndArray() { e.end(']') }

// Elem begins an element of an array.
func (e *Encoder) Elem() {
	switch {
	case e.comma && e.pretty:
		e.buf = append(e.buf, ',')
		e.newline()
	case e.comma:
		e.buf = append(e.buf, ',', ' ')
	case e.pretty:
		e.newline()
	}
	e.comma = true
}

// Key begins a member of an object.
func (e *Encoder) Key(name string) {
	e.Elem()
	e.String(name)
	e.buf = append(e.buf, ':', ' ')
}

// Null writes null.
func (e *Encoder) Null() { e.buf = append(e.buf, "null"...) }

// Bool writes a boolean.
func (e *Encoder) Bool(b bool) { e.buf = strconv.AppendBool(e.buf, b) }

// Int writes a number.
func (e *Encoder) Int(i int64) { e.buf = strconv.AppendInt(e.buf, i, 10) }

// Uint writes a number.
func (e *Encoder) Uint(u uint64) { e.buf = strconv.AppendUint(e.buf, u, 10) }

// Float writes a number with the 17 digits that identify it. What is beyond
// float64 is written as a number that reads as such.
func (e *Encoder) Float(f float64) {
	switch {
	case math.IsInf(f, 1):
		e.buf = append(e.buf, "1e999"...)
	case math.IsInf(f, -1):
		e.buf = append(e.buf, "-1e999"...)
	default:
		e.buf = strconv.AppendFloat(e.buf, f, 'g', 17, 64)
		if f == 0 && math.Signbit(f) {
			e.buf = append(e.buf, ".0"...) // "-0" would be read as an integer, without its sign
		}
	}
}

// plain tells whether a byte stands for itself in a string.
func plain(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }

// String writes a string.
func (e *Encoder) String(s string) {
	e.buf = append(e.buf, '"')
	for len(s) > 0 {
		n := 0
		for n < len(s) && plain(s[n]) {
			n++
		}
		e.buf = append(e.buf, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			size = malformed(s)
		}
		e.escape(r)
		s = s[size:]
	}
	e.buf = append(e.buf, '"')
}

// malformed returns how many bytes at the start of s are one malformed sequence:
// the first, and those after it that look like its continuation.
func malformed(s string) int {
	want := bits.LeadingZeros8(^s[0])
	if want < 2 || want > 6 {
		return 1
	}
	n := 1
	for n < min(want, len(s)) && s[n]&0xc0 == 0x80 {
		n++
	}
	return n
}

// short holds the letters of the escapes that have one.
var short = [...]byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r', '"': '"', '\\': '\\'}

func (e *Encoder) escape(r rune) {
	switch {
	case int(r) < len(short) && short[r] != 0:
		e.buf = append(e.buf, '\\', short[r])
	case r > 0xffff && !Noncharacter(r):
		r -= 0x10000
		e.hex(0xd800 + r>>10)
		e.hex(0xdc00 + r&0x3ff)
	case Noncharacter(r):
		e.hex(utf8.RuneError)
	default:
		e.hex(r)
	}
}

func (e *Encoder) hex(r rune) {
	const digits = "0123456789ABCDEF"
	e.buf = append(e.buf, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// Noncharacter tells whether r is one of the code points that Unicode sets aside
// for internal use. QMP does not transport them.
func Noncharacter(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe }

// Value writes a value that was read, an object's members in QEMU's order.
func (e *Encoder) Value(v Value) {
	switch v.Kind() {
	case Bool:
		e.Bool(v.Bool())
	case Int:
		e.Int(int64(v.node().bits))
	case Uint:
		e.Uint(v.node().bits)
	case Float:
		f, _ := v.Float64()
		e.Float(f)
	case String:
		e.text(v.text())
	case Array:
		e.BeginArray()
		for m := range v.Elements() {
			e.Elem()
			e.Value(m)
		}
		e.EndArray()
	case Object:
		e.object(v)
	default:
		e.Null()
	}
}

func (e *Encoder) object(v Value) {
	e.BeginObject()
	e.members(v)
	e.EndObject()
}

// members writes the members of an object into another.
func (e *Encoder) members(v Value) {
	for k, m := range v.Ordered() {
		e.Elem()
		e.text(k.text())
		e.buf = append(e.buf, ':', ' ')
		e.Value(m)
	}
}

// text writes a string that need not be copied if all of it is plain.
func (e *Encoder) text(b []byte) {
	for _, c := range b {
		if !plain(c) {
			e.String(string(b))
			return
		}
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, b...)
	e.buf = append(e.buf, '"')
}
