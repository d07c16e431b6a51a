//qapi:schema

package qapi

// BlockdevOnError is what becomes of a disk's requests that fail.
type BlockdevOnError string

// What there is.
const (
	BlockdevOnErrorReport BlockdevOnError = "report" // the guest is told
	BlockdevOnErrorIgnore BlockdevOnError = "ignore" // they count as done
	BlockdevOnErrorEnospc BlockdevOnError = "enospc" // as stop if the medium is full, else as report
	BlockdevOnErrorStop   BlockdevOnError = "stop"   // the VM stops; they are made again when it goes on
	BlockdevOnErrorAuto   BlockdevOnError = "auto"   // as the drive says, or else report for reads and enospc for writes
)

// BlockErrorAction is what was done about an error.
type BlockErrorAction string

// What there is.
const (
	BlockErrorActionIgnore BlockErrorAction = "ignore"
	BlockErrorActionReport BlockErrorAction = "report"
	BlockErrorActionStop   BlockErrorAction = "stop" // STOP follows
)

// IoOperationType is a kind of requests.
type IoOperationType string

// The kinds.
const (
	IoOperationTypeRead  IoOperationType = "read"
	IoOperationTypeWrite IoOperationType = "write" // and all else
)

// EventBlockIoError says that a request of a disk failed.
var EventBlockIoError = Event[BlockIoErrorEvent]{Name: "BLOCK_IO_ERROR"}

// BlockIoErrorEvent is the data of BLOCK_IO_ERROR.
type BlockIoErrorEvent struct {
	Device    string           `qapi:"device"` // id of the -drive, or empty
	NodeName  *string          `qapi:"node-name"`
	Operation IoOperationType  `qapi:"operation"`
	Action    BlockErrorAction `qapi:"action"`
	Nospace   *bool            `qapi:"nospace"` // the medium is full
	Reason    string           `qapi:"reason"`  // for humans
}
