package hmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// option is one key=value.
type option struct{ key, value string }

// parseOptionList reads "KEY=VALUE,...", in which ",," stands for a comma in a value.
// A word without "=" is the value of the implied key if it comes first, else a
// switch: "wait" is wait=on and "nowait" wait=off.
func parseOptionList(text, implied string) []option {
	var out []option
	for text != "" {
		var word string
		word, text = cutOption(text)
		key, value, ok := strings.Cut(word, "=")
		switch {
		case ok:
		case implied != "" && len(out) == 0:
			key, value = implied, word
		case strings.HasPrefix(word, "no"):
			key, value = word[2:], "off"
		default:
			key, value = word, "on"
		}
		out = append(out, option{key, value})
	}
	return out
}

// cutOption splits at the first comma that is not doubled.
func cutOption(s string) (word, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			if i+1 >= len(s) || s[i+1] != ',' {
				return b.String(), s[i+1:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// tree turns options into an object, nested where keys have dots. A key given twice
// has its last value.
func tree(options []option) (obj, error) {
	root := obj{}
	for _, o := range options {
		at := root
		path := strings.Split(o.key, ".")
		for _, p := range path[:len(path)-1] {
			sub, ok := at[p].(obj)
			if _, there := at[p]; there && !ok {
				return nil, fmt.Errorf("Parameters '%s' used inconsistently", o.key) //nolint:staticcheck // QEMU's words
			}
			if !ok {
				sub = obj{}
				at[p] = sub
			}
			at = sub
		}
		last := path[len(path)-1]
		if _, nested := at[last].(obj); nested {
			return nil, fmt.Errorf("Parameters '%s' used inconsistently", o.key) //nolint:staticcheck // QEMU's words
		}
		at[last] = o.value
	}
	return root, nil
}

var errJSON = errors.New("JSON parse error, a value is expected")

// parseJSON reads a JSON value.
func parseJSON(text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, errJSON
	}
	return json.RawMessage(text), nil
}
