package wire

import (
	"bytes"
	"fmt"

	"hv/qmp/qapi"
)

// The bounds of a value, QEMU's.
const (
	MaxText    = 64 << 20 // bytes in tokens
	MaxTokens  = 2 << 20
	MaxNesting = 1 << 10 // of objects and arrays
)

// SyntaxError says what is wrong with the input. The stream goes on after it.
type SyntaxError struct{ msg string }

// Error returns QEMU's text.
func (e *SyntaxError) Error() string { return e.msg }

// IsSyntax tells whether an error is a *SyntaxError.
func IsSyntax(err error) bool {
	_, ok := err.(*SyntaxError)
	return ok
}

// maxError is how much of what is wrong an error tells, in bytes: QEMU's bound.
const maxError = 1023

func parseError(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &SyntaxError{"JSON parse error, " + msg[:min(len(msg), maxError)]}
}

// token is a token within the lexer's text.
type token struct {
	kind     tokenKind
	off, end uint32
}

// Parser finds the values in a stream that comes in pieces.
type Parser struct {
	lex      lexer
	tokens   []token
	next     int // token to parse
	braces   int // open ones
	brackets int
}

// keep is what a Parser keeps of its buffers from value to value, in bytes and
// in tokens.
const keep = 16 << 10

// Feed takes bytes until a value is complete, which it puts into doc, or found
// to be wrong, which is a *SyntaxError. It returns how many bytes it took; a
// value that is not complete yet is neither done nor an error.
func (p *Parser) Feed(b []byte, doc *qapi.Document) (n int, done bool, err error) {
	for n < len(b) {
		if p.lex.state == inString {
			n += p.run(b[n:])
			if n == len(b) {
				break
			}
		}
		kind, end, used := p.lex.step(b[n])
		if used {
			n++
		}
		if end {
			done, err = p.token(kind, doc)
		} else if len(p.lex.text)-p.lex.start > MaxText {
			p.lex.state = inStart
			err = p.fail("JSON token size limit exceeded")
		}
		if done || err != nil {
			return n, done, err
		}
	}
	return n, false, nil
}

// run takes the bytes of a string that stand for themselves at once, but leaves
// the bound of a token's length to be found byte by byte.
func (p *Parser) run(b []byte) int {
	room := MaxText - (len(p.lex.text) - p.lex.start)
	n := 0
	for n < len(b) && n < room && b[n] >= ' ' && b[n] < 0x80 && b[n] != p.lex.quote && b[n] != '\\' {
		n++
	}
	p.lex.text = append(p.lex.text, b[:n]...)
	return n
}

// Flush ends the input: a scalar that could have gone on is complete, and
// anything else that has begun is an error.
func (p *Parser) Flush(doc *qapi.Document) (done bool, err error) {
	for p.lex.state != inStart {
		if kind, end, _ := p.lex.step('\n'); end {
			if done, err = p.token(kind, doc); done || err != nil {
				return done, err
			}
		}
	}
	if len(p.tokens) == 0 {
		return false, nil
	}
	return p.parse(doc)
}

// token takes a token, and parses if it completes a value.
func (p *Parser) token(kind tokenKind, doc *qapi.Document) (done bool, err error) {
	l := &p.lex
	switch kind {
	case tokLCurly:
		p.braces++
	case tokRCurly:
		p.braces--
	case tokLSquare:
		p.brackets++
	case tokRSquare:
		p.brackets--
	case tokError:
		stray, _, _ := bytes.Cut(l.text[l.start:], []byte{0})
		return false, p.fail("JSON parse error, stray '" + string(stray) + "'")
	}
	switch {
	case len(l.text) >= MaxText:
		return false, p.fail("JSON token size limit exceeded")
	case len(p.tokens) >= MaxTokens:
		return false, p.fail("JSON token count limit exceeded")
	case p.braces+p.brackets > MaxNesting:
		return false, p.fail("JSON nesting depth limit exceeded")
	}
	p.tokens = append(p.tokens, token{kind, uint32(l.start), uint32(len(l.text))})
	l.start = len(l.text)
	if (p.braces > 0 || p.brackets > 0) && p.braces >= 0 && p.brackets >= 0 {
		return false, nil
	}
	return p.parse(doc)
}

func (p *Parser) fail(msg string) error {
	p.reset()
	return &SyntaxError{msg}
}

// reset forgets the tokens; the lexer stays in its state.
func (p *Parser) reset() {
	if cap(p.lex.text) > keep || cap(p.tokens) > keep {
		p.lex.text, p.tokens = nil, nil
	}
	p.lex.text, p.lex.start = p.lex.text[:0], 0
	p.tokens, p.next = p.tokens[:0], 0
	p.braces, p.brackets = 0, 0
}

// parse turns the tokens into a value.
func (p *Parser) parse(doc *qapi.Document) (bool, error) {
	doc.Reset()
	err := p.value(doc)
	p.reset()
	if err != nil {
		doc.Reset()
		return false, err
	}
	return true, nil
}

// Parse reads the one value that b holds.
func Parse(b []byte) (qapi.Value, error) {
	var (
		p         Parser
		doc, rest qapi.Document
	)
	n, done, err := p.Feed(b, &doc)
	if err == nil && !done {
		done, err = p.Flush(&doc)
	}
	if err != nil {
		return qapi.Value{}, err
	}
	if !done {
		return qapi.Value{}, &SyntaxError{"Expecting a JSON value"}
	}
	_, more, err := p.Feed(b[n:], &rest)
	if err == nil && !more {
		more, err = p.Flush(&rest)
	}
	if more || err != nil {
		return qapi.Value{}, &SyntaxError{"Expecting at most one JSON value"}
	}
	return doc.Root(), nil
}
