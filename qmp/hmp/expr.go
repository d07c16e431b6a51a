package hmp

import (
	"errors"
	"fmt"
	"strings"
)

// maxDepth bounds the nesting of an expression.
const maxDepth = 100

// evaluator computes an expression as it reads it. Arithmetic is that of 64 bits,
// signed.
type evaluator struct {
	*scanner
	register func(name string) (uint64, bool)
	depth    int
}

// operators holds the binary operators, those that bind least first: unlike in C, &
// | ^ bind tighter than + and -.
var operators = [...]string{"+-", "&|^", "*/%"}

// value reads an expression. Blanks before and within it are skipped.
func (e *evaluator) value() (int64, error) {
	e.space()
	return e.binary(0)
}

func (e *evaluator) binary(level int) (int64, error) {
	if level == len(operators) {
		return e.unary()
	}
	v, err := e.binary(level + 1)
	for err == nil && !e.end() && strings.IndexByte(operators[level], e.peek()) >= 0 {
		op := e.peek()
		e.next()
		var w int64
		if w, err = e.binary(level + 1); err == nil {
			v, err = apply(op, v, w)
		}
	}
	return v, err
}

func apply(op byte, v, w int64) (int64, error) {
	switch op {
	case '+':
		return v + w, nil
	case '-':
		return v - w, nil
	case '&':
		return v & w, nil
	case '|':
		return v | w, nil
	case '^':
		return v ^ w, nil
	case '*':
		return v * w, nil
	}
	switch {
	case w == 0:
		return 0, errors.New("division by zero")
	case op == '/':
		return v / w, nil
	}
	return v % w, nil
}

// next skips a byte and the blanks after it.
func (e *evaluator) next() {
	e.pos++
	e.space()
}

func (e *evaluator) unary() (int64, error) {
	if e.depth++; e.depth > maxDepth {
		return 0, errors.New("expression is nested too deeply")
	}
	defer func() { e.depth-- }()
	if e.end() {
		return 0, errors.New("unexpected end of expression")
	}
	switch c := e.peek(); c {
	case '+', '-', '~':
		e.next()
		v, err := e.unary()
		if c == '-' {
			v = -v
		} else if c == '~' {
			v = ^v
		}
		return v, err
	case '(':
		return e.parentheses()
	case '\'':
		return e.character()
	case '$':
		return e.readRegister()
	}
	return e.literal()
}

func (e *evaluator) parentheses() (int64, error) {
	e.next()
	v, err := e.binary(0)
	switch {
	case err != nil:
		return 0, err
	case e.peek() != ')':
		return 0, errors.New("')' expected")
	}
	e.next()
	return v, nil
}

func (e *evaluator) character() (int64, error) {
	e.pos++
	if e.end() {
		return 0, errors.New("character constant expected")
	}
	v := int64(int8(e.peek()))
	e.pos++
	if e.peek() != '\'' {
		return 0, errors.New("missing terminating ' character")
	}
	e.next()
	return v, nil
}

func (e *evaluator) readRegister() (int64, error) {
	e.pos++
	name := e.take(func(c byte) bool {
		return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.'
	})
	e.space()
	v, ok := e.register(name)
	if !ok {
		return 0, errors.New("unknown register")
	}
	return int64(v), nil
}

func (e *evaluator) literal() (int64, error) {
	from := e.pos
	v, ok := e.number()
	switch {
	case e.pos == from:
		return 0, fmt.Errorf("invalid char '%c' in expression", e.peek())
	case !ok:
		return 0, errors.New("number too large")
	}
	e.space()
	return int64(v), nil
}
