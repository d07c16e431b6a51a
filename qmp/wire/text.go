package wire

import (
	"unicode/utf8"

	"hv/qmp/qapi"
)

// letters holds what the escapes of one letter stand for.
var letters = [256]byte{'"': '"', '\'': '\'', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape decodes a string in its quotes, in place: no escape is shorter than
// what it stands for.
func unescape(s []byte) ([]byte, error) {
	out, in := s[:0], s[1:len(s)-1]
	for len(in) > 0 {
		c := in[0]
		switch {
		case c == '\\' && in[1] == 'u':
			r, n := unicodeEscape(in)
			if r < 0 {
				return nil, invalidEscape(s, len(s)-1-len(in), n)
			}
			out = utf8.AppendRune(out, r)
			in = in[n:]
		case c == '\\':
			if letters[in[1]] == 0 {
				return nil, parseError("invalid escape sequence in string")
			}
			out = append(out, letters[in[1]])
			in = in[2:]
		case c < utf8.RuneSelf:
			out = append(out, c)
			in = in[1:]
		default:
			r, n := codePoint(in)
			if r < 0 {
				return nil, parseError("invalid UTF-8 sequence in string")
			}
			out = utf8.AppendRune(out, r)
			in = in[n:]
		}
	}
	return out, nil
}

// invalidEscape returns the error for the n bytes at off, as far as s has them.
func invalidEscape(s []byte, off, n int) error {
	return parseError("%s is not a valid Unicode character", s[off:min(off+n, len(s))])
}

// codePoint decodes UTF-8, in which U+0000 may come as C0 80. It returns -1 for
// what is not valid.
func codePoint(s []byte) (rune, int) {
	if len(s) >= 2 && s[0] == 0xc0 && s[1] == 0x80 {
		return 0, 2
	}
	r, n := utf8.DecodeRune(s)
	if r == utf8.RuneError && n == 1 || qapi.Noncharacter(r) {
		return -1, 0
	}
	return r, n
}

// unicodeEscape decodes \uXXXX, or two of them that are a surrogate pair. It
// returns -1 for what is no character; n is the escape's length.
func unicodeEscape(s []byte) (r rune, n int) {
	r = hex4(s[2:])
	switch {
	case r >= 0xd800 && r < 0xdc00 && len(s) >= 8 && s[6] == '\\' && s[7] == 'u':
		low := hex4(s[8:])
		if low < 0xdc00 || low > 0xdfff {
			return -1, 6
		}
		r, n = 0x10000+(r&0x3ff)<<10|low&0x3ff, 12
	case r >= 0xd800 && r < 0xe000:
		return -1, 6
	default:
		n = 6
	}
	if r < 0 || qapi.Noncharacter(r) {
		return -1, n
	}
	return r, n
}

// hex4 decodes four hexadecimal digits, -1 if they are not.
func hex4(s []byte) rune {
	if len(s) < 4 {
		return -1
	}
	var r rune
	for _, c := range s[:4] {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return -1
		}
	}
	return r
}
