//qapi:schema

package qapi

// BlockdevOptionsQuorum is the options of a node that has its data several times over.
type BlockdevOptionsQuorum struct {
	Blkverify        *bool              `qapi:"blkverify"` // end the process where two children differ
	Children         BlockdevRefList    `qapi:"children"`
	VoteThreshold    int64              `qapi:"vote-threshold"`    // how many children must agree
	RewriteCorrupted *bool              `qapi:"rewrite-corrupted"` // put right what was voted down
	ReadPattern      *QuorumReadPattern `qapi:"read-pattern"`      // quorum by default
}

// BlockdevRefList is a list of nodes.
type BlockdevRefList []BlockdevRef

// QuorumReadPattern is which children are read.
type QuorumReadPattern string

// The patterns.
const (
	QuorumReadPatternQuorum QuorumReadPattern = "quorum" // all, and they vote
	QuorumReadPatternFifo   QuorumReadPattern = "fifo"   // the first that can be read
)

// QuorumOpType is a kind of requests.
type QuorumOpType string

// The kinds.
const (
	QuorumOpTypeRead  QuorumOpType = "read"
	QuorumOpTypeWrite QuorumOpType = "write"
	QuorumOpTypeFlush QuorumOpType = "flush"
)

// EventQuorumReportBad says that a child failed, or has other data than the majority.
var EventQuorumReportBad = Event[QuorumReportBadEvent]{
	Name: "QUORUM_REPORT_BAD", RateLimited: true,
	RateKey: func(d QuorumReportBadEvent) string { return d.NodeName },
}

// QuorumReportBadEvent is the data of QUORUM_REPORT_BAD.
type QuorumReportBadEvent struct {
	Type         QuorumOpType `qapi:"type"`
	Error        *string      `qapi:"error"` // why it failed, for people to read; missing if it differs
	NodeName     string       `qapi:"node-name"`
	SectorNum    int64        `qapi:"sector-num"` // of 512 bytes
	SectorsCount int64        `qapi:"sectors-count"`
}

// EventQuorumFailure says that too few children agreed for a request to succeed.
var EventQuorumFailure = Event[QuorumFailureEvent]{Name: "QUORUM_FAILURE", RateLimited: true}

// QuorumFailureEvent is the data of QUORUM_FAILURE.
type QuorumFailureEvent struct {
	Reference    string `qapi:"reference"`  // id of a -drive, or else a node
	SectorNum    int64  `qapi:"sector-num"` // of 512 bytes
	SectorsCount int64  `qapi:"sectors-count"`
}
