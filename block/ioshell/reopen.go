package ioshell

import (
	"fmt"
	"strings"

	"hv/block/blockopts"
)

// Reopening is what a node, and its user, are to be from now on.
type Reopening struct {
	Options blockopts.Tree // that change
	// WriteThrough is nil if that does not change.
	WriteThrough *bool
}

// cacheModes are the values of -c, as cache.writeback, cache.direct and cache.no-flush.
var cacheModes = map[string][3]bool{
	"writeback": {true, false, false}, "none": {true, true, false}, "off": {true, true, false}, "unsafe": {true, false, true},
	"writethrough": {false, false, false}, "directsync": {false, true, false},
}

func reopenCommand() *command {
	return &command{
		name: "reopen", max: -1, options: "c:o:rw", args: "[(-r|-w)] [-c cache] [-o options]", what: "reopens an image with new options",
		help: " -r  for reading only\n -w  for writing, too\n -c  with another cache mode\n -o  with other options of its driver\n", do: (*run).reopen,
	}
}

func (r *run) reopen(args []string) {
	opts, rest, ok := r.parse(args)
	if !ok {
		return
	}
	if len(rest) > 0 {
		r.usage()
		return
	}
	x, err := reopening(opts)
	if err == nil {
		err = r.on(func() error { return r.target.Reopen(x) })
	}
	if err != nil {
		r.fail(err)
	}
}

// reopening reads what options of the command say.
func reopening(opts []option) (Reopening, error) {
	x := Reopening{Options: blockopts.Tree{}}
	var access, cache bool
	for _, o := range opts {
		switch o.letter {
		case 'r', 'w':
			if access {
				return x, fmt.Errorf("Only one -r/-w option may be given")
			}
			access = true
			x.Options["read-only"] = o.letter == 'r'
		case 'c':
			m, ok := cacheModes[o.value]
			if !ok {
				return x, fmt.Errorf("Invalid cache option: %s", o.value)
			}
			through := !m[0]
			x.WriteThrough, cache = &through, true
			x.Options["cache"] = blockopts.Tree{"direct": m[1], "no-flush": m[2]}
		}
	}
	for _, o := range opts {
		if o.letter != 'o' {
			continue
		}
		if err := x.add(o.value, access, cache); err != nil {
			return x, err
		}
	}
	return x, nil
}

// add reads KEY=VALUE,... in which a comma is written twice.
func (x *Reopening) add(text string, access, cache bool) error {
	const comma = "\x00"
	for _, kv := range strings.Split(strings.ReplaceAll(text, ",,", comma), ",") {
		key, value, ok := strings.Cut(strings.ReplaceAll(kv, comma, ","), "=")
		switch {
		case !ok:
			value = "on"
		case access && key == "read-only":
			return fmt.Errorf("Cannot set both -r/-w and 'read-only'")
		case cache && (key == "cache.direct" || key == "cache.no-flush"):
			return fmt.Errorf("Cannot set both -c and the cache options")
		}
		if err := x.Options.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}
