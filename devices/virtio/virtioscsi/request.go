package virtioscsi

import (
	"encoding/binary"
	"errors"

	"hv/devices/scsi"
	"hv/devices/virtio/queue"
)

// Requests (virtio 1.2 §5.6.6.1): the driver's header ends with the CDB, the device's with
// the sense data.
const (
	requestHeader  = 19
	responseHeader = 12

	// Responses.
	responseOK             = 0
	responseOverrun        = 1
	responseAborted        = 2
	responseBadTarget      = 3
	responseReset          = 4
	responseFailure        = 9
	responseSucceeded      = 10 // of a task management function
	responseRejected       = 11
	responseIncorrect      = 12
	statusGood             = scsi.Good
	maxSenseData           = 18
	maxResponse            = responseHeader + maxSenseData
	lunSingle         byte = 1 // first byte of the address of a unit
)

// errShape means that the ring itself makes no sense.
var errShape = errors.New("wrong size for virtio-scsi headers")

// address is a unit as requests name it (§5.6.6.1): target and unit; false for what
// cannot be one.
func address(b []byte) (target, lun uint32, ok bool) {
	ok = b[0] == lunSingle && (b[2] == 0 || b[2] >= 0x40 && b[2] < 0x80)
	return uint32(b[1]), uint32(binary.BigEndian.Uint16(b[2:])) & 0x3fff, ok
}

// slot is a request under way.
type slot struct {
	task   scsi.Task
	chain  queue.Chain
	queue  *requestQueue
	target uint32
	sense  uint32 // size of its sense data
}

// parse takes the chain apart. It looks at no guest memory twice. Without an error ok
// says whether there is a unit to ask; if not, the request fails with the response.
func (s *slot) parse(cdbSize, senseSize uint32) (response uint8, ok bool, err error) {
	var h [requestHeader + maxCDB]byte
	header := requestHeader + cdbSize
	if s.chain.OutLen() < header || s.chain.InLen() < responseHeader+senseSize {
		return 0, false, errShape
	}
	s.chain.CopyOut(h[:header], 0)
	t := &s.task
	var valid bool
	s.target, t.LUN, valid = address(h[:])
	t.Tag = binary.LittleEndian.Uint64(h[8:])
	t.Len = copy(t.CDB[:], h[requestHeader:header])
	t.Out = after(t.Out[:0], s.chain.Out, header)
	t.In = after(t.In[:0], s.chain.In, responseHeader+senseSize)
	s.sense = senseSize
	switch {
	case !valid:
		return responseBadTarget, false, nil
	case len(t.Out) > 0 && len(t.In) > 0:
		return responseFailure, false, nil
	}
	return responseOK, true, nil
}

// after appends what buffers have behind the first n bytes.
func after(to, from [][]byte, n uint32) [][]byte {
	for _, b := range from {
		if n >= uint32(len(b)) {
			n -= uint32(len(b))
			continue
		}
		to = append(to, b[n:])
		n = 0
	}
	return to
}

func length(bufs [][]byte) (n uint32) {
	for _, b := range bufs {
		n += uint32(len(b))
	}
	return n
}

// outcomes are the responses to what can become of a task.
var outcomes = [...]uint8{
	scsi.Done: responseOK, scsi.Overrun: responseOverrun, scsi.Aborted: responseAborted, scsi.WasReset: responseReset,
	scsi.NoTarget: responseBadTarget,
}

// respond writes the response and returns how many bytes were written in all.
func (s *slot) respond(response uint8) uint32 {
	var b [maxResponse]byte
	t := &s.task
	n := responseHeader
	b[11] = response
	switch {
	case response != responseOK:
		t.Moved = 0
	case t.Status == statusGood:
		binary.LittleEndian.PutUint32(b[4:], length(t.In)+length(t.Out)-t.Moved)
	default:
		sense := t.Sense.Fixed()
		size := copy(b[responseHeader:], sense[:min(uint32(len(sense)), s.sense)])
		binary.LittleEndian.PutUint32(b[:], uint32(size))
		b[10] = t.Status
		n += size
	}
	s.chain.CopyIn(b[:n], 0)
	written := responseHeader + s.sense
	if len(t.In) > 0 {
		written += t.Moved
	}
	return written
}
