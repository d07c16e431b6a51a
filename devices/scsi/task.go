package scsi

// Outcome is what became of a task, apart from what its unit said.
type Outcome uint8

// Outcomes.
const (
	Done      Outcome = iota // Status and Sense tell
	Overrun                  // more data than there is room for, or in the other direction
	Aborted                  // by a task management function
	WasReset                 // with its unit
	NoTarget                 // nobody is there
	Incorrect                // nobody is there with this number, but another unit is
)

// Task is one command for a unit, from a host adapter, whose it is again once the
// adapter was told that it is done. The buffers are guest memory: what is in them may
// change at any time.
type Task struct {
	// LUN is the unit that was addressed, Tag what the driver calls the task.
	LUN uint32
	Tag uint64
	CDB [maxCDB]byte
	Len int // of the CDB
	// Out is data for the unit, In room for data of its.
	Out, In [][]byte
	// Owner is the adapter's, for whatever it likes.
	Owner any

	Outcome Outcome
	Status  uint8
	Sense   Sense
	// Moved is how many bytes of data were moved.
	Moved uint32

	// The unit's.
	cmd     *command
	xfer    uint64 // bytes that the command may move
	state   state
	at      int  // among the unit's tasks
	stop    bool // abort it
	why     Outcome
	tag     uint32 // of its request
	op      uint8
	off, n  int64
	next    func(d *Unit, t *Task) // once the request is complete
	bufs    [][]byte
	index   int // of a range to discard
	lba     uint64
	left    uint64 // blocks of a WRITE SAME
	pattern []byte
}

// state is where in its unit a task is.
type state uint8

const (
	queued  state = iota // waits to be looked at
	running              // the worker's
)

// cdb returns the CDB.
func (t *Task) cdb() []byte { return t.CDB[:t.Len] }

// size returns how many bytes buffers have.
func size(bufs [][]byte) (n uint64) {
	for _, b := range bufs {
		n += uint64(len(b))
	}
	return n
}

// fits reports whether the data of the command has room.
func (t *Task) fits() bool {
	switch {
	case t.xfer == 0:
		return true
	case t.cmd.flags&sends != 0:
		return t.xfer <= size(t.Out)
	}
	return t.xfer <= size(t.In)
}

// copyOut copies what the driver sent from off on and returns how much there was.
func (t *Task) copyOut(dst []byte, off int) int {
	n := 0
	for _, b := range t.Out {
		if off >= len(b) {
			off -= len(b)
			continue
		}
		n += copy(dst[n:], b[off:])
		off = 0
	}
	return n
}

// first makes the task's buffers the first n bytes of others.
func (t *Task) first(from [][]byte, n uint64) {
	t.bufs = t.bufs[:0]
	for _, b := range from {
		if n == 0 {
			break
		}
		m := min(n, uint64(len(b)))
		t.bufs = append(t.bufs, b[:m])
		n -= m
	}
}
