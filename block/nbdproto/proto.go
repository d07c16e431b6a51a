// Package nbdproto is the wire of the Network Block Device protocol: the fixed newstyle
// handshake from both sides, and the messages of the transmission phase.
//
// Everything that the other side sends is bounded before it is kept: options, names,
// replies, extents and payloads have limits of their own, and what does not fit is an
// error that says what it was. The handshakes use their connection alone and block; the
// codecs are pure functions.
//
// Implements the NBD project's doc/proto.md ("Fixed newstyle negotiation", "Transmission
// phase", "Structured replies", "Metadata querying"). It depends on nothing of ours.
package nbdproto

import "errors"

// Numbers of the protocol, named as in its document.
const (
	Magic           = 0x4e42444d41474943 // NBDMAGIC
	MagicOption     = 0x49484156454f5054 // IHAVEOPT
	magicOld        = 0x00420281861253   // the oldstyle handshake
	magicReply      = 0x3e889045565a9    // of a reply to an option
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef

	flagFixedNewstyle = 1 << 0 // of the handshake, both ways
	flagNoZeroes      = 1 << 1
)

// Limits of what one message may have.
const (
	// MaxPayload is how many bytes one request moves at most.
	MaxPayload = 32 << 20
	// MaxString is how long a name, a description or a text is at most.
	MaxString = 4096
	// MaxExtents is how many extents one block status reply has at most.
	MaxExtents = (1 << 20) / extentSize
	// maxOption is how many bytes an option, or a reply to one, has at most.
	maxOption = 64 << 10
	// maxQueries is how many contexts are asked for at once.
	maxQueries = 1024
	// maxReplies is how many replies a server gives to one option at most.
	maxReplies = 4096
	// maxOptions is how many options a client sends before it has chosen an export.
	maxOptions = 4096
)

// Flags of an export (NBD_FLAG_*).
const (
	HasFlags        = 1 << 0
	ReadOnly        = 1 << 1
	SendFlush       = 1 << 2
	SendFUA         = 1 << 3
	Rotational      = 1 << 4
	SendTrim        = 1 << 5
	SendWriteZeroes = 1 << 6
	SendDF          = 1 << 7
	CanMultiConn    = 1 << 8
	SendResize      = 1 << 9
	SendCache       = 1 << 10
	SendFastZero    = 1 << 11
)

// Option is what a client sends before an export is chosen (NBD_OPT_*).
type Option uint32

// The options.
const (
	OptExportName      Option = 1
	OptAbort           Option = 2
	OptList            Option = 3
	OptStartTLS        Option = 5
	OptInfo            Option = 6
	OptGo              Option = 7
	OptStructuredReply Option = 8
	OptListMetaContext Option = 9
	OptSetMetaContext  Option = 10
)

var optionNames = map[Option]string{
	OptExportName: "export name", OptAbort: "abort", OptList: "list", OptStartTLS: "starttls", OptInfo: "info", OptGo: "go",
	OptStructuredReply: "structured reply", OptListMetaContext: "list meta context", OptSetMetaContext: "set meta context",
}

func (o Option) String() string {
	if s, ok := optionNames[o]; ok {
		return s
	}
	return "<unknown>"
}

// replyType is what a reply to an option is (NBD_REP_*).
type replyType uint32

const (
	repAck         replyType = 1
	repServer      replyType = 2
	repInfo        replyType = 3
	repMetaContext replyType = 4

	repErr              replyType = 1 << 31
	repErrUnsup                   = repErr | 1
	repErrPolicy                  = repErr | 2
	repErrInvalid                 = repErr | 3
	repErrPlatform                = repErr | 4
	repErrTLSReqd                 = repErr | 5
	repErrUnknown                 = repErr | 6
	repErrShutdown                = repErr | 7
	repErrBlockSizeReqd           = repErr | 8
	repErrTooBig                  = repErr | 9
)

// Kinds of information about an export (NBD_INFO_*).
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Command is what a request wants (NBD_CMD_*).
type Command uint16

// The commands.
const (
	CmdRead        Command = 0
	CmdWrite       Command = 1
	CmdDisc        Command = 2
	CmdFlush       Command = 3
	CmdTrim        Command = 4
	CmdCache       Command = 5
	CmdWriteZeroes Command = 6
	CmdBlockStatus Command = 7
)

var commandNames = [...]string{"read", "write", "disconnect", "flush", "trim", "cache", "write zeroes", "block status"}

func (c Command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return "<unknown>"
}

// Flags of a request (NBD_CMD_FLAG_*).
const (
	FUA      = 1 << 0 // durable when it is answered
	NoHole   = 1 << 1 // zeroes with space behind them
	DF       = 1 << 2 // one chunk of data
	ReqOne   = 1 << 3 // one extent
	FastZero = 1 << 4 // zeroes without writing data, or an error
)

// Flags of an extent in the context base:allocation, and in one of dirty bitmaps.
const (
	StateHole  = 1 << 0
	StateZero  = 1 << 1
	StateDirty = 1 << 0
)

// BaseAllocation is the context that tells holes and zeroes.
const BaseAllocation = "base:allocation"

// Errno is an error as the protocol numbers it.
type Errno uint32

// The errors.
const (
	EPERM     Errno = 1
	EIO       Errno = 5
	ENOMEM    Errno = 12
	EINVAL    Errno = 22
	ENOSPC    Errno = 28
	EOVERFLOW Errno = 75
	ENOTSUP   Errno = 95
	ESHUTDOWN Errno = 108
)

// ErrAborted is a client that left before it chose an export.
var ErrAborted = errors.New("the client ended the negotiation")
