package disk

import (
	"hv/block/account"
	"hv/block/hostfile"
	"hv/block/throttle"
)

// Front is what a drive has, whoever makes its requests: limits and accounts.
type Front struct {
	Limits throttle.Member
	Stats  *account.Stats
}

// NewFront returns one without limits.
func NewFront(cfg account.Config) *Front { return &Front{Stats: account.New(cfg)} }

// kindOf returns how an operation counts.
func kindOf(op uint8) account.Kind {
	switch op {
	case hostfile.OpRead:
		return account.Read
	case hostfile.OpFlush:
		return account.Flush
	case hostfile.OpDiscard:
		return account.Unmap
	}
	return account.Write
}

// limited reports whether requests of a kind wait for limits.
func limited(k account.Kind) bool { return k == account.Read || k == account.Write }
