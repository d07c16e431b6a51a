package formats

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"hv/block/blockopts"
	"hv/block/filedrv"
	"hv/block/graph"
	"hv/block/rawdrv"
	"hv/qmp/qapi"
)

// common are the options that any node may be given anew.
var common = []string{
	"driver", "node-name", "discard", "cache.direct", "cache.no-flush", "read-only", "auto-read-only", "detect-zeroes",
}

// mutable are the options that nodes of a driver may be given anew, those below included.
var mutable = map[string][]string{
	"raw": {"offset", "size"},
	"qcow2": {
		"lazy-refcounts", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "overlap-check", "cache-size",
		"l2-cache-size", "l2-cache-entry-size", "refcount-cache-size", "cache-clean-interval",
	},
	"preallocate": {"prealloc-align", "prealloc-size"},
	"throttle":    {"throttle-group"},
	"file":        {"x-check-cache-dropped"},
	"host_device": {"x-check-cache-dropped"},
}

// own reads the options of a driver that takes them anew.
var own = map[string]func(o *qapi.BlockdevOptions, opt *graph.Options) (any, error){
	"raw":   func(o *qapi.BlockdevOptions, _ *graph.Options) (any, error) { return rawConfig(o.Raw), nil },
	"qcow2": func(o *qapi.BlockdevOptions, opt *graph.Options) (any, error) { return qcow2Options(o.Qcow2, opt) },
	"preallocate": func(o *qapi.BlockdevOptions, _ *graph.Options) (any, error) {
		return preallocConfig(o.Preallocate), nil
	},
	"throttle": func(o *qapi.BlockdevOptions, _ *graph.Options) (any, error) { return o.Throttle.ThrottleGroup, nil },
}

// reopening is nodes that are about to have other options.
type reopening struct {
	x       *Opener
	change  graph.Change
	entries []*entry
}

// entry is a node that is about to have other options.
type entry struct {
	node *graph.Node
	tree blockopts.Tree // what is said of the node
	from inherited
	keep bool // what is not said stays
	// backing says that something is said of the backing node.
	backing bool
}

// Reopen gives nodes the options that they would have if they were opened with these; all
// or none.
func (x *Opener) Reopen(list []qapi.BlockdevOptions) error {
	r := reopening{x: x}
	for i := range list {
		name := list[i].NodeName
		if name == nil {
			return errors.New("node-name not specified")
		}
		n := x.Graph.Find(*name)
		if n == nil {
			return fmt.Errorf("Failed to find node with node-name='%s'", *name)
		}
		t, err := blockopts.Of(&list[i])
		if err != nil {
			return err
		}
		defer n.DrainBelow()()
		if err := r.add(n, t, inherited{}, false); err != nil {
			return err
		}
	}
	return r.run()
}

// SetReadOnly has a node be writable, or not, and what was described within it.
func (x *Opener) SetReadOnly(n *graph.Node, on bool) error {
	return x.Change(n, blockopts.Tree{"read-only": on})
}

// Change gives a node, and what was described within it, other options; those that are not
// among these stay.
func (x *Opener) Change(n *graph.Node, t blockopts.Tree) error {
	r := reopening{x: x}
	defer n.DrainBelow()()
	if err := r.add(n, t, inherited{}, true); err != nil {
		return err
	}
	return r.run()
}

// add queues a node, and those that were described within it.
func (r *reopening) add(n *graph.Node, t blockopts.Tree, from inherited, keep bool) error {
	e := &entry{node: n, from: from, keep: keep}
	i := slices.IndexFunc(r.entries, func(x *entry) bool { return x.node == n })
	switch {
	case i >= 0:
		e = r.entries[i]
		t = e.tree.Join(t)
	case keep:
		r.entries = append(r.entries, e)
		t = source(n).Join(t)
	default:
		r.entries = append(r.entries, e)
	}
	_, e.backing = t["backing"]
	e.tree = maps.Clone(t)
	below := from.plain()
	if _, err := handDown(t, &below); err != nil {
		return err
	}
	for _, c := range n.Children() {
		if c.Node().Owner() != n {
			continue
		}
		if err := r.addChild(e, c, below, keep); err != nil {
			return err
		}
	}
	return nil
}

// addChild queues a child that was described within its parent.
func (r *reopening) addChild(e *entry, c *graph.Child, from inherited, keep bool) error {
	v, said := e.tree[c.Name()]
	sub := blockopts.Tree{}
	switch v := v.(type) {
	case string:
		if v != c.Node().Name() {
			return nil
		}
		keep = true
	case blockopts.Tree:
		sub = v
		delete(e.tree, c.Name())
	default:
		if said {
			return nil
		}
	}
	if c.Role() == graph.Backing {
		from.readOnly, from.auto = true, false
	}
	return r.add(c.Node(), sub, from, keep)
}

// run gives all nodes their options, or none.
func (r *reopening) run() error {
	for _, e := range r.entries {
		if err := e.node.Flush(); err != nil {
			return fmt.Errorf("Error flushing drive: %w", err)
		}
	}
	for _, e := range r.entries {
		if err := r.prepare(e); err != nil {
			r.change.Rollback()
			return err
		}
	}
	err := r.change.Commit()
	if err != nil {
		return err
	}
	for _, e := range r.entries {
		e.node.SetSource(alone(e.node, e.tree))
	}
	return nil
}

// prepare gives one node its options.
func (r *reopening) prepare(e *entry) error {
	n, old := e.node, source(e.node)
	for key, v := range map[string]string{"driver": n.Driver(), "node-name": n.Name()} {
		if said, ok := e.tree.Text(key); ok && said != v {
			return cannotChange(key)
		}
	}
	opt, auto, err := e.options()
	if err != nil {
		return err
	}
	if !n.CanReopen() {
		return fmt.Errorf("Block format '%s' used by node '%s' does not support reopening files", n.Driver(), n.Name())
	}
	was, is := flat(old, n), flat(e.tree, n)
	for _, key := range blockopts.Order(was) {
		if _, ok := is[key]; !ok && !slices.Contains(common, key) && !within(key, mutable[n.Driver()]) {
			return fmt.Errorf("Option '%s' cannot be reset to its default value", key)
		}
	}
	if err := r.driver(e, opt, auto); err != nil {
		return err
	}
	if err := r.children(e); err != nil {
		return err
	}
	for _, key := range blockopts.Order(is) {
		if !slices.Contains(common, key) && !within(key, mutable[n.Driver()]) && was[key] != is[key] {
			return cannotChange(key)
		}
	}
	return nil
}

func cannotChange(key string) error { return fmt.Errorf("Cannot change the option '%s'", key) }

// within reports whether a dotted key is one of these, or below it.
func within(key string, list []string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return key == s || len(key) > len(s) && key[:len(s)+1] == s+"." })
}

// options returns what the node has of all nodes' options.
func (e *entry) options() (opt graph.Options, auto bool, err error) {
	from := e.from
	opt, err = handDown(e.tree, &from)
	opt.ForceShare = e.node.Options().ForceShare
	return opt, from.auto, err
}

// driver has the node's driver go over to the options.
func (r *reopening) driver(e *entry, opt graph.Options, auto bool) error {
	var mine any
	switch read := own[e.node.Driver()]; {
	case e.node.Driver() == "file" || e.node.Driver() == "host_device":
		mine = filedrv.AutoReadOnly(auto)
	case read != nil:
		o, err := e.decoded()
		if err == nil {
			mine, err = read(&o, &opt)
		}
		if err != nil {
			return err
		}
	}
	return r.change.Reopen(e.node, opt, mine)
}

// decoded returns what is said of the node, with some child where one is needed.
func (e *entry) decoded() (o qapi.BlockdevOptions, err error) {
	t := e.tree.With("driver", e.node.Driver())
	for _, c := range e.node.Children() {
		t[c.Name()] = c.Node().Name()
	}
	if t["backing"] == nil {
		delete(t, "backing")
	}
	err = t.Decode(&o)
	return o, err
}

// children exchanges the children "backing" and "file" if something else is said.
func (r *reopening) children(e *entry) error {
	n := e.node
	if n.CanBack() && !e.keep && !e.backing {
		name := ""
		if b := n.BackingNamer(); b != nil {
			name, _ = b.BackingName()
		}
		if n.Backing() != nil || name != "" {
			return fmt.Errorf("backing is missing for '%s'", n.Name())
		}
	}
	for _, name := range []string{"backing", "file"} {
		v, said := e.tree[name]
		ref, isName := v.(string)
		if !said || v != nil && !isName {
			continue
		}
		if err := r.exchange(n, name, ref, isName); err != nil {
			return err
		}
	}
	return nil
}

// exchange makes another node a child, or none.
func (r *reopening) exchange(n *graph.Node, name, ref string, some bool) error {
	var to *graph.Node
	if some {
		if to = r.x.Graph.Find(ref); to == nil {
			return fmt.Errorf("Cannot find device='' nor node-name='%s'", ref)
		}
	}
	c := n.Child(name)
	switch {
	case c == nil && to == nil || c != nil && c.Node() == to:
		return nil
	case to != nil && r.x.Join != nil:
		if err := r.x.Join(n, to); err != nil {
			return err
		}
	}
	switch {
	case c == nil && n.IsFilter():
		return fmt.Errorf("'%s' is a %s filter node that does not support a %s child", n.Name(), n.Driver(), name)
	case name == "backing":
		return r.change.SetBacking(n, to)
	case c == nil:
		return errors.New("Cannot set file child to format node without file child")
	}
	return r.change.Move(c, to)
}

// source returns what was said of a node when it was opened, or since.
func source(n *graph.Node) blockopts.Tree {
	switch s := n.Source().(type) {
	case blockopts.Tree:
		return s
	case *qapi.BlockdevOptions:
		if t, err := blockopts.Of(s); err == nil {
			return alone(n, t)
		}
	}
	return blockopts.Tree{}
}

// alone returns what is said of a node without what is said of its children.
func alone(n *graph.Node, t blockopts.Tree) blockopts.Tree {
	for _, c := range n.Children() {
		t = t.Without(c.Name())
	}
	return t.Without("backing")
}

// flat returns options with dotted keys, without the children that the node has.
func flat(t blockopts.Tree, n *graph.Node) map[string]string {
	all := t.Flat()
	for key, v := range all {
		for _, c := range n.Children() {
			if key == c.Name() && v == c.Node().Name() {
				delete(all, key)
			}
		}
		if key == "backing" || key == "file" && n.Child("file") != nil {
			delete(all, key)
		}
	}
	return all
}

// rawConfig returns which part of its child a raw node is.
func rawConfig(o *qapi.BlockdevOptionsRaw) rawdrv.Config {
	cfg := rawdrv.Config{Size: o.Size}
	if o.Offset != nil {
		cfg.Offset = *o.Offset
	}
	return cfg
}
