// Package blockopts is descriptions of nodes before it is known what they describe:
// options with dotted keys, as of -drive and -blockdev, and json: file names.
//
// A Tree belongs to one goroutine. It depends on qmp/qapi.
package blockopts

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"hv/qmp/qapi"
)

// maxDepth bounds how deep options nest.
const maxDepth = 128

// Tree is an object: its members are strings, booleans, json.Numbers, nil for null, lists
// ([]any) and Trees.
type Tree map[string]any

// ParseJSON reads an object. Dotted keys in it mean what they do elsewhere.
func ParseJSON(s string) (Tree, error) {
	dec := json.NewDecoder(strings.NewReader(doubled(s)))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the object")
	}
	if object == nil {
		return nil, errors.New("it is no object")
	}
	return fromMap(object, 0)
}

// doubled has strings that stand in single quotes, which QEMU takes too, be in double ones.
func doubled(s string) string {
	if !strings.Contains(s, "'") {
		return s
	}
	var out strings.Builder
	quote := byte(0) // of the string, 0 outside of strings
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\' && i+1 < len(s):
			if i++; s[i] != '\'' {
				out.WriteByte(c)
			}
			out.WriteByte(s[i])
		case quote == '\'' && c == '"':
			out.WriteString(`\"`)
		case quote == 0 && (c == '"' || c == '\''), quote != 0 && c == quote:
			quote ^= c
			out.WriteByte('"')
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func fromMap(object map[string]any, depth int) (Tree, error) {
	t := Tree{}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		v, err := fromAny(object[key], depth+1)
		if err != nil {
			return nil, err
		}
		if err := t.Put(key, v); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func fromAny(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("the options nest too deep")
	}
	switch v := v.(type) {
	case map[string]any:
		return fromMap(v, depth)
	case []any:
		for i := range v {
			var err error
			if v[i], err = fromAny(v[i], depth+1); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// Put sets the option with a dotted key.
func (t Tree) Put(key string, v any) error {
	path := strings.Split(key, ".")
	if len(path) > maxDepth {
		return errors.New("the options nest too deep")
	}
	at := t
	for _, name := range path[:len(path)-1] {
		if _, ok := at[name]; !ok {
			at[name] = Tree{}
		}
		sub, ok := at[name].(Tree)
		if !ok {
			return fmt.Errorf("Parameter '%s' is unexpected", key)
		}
		at = sub
	}
	name := path[len(path)-1]
	old, isTree := at[name].(Tree)
	from, isToo := v.(Tree)
	switch {
	case isTree && isToo:
		for k, x := range from {
			if err := old.Put(k, x); err != nil {
				return err
			}
		}
		return nil
	case isTree:
		return fmt.Errorf("Parameter '%s' is unexpected", key)
	}
	at[name] = v
	return nil
}

// Text returns an option that is a string.
func (t Tree) Text(key string) (string, bool) {
	s, ok := t[key].(string)
	return s, ok
}

// Take removes an option and returns it, nil if there is none.
func (t Tree) Take(key string) any {
	v := t[key]
	delete(t, key)
	return v
}

// Sub returns the options of a child, which are none if it has not been described.
func (t Tree) Sub(key string) Tree {
	if sub, ok := t[key].(Tree); ok {
		return sub
	}
	return Tree{}
}

// Decode has the options be what their schema says. Text stands for what the schema wants.
func (t Tree) Decode(to qapi.Decodable) error {
	var doc qapi.Document
	doc.SetKeyval()
	if err := addTree(&doc, t); err != nil {
		return err
	}
	return to.DecodeQAPI(doc.Root())
}

func add(doc *qapi.Document, v any) error {
	switch v := v.(type) {
	case nil:
		doc.AddNull()
	case bool:
		doc.AddBool(v)
	case string:
		doc.AddString([]byte(v))
	case json.Number:
		return addNumber(doc, v)
	case []any:
		return addList(doc, v)
	case Tree:
		if l, ok := v.list(); ok {
			return addList(doc, l)
		}
		return addTree(doc, v)
	}
	return nil
}

func addTree(doc *qapi.Document, t Tree) error {
	at := doc.Open(qapi.Object)
	for _, key := range slices.Sorted(maps.Keys(t)) {
		doc.AddString([]byte(key))
		if err := add(doc, t[key]); err != nil {
			return err
		}
	}
	doc.Close(at, len(t))
	return nil
}

func addList(doc *qapi.Document, l []any) error {
	at := doc.Open(qapi.Array)
	for _, x := range l {
		if err := add(doc, x); err != nil {
			return err
		}
	}
	doc.Close(at, len(l))
	return nil
}

func addNumber(doc *qapi.Document, n json.Number) error {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		doc.AddInt(i)
		return nil
	}
	if u, err := strconv.ParseUint(string(n), 10, 64); err == nil {
		doc.AddUint(u)
		return nil
	}
	f, err := n.Float64()
	if err != nil || math.IsInf(f, 0) {
		return fmt.Errorf("%s is no number", n)
	}
	doc.AddFloat(f)
	return nil
}

// list returns the elements if the keys are those of a list: 0, 1, and so on.
func (t Tree) list() ([]any, bool) {
	l := make([]any, len(t))
	for i := range l {
		v, ok := t[strconv.Itoa(i)]
		if !ok {
			return nil, false
		}
		l[i] = v
	}
	return l, len(l) > 0
}

// With returns the options with another one, which t does not get.
func (t Tree) With(key string, v any) Tree {
	all := maps.Clone(t)
	if all == nil {
		all = Tree{}
	}
	all[key] = v
	return all
}

// Without returns the options but for one.
func (t Tree) Without(key string) Tree {
	all := maps.Clone(t)
	delete(all, key)
	return all
}

// Join returns the options together with others, which take precedence; what both have
// groups of options for, they are joined in.
func (t Tree) Join(with Tree) Tree {
	all := maps.Clone(t)
	for key, v := range with {
		mine, both := all[key].(Tree)
		if group, ok := v.(Tree); ok && both {
			v = mine.Join(group)
		}
		all[key] = v
	}
	return all
}

// Of returns the description that options are.
func Of(o qapi.Encodable) (Tree, error) {
	e := qapi.NewEncoder(false)
	o.EncodeQAPI(e)
	return ParseJSON(string(e.Bytes()))
}

// Flat returns all options with dotted keys, and their values as text.
func (t Tree) Flat() map[string]string {
	all := map[string]string{}
	flatten("", t, all)
	return all
}

func flatten(at string, v any, to map[string]string) {
	under := func(key string) string {
		if at == "" {
			return key
		}
		return at + "." + key
	}
	switch v := v.(type) {
	case Tree:
		for key, x := range v {
			flatten(under(key), x, to)
		}
	case []any:
		for i, x := range v {
			flatten(under(strconv.Itoa(i)), x, to)
		}
	default:
		to[at] = fmt.Sprint(v)
	}
}

// Order returns the keys of options as QEMU goes through them.
func Order(flat map[string]string) []string {
	keys := slices.Sorted(maps.Keys(flat))
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(qapi.Bucket(a), qapi.Bucket(b)) })
	return keys
}

// JSON returns the options as JSON, with the members in the order in which QEMU prints them.
func (t Tree) JSON() string {
	var doc qapi.Document
	if addTree(&doc, t) != nil {
		return "{}"
	}
	e := qapi.NewEncoder(false)
	e.Value(doc.Root())
	return string(e.Bytes())
}
