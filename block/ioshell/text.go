package ioshell

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// numberError is why a number could not be read.
type numberError struct{ text string }

func (e numberError) Error() string { return "Parsing error: " + e.text }

func notNumber(s string) error {
	return numberError{"non-numeric argument, or extraneous/unrecognized suffix -- " + s}
}

func tooLarge(s string) error { return numberError{"argument too large -- " + s} }

// parseSize reads a number of bytes: decimal with a fraction and a suffix, or hexadecimal.
func parseSize(s string) (int64, error) {
	text := strings.TrimLeft(s, " \t\n\v\f\r")
	text = strings.TrimPrefix(text, "+")
	shift, text := scale(text)
	if hex, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		return parseHex(s, hex, shift)
	}
	whole, fraction, hasFraction := strings.Cut(text, ".")
	if !digits(whole) || whole == "" || !digits(fraction) {
		return 0, notNumber(s)
	}
	if hasFraction && shift == 0 && strings.Trim(fraction, "0") != "" {
		return 0, notNumber(s)
	}
	r, ok := new(big.Rat).SetString(whole + "." + fraction + "0")
	if !ok {
		return 0, notNumber(s)
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), shift)))
	r.Add(r, big.NewRat(1, 2))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, tooLarge(s)
	}
	return n.Int64(), nil
}

func parseHex(s, hex string, shift uint) (int64, error) {
	n, err := strconv.ParseUint(hex, 16, 64)
	switch {
	case err != nil && strings.Contains(err.Error(), "range"):
		return 0, tooLarge(s)
	case err != nil:
		return 0, notNumber(s)
	case n > math.MaxInt64>>shift:
		return 0, tooLarge(s)
	}
	return int64(n << shift), nil
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// scale takes the suffix off a number, and returns the power of two that it means.
func scale(s string) (shift uint, rest string) {
	if s == "" {
		return 0, s
	}
	i := strings.IndexByte("bkmgtpe", s[len(s)-1]|0x20)
	hex := len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'x'
	if i < 0 || len(s) > maxNumber || hex && (i == 0 || i == 6) {
		return 0, s
	}
	return uint(10 * i), s[:len(s)-1]
}

// maxNumber is how long a number is at most, so that big ones cost no time.
const maxNumber = 64

// parsePattern reads a byte.
func parsePattern(s string) (byte, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil || n < 0 || n > 255 || strings.Contains(s, "_") {
		return 0, fmt.Errorf("%s is not a valid pattern byte", s)
	}
	return byte(n), nil
}

// size prints a number of bytes with a unit.
func size(v float64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for i := len(units) - 1; i >= 0; i-- {
		if unit := math.Ldexp(1, 10*(i+1)); v >= unit {
			return trim(fmt.Sprintf("%.3f", v/unit)) + " " + units[i]
		}
	}
	return trim(fmt.Sprintf("%f", v)) + " bytes"
}

// trim takes a fraction away that begins with three zeroes.
func trim(s string) string {
	if i := strings.Index(s, ".000"); i >= 0 {
		return s[:i]
	}
	return s
}

// duration prints a time; always has hours and minutes be there.
func duration(d time.Duration, always bool) string {
	seconds := int64(d / time.Second)
	fraction := (d % time.Second).Seconds()
	if always || seconds > 0 {
		return fmt.Sprintf("%d:%02d:%05.2f", seconds/3600, seconds%3600/60, float64(seconds%60)+fraction)
	}
	return fmt.Sprintf("%05.2f sec", fraction)
}

// report says what a request did.
type report struct {
	verb       string
	off, count int64
	took       time.Duration
	terse      bool // numbers with commas between them
}

func (r *report) String() string {
	seconds := max(r.took, 1).Seconds()
	perSecond := float64(r.count) / seconds
	if r.terse {
		return fmt.Sprintf("%d,1,%s,%.3f,%.3f\n", r.count, duration(r.took, true), perSecond, 1/seconds)
	}
	return fmt.Sprintf("%s %d/%d bytes at offset %d\n%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n",
		r.verb, r.count, r.count, r.off, size(float64(r.count)), duration(r.took, false), size(perSecond), 1/seconds)
}

// dump prints bytes as they lie at an offset.
func dump(out *strings.Builder, b []byte, off int64) {
	for i := 0; i < len(b); i += 16 {
		line := b[i:min(i+16, len(b))]
		fmt.Fprintf(out, "%08x:  ", off+int64(i))
		for _, x := range line {
			fmt.Fprintf(out, "%02x ", x)
		}
		out.WriteByte(' ')
		for _, x := range line {
			if x >= '0' && x <= '9' || x|0x20 >= 'a' && x|0x20 <= 'z' {
				out.WriteByte(x)
			} else {
				out.WriteByte('.')
			}
		}
		out.WriteByte('\n')
	}
}
