package formats

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hv/block/blockopts"
	"hv/block/graph"
)

// place is a child that a driver has.
type place struct {
	key   string
	image bool // a child that says no driver is an image in a file, not the file
}

// nested are the drivers whose children are images that may be described by little, the one
// that a file name stands for last.
var nested = map[string][]place{
	"blkdebug":     {{"image", false}},
	"blkverify":    {{"raw", false}, {"test", true}},
	"blklogwrites": {{"log", false}, {"file", true}},
	"quorum":       {{"children", true}},
}

// prefixed reads "blkdebug:CONFIG:IMAGE" and "blkverify:RAW:IMAGE", for a driver that is
// said or for any.
func prefixed(filename string, t blockopts.Tree) (string, blockopts.Tree, error) {
	driver, rest, _ := strings.Cut(filename, ":")
	key, what := "config", "blkdebug requires both config file and image path"
	if said, ok := t.Text("driver"); ok && said != driver {
		return filename, t, nil
	}
	switch driver {
	case "blkdebug":
	case "blkverify":
		key, what = "raw", "blkverify requires raw copy and original image path"
	default:
		return filename, t, nil
	}
	first, image, ok := strings.Cut(rest, ":")
	if !ok {
		return "", nil, errors.New(what)
	}
	t = t.With("driver", driver)
	switch {
	case driver == "blkverify":
		t = t.With(key, blockopts.Tree{"": first})
	case first != "":
		t = t.With(key, first)
	}
	return image, t, nil
}

// nest opens a node whose children may be described by little.
func (x *Opener) nest(driver, filename string, t blockopts.Tree, from inherited) (n *graph.Node, err error) {
	below := from.plain()
	if _, err := handDown(t, &below); err != nil {
		return nil, err
	}
	var held []*graph.Node
	defer func() {
		for _, child := range held {
			err = errors.Join(err, child.Unref())
		}
	}()
	places := nested[driver]
	for i, p := range places {
		name := ""
		if i == len(places)-1 && driver != "quorum" {
			name = filename
		}
		v, err := x.place(p, t[p.key], name, below, &held)
		if err != nil {
			return nil, err
		}
		t = t.With(p.key, v)
	}
	return x.decoded(lists(t), from)
}

// place opens what is described as a child, or list of such, and returns what refers to it.
func (x *Opener) place(p place, v any, name string, from inherited, held *[]*graph.Node) (any, error) {
	if p.key == "children" {
		list, err := elements(v)
		for i := 0; i < len(list) && err == nil; i++ {
			list[i], err = x.place(place{"children." + strconv.Itoa(i), p.image}, list[i], "", from, held)
		}
		return list, err
	}
	sub, described := v.(blockopts.Tree)
	switch {
	case !described && v != nil && name != "":
		return nil, errors.New("Cannot reference an existing block device with additional options or a new filename")
	case !described && v != nil:
		return v, nil
	case len(sub) == 0 && name == "":
		return nil, fmt.Errorf("A block device must be specified for \"%s\"", p.key)
	}
	if said, ok := sub.Text(""); ok {
		name, sub = said, sub.Without("")
	}
	n, err := x.named(name, sub, from, !p.image)
	if err != nil {
		return nil, err
	}
	*held = append(*held, n)
	return n.Name(), nil
}

// elements returns what a list has, which dotted keys may describe.
func elements(v any) ([]any, error) {
	switch v := v.(type) {
	case nil:
		return []any{}, nil
	case []any:
		return slices.Clone(v), nil
	case blockopts.Tree:
		list := make([]any, len(v))
		for i := range list {
			x, ok := v[strconv.Itoa(i)]
			if !ok {
				return nil, errors.New("Option children is not a valid array")
			}
			list[i] = x
		}
		return list, nil
	}
	return nil, errors.New("Option children is not a valid array")
}

// lists has rules be lists, of which one alone may be described without being in one.
func lists(t blockopts.Tree) blockopts.Tree {
	for _, key := range []string{"inject-error", "set-state"} {
		if rule, ok := t[key].(blockopts.Tree); ok && rule["event"] != nil {
			t = t.With(key, []any{rule})
		}
	}
	return t
}

// flatRules has rules be options of their own, as QEMU names nodes by.
func flatRules(t blockopts.Tree) blockopts.Tree {
	for _, key := range []string{"inject-error", "set-state"} {
		list, _ := t[key].([]any)
		for i := range list {
			rule, _ := list[i].(blockopts.Tree)
			t = t.Without(key)
			for name, v := range rule {
				t[key+"."+strconv.Itoa(i)+"."+name] = v
			}
		}
	}
	return t
}
