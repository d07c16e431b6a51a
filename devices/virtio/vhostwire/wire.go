// Package vhostwire is the messages of the vhost-user protocol, as both of its sides read and
// write them.
//
// What is received is checked for its form; what it means is for its user. No state is kept,
// so that any number of connections can be used, each by one reader and one writer at a time.
//
// Follows QEMU's docs/interop/vhost-user.rst. It depends on nothing of ours, so that our front
// end for networks and our back end for disks may share it.
package vhostwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Request is the kind of a message.
type Request uint32

// Requests of front ends.
const (
	GetFeatures         Request = 1
	SetFeatures         Request = 2
	SetOwner            Request = 3
	ResetOwner          Request = 4
	SetMemTable         Request = 5
	SetVringNum         Request = 8
	SetVringAddr        Request = 9
	SetVringBase        Request = 10
	GetVringBase        Request = 11
	SetVringKick        Request = 12
	SetVringCall        Request = 13
	SetVringErr         Request = 14
	GetProtocolFeatures Request = 15
	SetProtocolFeatures Request = 16
	GetQueueNum         Request = 17
	SetVringEnable      Request = 18
	SendRARP            Request = 19
	NetSetMTU           Request = 20
	SetBackendReqFD     Request = 21
	GetConfig           Request = 24
	SetConfig           Request = 25
	ResetDevice         Request = 34
	GetMaxMemSlots      Request = 36
	AddMemReg           Request = 37
	RemMemReg           Request = 38
	SetStatus           Request = 39
	GetStatus           Request = 40
)

// ConfigChanged is a back end's request.
const ConfigChanged Request = 2

// FeatureProtocol is the feature bit that says that protocol features can be negotiated.
const FeatureProtocol = 1 << 30

// Protocol features.
const (
	ProtocolMQ          = 1 << 0
	ProtocolRARP        = 1 << 2
	ProtocolReplyAck    = 1 << 3
	ProtocolNetMTU      = 1 << 4
	ProtocolBackendReq  = 1 << 5
	ProtocolConfig      = 1 << 9
	ProtocolResetDevice = 1 << 13
	ProtocolMemSlots    = 1 << 15
	ProtocolStatus      = 1 << 16
)

// Flags of a message, beside the version.
const (
	FlagReply   = 1 << 2
	FlagNeedAck = 1 << 3
	version     = 1
	versionMask = 3
)

// Numbers of messages about a descriptor of a ring.
const (
	RingMask = 0xff
	NoFD     = 1 << 8
)

// Limits of messages.
const (
	// MaxRegions is how many pieces of memory one message names.
	MaxRegions = 8
	maxPayload = 512
	headerSize = 12
	regionSize = 32
)

var le = binary.LittleEndian

// Conn is a connection between two sides, such as a *net.UnixConn.
type Conn interface {
	io.ReadWriter
	ReadMsgUnix(b, oob []byte) (n, oobn, flags int, from *net.UnixAddr, err error)
	WriteMsgUnix(b, oob []byte, to *net.UnixAddr) (n, oobn int, err error)
}

// Message is what one side says.
type Message struct {
	Request Request
	Flags   uint32
	Payload []byte
	FDs     []int
}

// CloseAll closes the descriptors that nobody took.
func (m *Message) CloseAll() {
	for _, fd := range m.FDs {
		_ = unix.Close(fd)
	}
	m.FDs = nil
}

// TakeFD gives away the first descriptor, -1 if there is none.
func (m *Message) TakeFD() int {
	if len(m.FDs) == 0 {
		return -1
	}
	fd := m.FDs[0]
	m.FDs = m.FDs[1:]
	return fd
}

// U64 returns the payload of messages that have one number.
func (m *Message) U64() (uint64, error) {
	if len(m.Payload) != 8 {
		return 0, fmt.Errorf("vhost-user message %d of %d bytes, not 8", m.Request, len(m.Payload))
	}
	return le.Uint64(m.Payload), nil
}

// State returns the payload of messages about a ring: its index, and a number.
func (m *Message) State() (index, number uint32, err error) {
	v, err := m.U64()
	return uint32(v), uint32(v >> 32), err
}

// U64 is the payload of messages that have one number.
func U64(v uint64) []byte { return le.AppendUint64(nil, v) }

// State is the payload of messages about a ring.
func State(index, number uint32) []byte { return U64(uint64(number)<<32 | uint64(index)) }

// Addresses is the payload of SetVringAddr.
type Addresses struct {
	Index, Flags            uint32
	Desc, Used, Avail, Logs uint64
}

// addressesSize is how many bytes Addresses take.
const addressesSize = 40

// Append encodes.
func (a *Addresses) Append(b []byte) []byte {
	b = le.AppendUint32(le.AppendUint32(b, a.Index), a.Flags)
	for _, v := range [...]uint64{a.Desc, a.Used, a.Avail, a.Logs} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// ParseAddresses decodes.
func ParseAddresses(b []byte) (Addresses, error) {
	if len(b) != addressesSize {
		return Addresses{}, fmt.Errorf("vhost-user ring addresses of %d bytes", len(b))
	}
	return Addresses{le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])}, nil
}

// Region is a piece of the front end's memory; Offset is where it begins in its file.
type Region struct{ Guest, Size, User, Offset uint64 }

func (r *Region) append(b []byte) []byte {
	for _, v := range [...]uint64{r.Guest, r.Size, r.User, r.Offset} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// Regions is the payload of SetMemTable.
func Regions(all []Region) []byte {
	b := le.AppendUint64(nil, uint64(len(all)))
	for _, r := range all {
		b = r.append(b)
	}
	return b
}

// SingleRegion is the payload of AddMemReg and RemMemReg.
func SingleRegion(r Region) []byte { return r.append(make([]byte, 8)) }

// ParseRegions decodes the payload of SetMemTable.
func ParseRegions(b []byte) ([]Region, error) {
	if len(b) < 8 {
		return nil, errors.New("short memory table")
	}
	n := le.Uint32(b)
	if n > MaxRegions || len(b) < 8+int(n)*regionSize {
		return nil, fmt.Errorf("memory table of %d regions in %d bytes", n, len(b))
	}
	var all []Region
	for i := range int(n) {
		x, err := parseRegion(b[8+i*regionSize:])
		if err != nil {
			return nil, fmt.Errorf("memory region %d: %w", i, err)
		}
		all = append(all, x)
	}
	return all, nil
}

// ParseSingleRegion decodes the payload of AddMemReg.
func ParseSingleRegion(b []byte) (Region, error) {
	if len(b) != 8+regionSize {
		return Region{}, fmt.Errorf("memory region of %d bytes", len(b))
	}
	return parseRegion(b[8:])
}

func parseRegion(b []byte) (Region, error) {
	x := Region{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])}
	if x.Size == 0 || x.Guest+x.Size < x.Guest || x.User+x.Size < x.User || x.Offset+x.Size < x.Offset || x.Offset+x.Size > 1<<62 {
		return x, errors.New("it makes no sense")
	}
	return x, nil
}
