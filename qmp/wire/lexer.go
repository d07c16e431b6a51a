package wire

// tokenKind is the kind of a token.
type tokenKind uint8

const (
	tokLCurly tokenKind = iota
	tokRCurly
	tokLSquare
	tokRSquare
	tokColon
	tokComma
	tokInteger
	tokFloat
	tokKeyword
	tokString
	tokEscaped // a string that is not plain ASCII
	tokError
)

// state is a state of the lexer.
type state uint8

const (
	inStart state = iota
	inRecovery
	inString // of either quote
	inEscape
	inZero
	inDigits
	inSign
	inMantissa
	inMantissaDigits
	inExpE
	inExpSign
	inExpDigits
	inKeyword
)

// lexer cuts text into tokens, byte by byte, so that it may come in any pieces.
type lexer struct {
	state   state
	quote   byte   // that began the string
	escaped bool   // the string is not plain ASCII
	text    []byte // of the tokens so far, and then of the current one
	start   int    // of the current one
}

// step takes a byte. If it ends a token, kind is valid. A byte that is not
// used belongs to what follows: the caller steps with it again.
func (l *lexer) step(c byte) (kind tokenKind, done, used bool) {
	switch l.state {
	case inStart:
		return l.begin(c)
	case inRecovery:
		if resync(c) {
			l.state = inStart
			return 0, false, false
		}
		return 0, false, true
	case inString, inEscape:
		return l.inString(c)
	}
	next, ok := l.number(c)
	if ok {
		l.state = next
		l.text = append(l.text, c)
		return 0, false, true
	}
	return l.endScalar(c)
}

// resync tells whether a byte ends recovery.
func resync(c byte) bool {
	switch c {
	case '{', '}', '[', ']', ':', ',', 0xfe, 0xff:
		return true
	}
	return c < ' ' && c != '\t'
}

// begin takes the first byte of a token, or white space.
func (l *lexer) begin(c byte) (kind tokenKind, done, used bool) {
	switch {
	case c == ' ', c == '\t', c == '\r', c == '\n':
		return 0, false, true
	case c == '"', c == '\'':
		l.state, l.quote, l.escaped = inString, c, false
	case c == '0':
		l.state = inZero
	case isDigit(c):
		l.state = inDigits
	case c == '-':
		l.state = inSign
	case isLower(c):
		l.state = inKeyword
	default:
		return l.structural(c)
	}
	l.text = append(l.text, c)
	return 0, false, true
}

func (l *lexer) structural(c byte) (kind tokenKind, done, used bool) {
	switch c {
	case '{':
		kind = tokLCurly
	case '}':
		kind = tokRCurly
	case '[':
		kind = tokLSquare
	case ']':
		kind = tokRSquare
	case ':':
		kind = tokColon
	case ',':
		kind = tokComma
	default:
		return l.fail(c)
	}
	l.text = append(l.text, c)
	return kind, true, true
}

func (l *lexer) fail(c byte) (tokenKind, bool, bool) {
	l.text = append(l.text, c)
	l.state = inRecovery
	return tokError, true, true
}

func (l *lexer) inString(c byte) (kind tokenKind, done, used bool) {
	switch {
	case c < ' ' || c >= 0xfe:
		return l.fail(c)
	case l.state == inEscape:
		l.state = inString
	case c == '\\':
		l.state, l.escaped = inEscape, true
	case c == l.quote:
		l.text = append(l.text, c)
		l.state = inStart
		if l.escaped {
			return tokEscaped, true, true
		}
		return tokString, true, true
	case c >= 0x80:
		l.escaped = true
	}
	l.text = append(l.text, c)
	return 0, false, true
}

// number returns the state after a byte that continues a number or a keyword.
func (l *lexer) number(c byte) (state, bool) {
	digit := isDigit(c)
	switch l.state {
	case inKeyword:
		return inKeyword, isLower(c)
	case inSign:
		if c == '0' {
			return inZero, true
		}
		return inDigits, digit
	case inZero:
		if c == 'e' || c == 'E' { // as RFC 8259 has it; QEMU takes no exponent here
			return inExpE, true
		}
		return inMantissa, c == '.'
	case inDigits:
		switch {
		case digit:
			return inDigits, true
		case c == '.':
			return inMantissa, true
		}
		return inExpE, c == 'e' || c == 'E'
	case inMantissa:
		return inMantissaDigits, digit
	case inMantissaDigits:
		if digit {
			return inMantissaDigits, true
		}
		return inExpE, c == 'e' || c == 'E'
	case inExpE:
		if c == '+' || c == '-' {
			return inExpSign, true
		}
		return inExpDigits, digit
	}
	return inExpDigits, digit // from inExpSign, inExpDigits
}

// endScalar ends a number or a keyword before c, if it may end there.
func (l *lexer) endScalar(c byte) (kind tokenKind, done, used bool) {
	switch l.state {
	case inZero:
		if isDigit(c) {
			return l.fail(c)
		}
		kind = tokInteger
	case inDigits:
		kind = tokInteger
	case inMantissaDigits, inExpDigits:
		kind = tokFloat
	case inKeyword:
		kind = tokKeyword
	default:
		return l.fail(c)
	}
	l.state = inStart
	return kind, true, false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
