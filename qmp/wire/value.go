package wire

import (
	"math"
	"strconv"

	"hv/qmp/qapi"
)

// pop takes a token.
func (p *Parser) pop() (token, error) {
	if p.next == len(p.tokens) {
		return token{}, parseError("premature EOI")
	}
	p.next++
	return p.tokens[p.next-1], nil
}

func (p *Parser) text(t token) []byte { return p.lex.text[t.off:t.end] }

// value parses a value.
func (p *Parser) value(doc *qapi.Document) error {
	t, err := p.pop()
	if err != nil {
		return err
	}
	switch t.kind {
	case tokLCurly:
		return p.object(doc)
	case tokLSquare:
		return p.array(doc)
	case tokString, tokEscaped:
		return p.string(t, doc)
	case tokInteger:
		addInteger(p.text(t), doc)
		return nil
	case tokFloat:
		addFloat(p.text(t), doc)
		return nil
	case tokKeyword:
		return addKeyword(p.text(t), doc)
	}
	return parseError("expecting value")
}

// closed takes a token if it is the given bracket.
func (p *Parser) closed(k tokenKind) bool {
	if p.next < len(p.tokens) && p.tokens[p.next].kind == k {
		p.next++
		return true
	}
	return false
}

func (p *Parser) array(doc *qapi.Document) error {
	at := doc.Open(qapi.Array)
	if p.closed(tokRSquare) {
		doc.Close(at, 0)
		return nil
	}
	for n := 1; ; n++ {
		if err := p.value(doc); err != nil {
			return err
		}
		if done, err := p.separator(tokRSquare, "list"); err != nil {
			return err
		} else if done {
			doc.Close(at, n)
			return nil
		}
	}
}

// separator takes a comma, or the bracket that ends the container.
func (p *Parser) separator(end tokenKind, what string) (done bool, err error) {
	t, err := p.pop()
	switch {
	case err != nil:
		return false, err
	case t.kind == end:
		return true, nil
	case t.kind != tokComma:
		return false, parseError("expected separator in %s", what)
	}
	return false, nil
}

// manyMembers is from where on an object's keys are looked up in a map.
const manyMembers = 32

func (p *Parser) object(doc *qapi.Document) error {
	at := doc.Open(qapi.Object)
	if p.closed(tokRCurly) {
		doc.Close(at, 0)
		return nil
	}
	var seen map[string]bool
	for n := 1; ; n++ {
		if n == manyMembers {
			doc.Close(at, n-1)
			seen = keys(doc.At(at))
		}
		if err := p.pair(doc, at, seen); err != nil {
			return err
		}
		if done, err := p.separator(tokRCurly, "dict"); err != nil {
			return err
		} else if done {
			doc.Close(at, n)
			return nil
		}
	}
}

// keys returns the keys of an object.
func keys(object qapi.Value) map[string]bool {
	seen := make(map[string]bool, 2*manyMembers)
	for k := range object.Members() {
		seen[string(k.Text())] = true
	}
	return seen
}

// pair parses a member of the object begun as at. A key may not come twice:
// seen, if not nil, holds those that came.
func (p *Parser) pair(doc *qapi.Document, at int, seen map[string]bool) error {
	key, err := p.key(doc)
	if err != nil {
		return err
	}
	var twice bool
	if seen == nil {
		twice = doc.HasKey(at, key)
	} else {
		twice = seen[string(key)]
		seen[string(key)] = true
	}
	doc.AddString(key)
	colon, err := p.pop()
	switch {
	case err != nil:
		return err
	case colon.kind != tokColon:
		return parseError("missing : in object pair")
	}
	if err := p.value(doc); err != nil {
		return err
	}
	if twice {
		return parseError("duplicate key")
	}
	return nil
}

// key parses a key, which is valid until the parser is fed again.
func (p *Parser) key(doc *qapi.Document) ([]byte, error) {
	t, err := p.pop()
	switch {
	case err != nil:
		return nil, err
	case t.kind == tokString || t.kind == tokEscaped:
		return p.unquote(t)
	}
	p.next--
	if err := p.value(doc); err != nil { // what is wrong with the value is told first
		return nil, err
	}
	return nil, parseError("key is not a string in object")
}

func (p *Parser) string(t token, doc *qapi.Document) error {
	s, err := p.unquote(t)
	if err == nil {
		doc.AddString(s)
	}
	return err
}

// unquote returns a string without its quotes and escapes.
func (p *Parser) unquote(t token) ([]byte, error) {
	s := p.text(t)
	if t.kind == tokString {
		return s[1 : len(s)-1], nil
	}
	return unescape(s)
}

func addKeyword(s []byte, doc *qapi.Document) error {
	switch string(s) {
	case "true":
		doc.AddBool(true)
	case "false":
		doc.AddBool(false)
	case "null":
		doc.AddNull()
	default:
		return parseError("invalid keyword '%s'", s)
	}
	return nil
}

func addInteger(s []byte, doc *qapi.Document) {
	digits := s
	if s[0] == '-' {
		digits = s[1:]
	}
	u, ok := parseUint(digits)
	switch {
	case !ok:
		addFloat(s, doc)
	case s[0] != '-' && u <= math.MaxInt64:
		doc.AddInt(int64(u))
	case s[0] != '-':
		doc.AddUint(u)
	case u <= 1<<63:
		doc.AddInt(-int64(u))
	default:
		addFloat(s, doc)
	}
}

// parseUint returns a number of digits, if it fits.
func parseUint(digits []byte) (u uint64, ok bool) {
	for _, c := range digits {
		d := uint64(c - '0')
		if u > (math.MaxUint64-d)/10 {
			return 0, false
		}
		u = u*10 + d
	}
	return u, true
}

// addFloat adds a number, infinite if it is out of range.
func addFloat(s []byte, doc *qapi.Document) {
	f, _ := strconv.ParseFloat(string(s), 64) // the lexer has checked it
	doc.AddFloat(f)
}
