package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// pair is one KEY=VALUE of an option's argument.
type pair struct{ key, value string }

// pairs is an option's argument, in the order in which it was written.
type pairs []pair

// get returns the last value of a key.
func (ps pairs) get(key string) (string, bool) {
	for _, p := range slices.Backward(ps) {
		if p.key == key {
			return p.value, true
		}
	}
	return "", false
}

// take removes a key and returns its last value.
func (ps *pairs) take(key string) (string, bool) {
	v, ok := ps.get(key)
	*ps = slices.DeleteFunc(*ps, func(p pair) bool { return p.key == key })
	return v, ok
}

// parsePairs splits QEMU's KEY=VALUE,KEY=VALUE. A comma in a value is doubled;
// a KEY alone means on, and noKEY off; what comes first without '=' is the value of the key
// named implied, if that is not "".
func parsePairs(s, implied string) (pairs, error) {
	var out pairs
	for first := true; s != "" || first; first = false {
		var field string
		field, s = cutField(s)
		key, value, ok := strings.Cut(field, "=")
		switch {
		case ok && key == "":
			return nil, fmt.Errorf("parameter name missing before '=%s'", value)
		case ok:
		case first && implied != "":
			key, value = implied, field
		case key == "":
			continue
		default:
			key, value = flag(key)
		}
		out = append(out, pair{key, strings.ReplaceAll(value, ",,", ",")})
	}
	return out, nil
}

// flag is what a key without a value means.
func flag(key string) (string, string) {
	if rest, ok := strings.CutPrefix(key, "no"); ok && (rest == "wait" || rest == "delay") {
		return rest, "off"
	}
	return key, "on"
}

// cutField returns what stands before the first single comma, and the rest.
func cutField(s string) (field, rest string) {
	for i := 0; i < len(s); i++ {
		if s[i] != ',' {
			continue
		}
		if i+1 < len(s) && s[i+1] == ',' {
			i++
			continue
		}
		return s[:i], s[i+1:]
	}
	return s, ""
}

// maxDepth bounds the nesting of a JSON argument.
const maxDepth = 32

// parseJSON flattens a JSON object to pairs: members of members get dotted
// keys, elements of arrays their index.
func parseJSON(s string) (pairs, error) {
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var out pairs
	if err := flattenObject(dec, "", &out, 0); err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("JSON: something follows the object")
	}
	return out, nil
}

func flattenObject(dec *json.Decoder, prefix string, out *pairs, depth int) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	return flatten(dec, t, prefix, out, depth)
}

// flatten adds the value that token t begins.
func flatten(dec *json.Decoder, t json.Token, prefix string, out *pairs, depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	text := ""
	switch t := t.(type) {
	case json.Delim:
		return flattenMembers(dec, t, prefix, out, depth)
	case string:
		text = t
	case json.Number:
		text = t.String()
	case bool:
		text = map[bool]string{true: "on", false: "off"}[t]
	case nil:
		text = "null"
	}
	if prefix == "" {
		return errors.New("an object is expected")
	}
	*out = append(*out, pair{prefix, text})
	return nil
}

func flattenMembers(dec *json.Decoder, open json.Delim, prefix string, out *pairs, depth int) error {
	for i := 0; dec.More(); i++ {
		key := strconv.Itoa(i)
		if open == '{' {
			t, err := dec.Token()
			if err != nil {
				return err
			}
			key = t.(string)
		}
		if prefix != "" {
			key = prefix + "." + key
		}
		if err := flattenObject(dec, key, out, depth+1); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// readSections reads the INI-like syntax of -readconfig: sections named
// [group] or [group "id"], holding key = "value".
func readSections(text []byte) ([]section, error) {
	var out []section
	for n, line := range bytes.Split(text, []byte("\n")) {
		s := strings.TrimSpace(string(line))
		switch {
		case s == "" || s[0] == '#':
		case s[0] == '[':
			sec, err := parseHeader(s)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n+1, err)
			}
			out = append(out, sec)
		default:
			key, value, ok := strings.Cut(s, "=")
			value = strings.TrimSpace(value)
			if !ok || len(out) == 0 || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
				return nil, fmt.Errorf("line %d: a section header or KEY = \"VALUE\" is expected", n+1)
			}
			last := &out[len(out)-1]
			last.args = append(last.args, pair{strings.TrimSpace(key), value[1 : len(value)-1]})
		}
	}
	return out, nil
}

type section struct {
	group string
	args  pairs
}

func parseHeader(s string) (section, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	group, id, named := strings.Cut(inner, " ")
	id = strings.TrimSpace(id)
	if !ok || group == "" || named && (len(id) < 2 || id[0] != '"' || id[len(id)-1] != '"') {
		return section{}, fmt.Errorf("bad section header %s", s)
	}
	sec := section{group: group}
	if named {
		sec.args = pairs{{"id", id[1 : len(id)-1]}}
	}
	return sec, nil
}
