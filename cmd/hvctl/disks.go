package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"hv/qmp/client"
)

// What disks asks for. The commands are older than some VMs, so that what they return is read
// as it comes.
type (
	blockInfo struct {
		Device   string     `json:"device"`
		Qdev     string     `json:"qdev"`
		Inserted *blockNode `json:"inserted"`
	}
	blockNode struct {
		Name     string `json:"node-name"`
		Driver   string `json:"drv"`
		File     string `json:"file"`
		ReadOnly bool   `json:"ro"`
		Image    struct {
			Filename string `json:"filename"`
			Size     int64  `json:"virtual-size"`
		} `json:"image"`
	}
	blockGraph struct {
		Nodes []struct {
			ID   int64  `json:"id"`
			Type string `json:"type"`
			Name string `json:"name"`
		} `json:"nodes"`
		Edges []struct {
			Parent int64  `json:"parent"`
			Child  int64  `json:"child"`
			Name   string `json:"name"`
		} `json:"edges"`
	}
)

// disks draws what each disk of a VM lies on, and the nodes that nobody uses.
func (t *tool) disks(ctx context.Context, c *client.Client, _ []string) error {
	f := forest{nodes: map[string]*blockNode{}, drawn: map[string]bool{}}
	if err := c.Execute(ctx, "query-block", nil, &f.disks); err != nil {
		return err
	}
	var nodes []*blockNode
	if err := c.Execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		f.nodes[n.Name] = n
		f.order = append(f.order, n.Name)
	}
	// VMs that do not tell their graph have their nodes listed.
	if err := c.Execute(ctx, "x-debug-query-block-graph", nil, &f.graph); err != nil {
		f.graph = blockGraph{}
	}
	f.draw(t.out)
	return nil
}

// forest is the trees of a VM's nodes.
type forest struct {
	disks []blockInfo
	nodes map[string]*blockNode
	order []string
	graph blockGraph
	drawn map[string]bool
}

func (f *forest) draw(w io.Writer) {
	for _, d := range f.disks {
		name := d.Device
		if name == "" {
			name = d.Qdev
		}
		fmt.Fprint(w, name)
		if d.Device != "" && d.Qdev != "" {
			fmt.Fprintf(w, " (%s)", d.Qdev)
		}
		if d.Inserted == nil {
			fmt.Fprint(w, ": no medium")
		}
		fmt.Fprintln(w)
		if d.Inserted != nil {
			f.branch(w, "", "", d.Inserted.Name, true, nil)
		}
	}
	for _, root := range f.users() {
		fmt.Fprintln(w, root.label)
		f.branch(w, "", "", root.node, true, nil)
	}
	for _, name := range f.roots() {
		if !f.drawn[name] {
			f.tree(w, "", "", "", name, nil)
		}
	}
}

// branch draws a child: what stands before it, and its name to its parent.
func (f *forest) branch(w io.Writer, indent, edge, name string, last bool, above []string) {
	line, below := "├─ ", "│  "
	if last {
		line, below = "└─ ", "   "
	}
	f.tree(w, indent+line, indent+below, edge, name, above)
}

// tree draws a node and what is below it.
func (f *forest) tree(w io.Writer, first, indent, edge, name string, above []string) {
	if edge != "" {
		edge += ": "
	}
	n := f.nodes[name]
	if n == nil {
		fmt.Fprintf(w, "%s%s%s\n", first, edge, name)
		return
	}
	fmt.Fprintf(w, "%s%s%s [%s]", first, edge, name, n.Driver)
	children := f.children(name)
	if len(children) == 0 {
		fmt.Fprintf(w, " %s", n.File)
	}
	fmt.Fprintf(w, " %s", size(n.Image.Size))
	if n.ReadOnly {
		fmt.Fprint(w, " read-only")
	}
	again := f.drawn[name] && len(children) > 0
	if again {
		fmt.Fprint(w, " (see above)")
	}
	fmt.Fprintln(w)
	f.drawn[name] = true
	for _, x := range above {
		again = again || x == name
	}
	if again {
		return
	}
	for i, c := range children {
		f.branch(w, indent, c.label, c.node, i == len(children)-1, append(above, name))
	}
}

// edge is a child of a node, or what somebody uses.
type edge struct{ label, node string }

// byID returns the names and types of the graph's nodes.
func (f *forest) name(id int64) (name, kind string) {
	for _, n := range f.graph.Nodes {
		if n.ID == id {
			return n.Name, n.Type
		}
	}
	return "", ""
}

// children returns the children of a node: its file comes first, and what is below it last.
func (f *forest) children(of string) (out []edge) {
	for _, e := range f.graph.Edges {
		parent, kind := f.name(e.Parent)
		if child, _ := f.name(e.Child); kind == "block-driver" && parent == of {
			out = append(out, edge{e.Name, child})
		}
	}
	rank := func(e edge) int { return map[string]int{"file": -1, "backing": 1}[e.label] }
	slices.SortStableFunc(out, func(a, b edge) int { return rank(a) - rank(b) })
	return out
}

// users are those of nodes that are neither disks nor nodes: jobs, exports.
func (f *forest) users() (out []edge) {
	for _, e := range f.graph.Edges {
		parent, kind := f.name(e.Parent)
		child, _ := f.name(e.Child)
		isDisk := false
		for _, d := range f.disks {
			isDisk = isDisk || d.Inserted != nil && d.Inserted.Name == child && (parent == d.Device || parent == d.Qdev || parent == "")
		}
		if kind != "block-driver" && !isDisk {
			out = append(out, edge{strings.TrimPrefix(kind, "block-") + " " + parent, child})
		}
	}
	return out
}

// roots returns the nodes that are no other node's child.
func (f *forest) roots() (out []string) {
	below := map[string]bool{}
	for _, e := range f.graph.Edges {
		if _, kind := f.name(e.Parent); kind == "block-driver" {
			child, _ := f.name(e.Child)
			below[child] = true
		}
	}
	for _, name := range f.order {
		if !below[name] {
			out = append(out, name)
		}
	}
	return out
}
