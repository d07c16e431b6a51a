//qapi:schema

package qapi

// EventLoopBaseProperties are the properties of what waits for many things at once.
type EventLoopBaseProperties struct {
	AioMaxBatch   *int64 `qapi:"aio-max-batch"`   // requests that are started at once at most, 0 for all
	ThreadPoolMin *int64 `qapi:"thread-pool-min"` // threads that a queue has for its requests from the beginning
	ThreadPoolMax *int64 `qapi:"thread-pool-max"` // and at most
}

// IothreadProperties are the properties of an iothread: how long it looks for work before it sleeps.
type IothreadProperties struct {
	EventLoopBaseProperties
	PollMaxNs  *int64 `qapi:"poll-max-ns"` // at most; 0 is not at all
	PollGrow   *int64 `qapi:"poll-grow"`   // the factor by which a time grows that was too short, 2 if it is 0
	PollShrink *int64 `qapi:"poll-shrink"` // the divisor by which it shrinks when there is little to do; 0 ends it
}

// CmdQueryIothreads lists the iothreads.
var CmdQueryIothreads = Command[Empty, IOThreadInfoList]{Name: "query-iothreads", Preconfig: true}

// IOThreadInfo describes an iothread.
type IOThreadInfo struct {
	Id          string `qapi:"id"`
	ThreadId    int64  `qapi:"thread-id"` // of the host
	PollMaxNs   int64  `qapi:"poll-max-ns"`
	PollGrow    int64  `qapi:"poll-grow"`
	PollShrink  int64  `qapi:"poll-shrink"`
	AioMaxBatch int64  `qapi:"aio-max-batch"`
}

// IOThreadInfoList is a list of iothreads.
type IOThreadInfoList []IOThreadInfo
