//qapi:schema

package qapi

// XDbgBlockGraphNodeType is what stands at a place of the graph.
type XDbgBlockGraphNodeType string

// The types.
const (
	XDbgBlockGraphNodeTypeBlockBackend XDbgBlockGraphNodeType = "block-backend" // a disk or another front end
	XDbgBlockGraphNodeTypeBlockJob     XDbgBlockGraphNodeType = "block-job"     // a job
	XDbgBlockGraphNodeTypeBlockDriver  XDbgBlockGraphNodeType = "block-driver"  // a node
)

// XDbgBlockGraphNode is a place of the graph.
type XDbgBlockGraphNode struct {
	Id   uint64                 `qapi:"id"`
	Type XDbgBlockGraphNodeType `qapi:"type"`
	Name string                 `qapi:"name"`
}

// XDbgBlockGraphNodeList is places of the graph.
type XDbgBlockGraphNodeList []XDbgBlockGraphNode

// XDbgBlockGraphEdge is that somebody uses a node.
type XDbgBlockGraphEdge struct {
	Parent     uint64              `qapi:"parent"` // who, by id
	Child      uint64              `qapi:"child"`  // which node, by id
	Name       string              `qapi:"name"`   // what the node is for the user
	Perm       BlockPermissionList `qapi:"perm"`
	SharedPerm BlockPermissionList `qapi:"shared-perm"`
}

// XDbgBlockGraphEdgeList is the uses of nodes.
type XDbgBlockGraphEdgeList []XDbgBlockGraphEdge

// XDbgBlockGraph is all nodes, and who uses them.
type XDbgBlockGraph struct {
	Nodes XDbgBlockGraphNodeList `qapi:"nodes"`
	Edges XDbgBlockGraphEdgeList `qapi:"edges"`
}

// CmdXDebugQueryBlockGraph shows all nodes, and who uses them.
//
//qapi:features unstable
var CmdXDebugQueryBlockGraph = Command[Empty, XDbgBlockGraph]{Name: "x-debug-query-block-graph", Preconfig: true}

// CmdXBlockdevChange adds a child to a node, or takes one away.
//
//qapi:features unstable
var CmdXBlockdevChange = Command[XBlockdevChangeArgs, Empty]{Name: "x-blockdev-change", Preconfig: true}

// XBlockdevChangeArgs is the arguments of x-blockdev-change.
type XBlockdevChangeArgs struct {
	Parent string  `qapi:"parent"`
	Child  *string `qapi:"child"` // to take away
	Node   *string `qapi:"node"`  // to add
}

// CmdBlockdevReopen gives nodes other options; what is not said is as blockdev-add has it.
var CmdBlockdevReopen = Command[BlockdevReopenArgs, Empty]{Name: "blockdev-reopen", Preconfig: true}

// BlockdevOptionsList is descriptions of nodes.
type BlockdevOptionsList []BlockdevOptions

// BlockdevReopenArgs is the arguments of blockdev-reopen.
type BlockdevReopenArgs struct {
	Options BlockdevOptionsList `qapi:"options"`
}
