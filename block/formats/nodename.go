package formats

import (
	"slices"
	"strings"

	"hv/block/blockopts"
	"hv/block/graph"
	"hv/block/nbddrv"
	"hv/qmp/qapi"
)

// strong are the options by which a node is another one, so that the name of its file alone
// would not say what it is. Those that end in a dot stand for all within.
var strong = map[qapi.BlockdevDriver][]string{
	"blkdebug":     {"config", "inject-error", "set-state", "align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard"},
	"blklogwrites": {"log-append", "log-sector-size"},
	"nbd":          {"path", "host", "port", "export", "tls-creds", "tls-hostname", "server"},
	"null-aio":     {"size", "read-zeroes"},
	"null-co":      {"size", "read-zeroes"},
	"quorum":       {"vote-threshold", "blkverify", "rewrite-corrupted", "read-pattern"},
	"raw":          {"size", "offset"},
	"throttle":     {"throttle-group"},
}

// primary is which child is the node's image, if that is not "file".
var primary = map[string]string{"blkdebug": "image", "blkverify": "raw", "copy-before-write": "file"}

// onlyFilters are the drivers that cannot be told from a file's name.
var onlyFilters = []string{"blkdebug", "blklogwrites", "blkverify", "copy-before-write", "copy-on-read", "preallocate", "throttle"}

// autoBacker knows by which name its image's header finds the backing node.
type autoBacker interface{ AutoBacking() string }

// identity is what a node is known by.
type identity struct {
	exact string         // the name of a file that opens as this node; empty for none
	full  blockopts.Tree // options that do
}

func (id identity) filename() string {
	if id.exact != "" {
		return id.exact
	}
	return "json:" + id.full.JSON()
}

// Filename returns what a node is known by: the name of a file if that tells it all, or
// else its options.
func Filename(n *graph.Node) string { return identify(n).filename() }

func identify(n *graph.Node) identity {
	own := flatRules(strongOptions(n))
	overridden := backingOverridden(n)
	id := identity{full: own}
	special := overridden || len(own) > 1 && own["filename"] == nil || len(own) > 2
	children := map[string]identity{}
	var list []any
	for _, c := range n.Children() {
		if c.Role() == graph.Backing && !overridden {
			continue
		}
		child := identify(c.Node())
		children[c.Name()] = child
		if strings.HasPrefix(c.Name(), "children.") {
			list = append(list, child.full)
		} else {
			id.full[c.Name()] = child.full
		}
	}
	if list != nil {
		id.full["children"] = list
	}
	if overridden && backingOf(n) == nil {
		id.full["backing"] = nil
	}
	id.exact = exact(n, children, special)
	return id
}

// exact returns the name of a file that opens as the node, if there is one.
func exact(n *graph.Node, children map[string]identity, special bool) string {
	driver := n.Driver()
	first := children["file"]
	if name := primary[driver]; name != "" {
		first = children[name]
	}
	own := strongOptions(n)
	switch driver {
	case "file", "host_device", "nbd":
		name, _ := own.Text("filename")
		if driver == "nbd" {
			return exportName(own)
		}
		return name
	case "null-co", "null-aio":
		if special {
			return ""
		}
		return driver + "://"
	case "blkdebug":
		config, _ := own.Text("config")
		if first.exact == "" || len(own.Without("config").Without("driver")) > 0 {
			return ""
		}
		return "blkdebug:" + config + ":" + first.exact
	case "blkverify":
		if test := children["test"].exact; first.exact != "" && test != "" {
			return "blkverify:" + first.exact + ":" + test
		}
		return ""
	}
	if special || slices.Contains(onlyFilters, driver) || !onProtocol(n) {
		return ""
	}
	return first.exact
}

// exportName returns an export's address.
func exportName(own blockopts.Tree) string {
	var server qapi.SocketAddress
	if own.Sub("server").Decode(&server) != nil {
		return ""
	}
	export, _ := own.Text("export")
	return nbddrv.Filename(&server, export)
}

// onProtocol tells whether the node's image lies in a node that is opened by its name.
func onProtocol(n *graph.Node) bool {
	for _, c := range n.Children() {
		if c.Name() == "file" {
			driver := c.Node().Driver()
			_, ok := protocols[driver]
			return ok || driver == "blkdebug" || driver == "blkverify"
		}
	}
	return false
}

func backingOf(n *graph.Node) *graph.Node {
	for _, c := range n.Children() {
		if c.Role() == graph.Backing {
			return c.Node()
		}
	}
	return nil
}

// backingOverridden tells whether the node has another backing node than its image says.
func backingOverridden(n *graph.Node) bool {
	auto := ""
	if d, ok := graph.As[autoBacker](n); ok {
		auto = d.AutoBacking()
	}
	if below := backingOf(n); below != nil {
		return below.Filename() != auto
	}
	return auto != ""
}

// strongOptions returns those of a node's options that make it what it is.
func strongOptions(n *graph.Node) blockopts.Tree {
	own := blockopts.Tree{"driver": n.Driver()}
	all := source(n)
	for _, key := range append(strong[qapi.BlockdevDriver(n.Driver())], "filename") {
		if v, ok := all[key]; ok {
			own[key] = v
		}
	}
	return own
}
