package hmp

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// spaces separate words.
const spaces = " \t\n\v\f\r"

// scanner reads a command line.
type scanner struct {
	s   string
	pos int
}

func (s *scanner) end() bool { return s.pos >= len(s.s) }

func (s *scanner) rest() string { return s.s[s.pos:] }

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.end() {
		return 0
	}
	return s.s[s.pos]
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// take returns what comes next as far as ok holds.
func (s *scanner) take(ok func(byte) bool) string {
	from := s.pos
	for !s.end() && ok(s.s[s.pos]) {
		s.pos++
	}
	return s.s[from:s.pos]
}

func (s *scanner) space() { s.take(isSpace) }

// name reads a command's name, which a slash ends too: "x/16b".
func (s *scanner) name() string {
	s.space()
	return s.take(func(c byte) bool { return c != '/' && !isSpace(c) })
}

// errNoWord says that there is no word, or that its quotes do not end.
var errNoWord = errors.New("a word is missing")

// word reads a word, which may be in quotes.
func (s *scanner) word() (string, error) {
	s.space()
	if s.end() {
		return "", errNoWord
	}
	if s.peek() != '"' {
		return s.take(func(c byte) bool { return !isSpace(c) }), nil
	}
	s.pos++
	var b strings.Builder
	for ; !s.end(); s.pos++ {
		c := s.s[s.pos]
		switch c {
		case '"':
			s.pos++
			return b.String(), nil
		case '\\':
			s.pos++
			i := strings.IndexByte(`nr\'"`, s.peek())
			if i < 0 || s.end() {
				return "", errNoWord
			}
			c = "\n\r\\'\""[i]
		}
		b.WriteByte(c)
	}
	return "", errNoWord
}

// words splits a line for completion; it is nil if a string has no end.
func words(line string) []string {
	in := &scanner{s: line}
	var out []string
	for {
		in.space()
		if in.end() {
			break
		}
		w, err := in.word()
		if err != nil {
			return nil
		}
		out = append(out, w)
	}
	if line == "" || isSpace(line[len(line)-1]) {
		out = append(out, "")
	}
	return out
}

var errSize = errors.New("invalid size")

// size reads a size, in MiB unless a suffix says otherwise.
func (s *scanner) size() (int64, error) {
	if strings.HasPrefix(s.rest(), "0x") || strings.HasPrefix(s.rest(), "0X") {
		u, ok := s.number()
		if !ok || u > math.MaxInt64>>20 {
			return 0, errSize
		}
		return int64(u << 20), nil
	}
	digits := s.take(func(c byte) bool { return c >= '0' && c <= '9' || c == '.' })
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, errSize
	}
	shift := 20
	if i := strings.IndexByte("bkmgtpe", s.peek()|0x20); i >= 0 && !s.end() {
		shift = 10 * i
		s.pos++
	}
	if u, err := strconv.ParseUint(digits, 10, 64); err == nil {
		if u > math.MaxInt64>>shift {
			return 0, errSize
		}
		return int64(u << shift), nil
	}
	if f = math.Ldexp(f, shift); f >= math.MaxInt64 || shift == 0 {
		return 0, errSize
	}
	return int64(f), nil
}

// number reads a number as C does: decimal, 0x hexadecimal or 0 octal. It reports
// false if that exceeds 64 bits. Without a number nothing is read.
func (s *scanner) number() (uint64, bool) {
	base := uint64(10)
	rest := s.rest()
	switch {
	case len(rest) > 2 && rest[0] == '0' && rest[1]|0x20 == 'x' && digit(rest[2]) < 16:
		base = 16
		s.pos += 2
	case rest != "" && rest[0] == '0':
		base = 8
	}
	u, ok := uint64(0), true
	for !s.end() && digit(s.peek()) < base {
		d := digit(s.peek())
		if u > (math.MaxUint64-d)/base {
			ok = false
		}
		u = u*base + d
		s.pos++
	}
	return u, ok
}

// digit returns a digit's value, one that is too large for what is none.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return 99
}
