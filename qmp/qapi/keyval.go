package qapi

import (
	"math"
	"strconv"
	"strings"
)

// isText tells whether the value is a string that may stand for something else.
func (v Value) isText() bool { return v.Kind() == String && v.doc.keyval }

func parseBool(v Value, dst *bool) error {
	switch string(v.text()) {
	case "on", "yes", "true", "y":
		*dst = true
	case "off", "no", "false", "n":
		*dst = false
	default:
		return outOfRange("'on' or 'off'")
	}
	return nil
}

func parseInt(v Value, dst *int64) error {
	s, negative := strings.CutPrefix(string(v.text()), "-")
	u, ok := parseSize(s)
	switch {
	case !ok || u > math.MaxInt64:
		return outOfRange("integer")
	case negative:
		*dst = -int64(u)
	default:
		*dst = int64(u)
	}
	return nil
}

func parseUint(v Value, dst *uint64) error {
	u, ok := parseSize(string(v.text()))
	if !ok {
		return outOfRange("uint64")
	}
	*dst = u
	return nil
}

// parseSize reads a number that may have a suffix, such as 64k.
func parseSize(s string) (uint64, bool) {
	shift := 0
	if s != "" && !strings.HasPrefix(s, "0x") {
		if i := strings.IndexByte("bkmgtpe", s[len(s)-1]|0x20); i >= 0 {
			s, shift = s[:len(s)-1], 10*i
		}
	}
	base := 10
	if strings.HasPrefix(s, "0x") {
		s, base = s[2:], 16
	}
	u, err := strconv.ParseUint(s, base, 64)
	return u << shift, err == nil && u<<shift>>shift == u
}
