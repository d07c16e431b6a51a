//qapi:schema

package qapi

// SocketAddress is a socket's address.
type SocketAddress struct {
	Type  SocketAddressType   `qapi:"type,discriminator"`
	Inet  *InetSocketAddress  `qapi:",branch=inet"`
	Unix  *UnixSocketAddress  `qapi:",branch=unix"`
	Vsock *VsockSocketAddress `qapi:",branch=vsock"`
	Fd    *SocketFd           `qapi:",branch=fd"`
}

// CmdNbdServerStart begins to serve nodes over NBD.
var CmdNbdServerStart = Command[NbdServerStartArgs, Empty]{Name: "nbd-server-start", Preconfig: true}

// NbdServerStartArgs is the arguments of nbd-server-start.
type NbdServerStartArgs struct {
	Addr           SocketAddressLegacy `qapi:"addr"`            // where to listen
	TlsCreds       *string             `qapi:"tls-creds"`       // id of a tls-creds object; clients must use TLS then
	TlsAuthz       *string             `qapi:"tls-authz"`       // id of what decides who may come in, by certificate
	MaxConnections *uint32             `qapi:"max-connections"` // at once; 0 for any number
}

// CmdNbdServerAdd serves a node over NBD.
//
//qapi:features deprecated
var CmdNbdServerAdd = Command[NbdServerAddOptions, Empty]{Name: "nbd-server-add", Preconfig: true}

// BlockExportOptionsNbdBase is what each NBD export has.
type BlockExportOptionsNbdBase struct {
	Name        *string `qapi:"name"`        // what clients ask for; the node's name by default
	Description *string `qapi:"description"` // for people, up to 4096 bytes
}

// NbdServerAddOptions is the arguments of nbd-server-add.
type NbdServerAddOptions struct {
	BlockExportOptionsNbdBase
	Device   string  `qapi:"device"`   // a drive's id or a node's name
	Writable *bool   `qapi:"writable"` // if the node is
	Bitmap   *string `qapi:"bitmap"`   // a dirty bitmap that clients may see
}

// CmdNbdServerRemove takes an NBD export away.
//
//qapi:features deprecated
var CmdNbdServerRemove = Command[NbdServerRemoveArgs, Empty]{Name: "nbd-server-remove", Preconfig: true}

// NbdServerRemoveArgs is the arguments of nbd-server-remove.
type NbdServerRemoveArgs struct {
	Name string                 `qapi:"name"`
	Mode *BlockExportRemoveMode `qapi:"mode"` // safe by default
}

// BlockExportRemoveMode is what becomes of the clients of an export that is removed.
type BlockExportRemoveMode string

// The modes.
const (
	BlockExportRemoveModeSafe BlockExportRemoveMode = "safe" // with clients it stays
	BlockExportRemoveModeHard BlockExportRemoveMode = "hard" // they are thrown out
)

// CmdNbdServerStop ends the NBD server and all its exports.
var CmdNbdServerStop = Command[Empty, Empty]{Name: "nbd-server-stop", Preconfig: true}

// BlockExportType is how a node is served.
type BlockExportType string

// The types.
const (
	BlockExportTypeNbd          BlockExportType = "nbd"            // by the NBD server
	BlockExportTypeVhostUserBlk BlockExportType = "vhost-user-blk" // as the back end of a disk of another virtual machine
)

// BlockExportOptions describes an export.
type BlockExportOptions struct {
	Type          BlockExportType                 `qapi:"type,discriminator"`
	Id            string                          `qapi:"id"`
	FixedIothread *bool                           `qapi:"fixed-iothread"` // nothing is moved between threads here
	Iothread      *string                         `qapi:"iothread"`       // must exist; exports have threads of their own
	NodeName      string                          `qapi:"node-name"`
	Writable      *bool                           `qapi:"writable"`
	Writethrough  *bool                           `qapi:"writethrough"` // each write is durable when it is answered
	Nbd           *BlockExportOptionsNbd          `qapi:",branch=nbd"`
	VhostUserBlk  *BlockExportOptionsVhostUserBlk `qapi:",branch=vhost-user-blk"`
}

// BlockExportOptionsNbd is the options of an NBD export.
type BlockExportOptionsNbd struct {
	BlockExportOptionsNbdBase
	Bitmaps         *BlockDirtyBitmapOrStrList `qapi:"bitmaps"`          // dirty bitmaps that clients may see
	AllocationDepth *bool                      `qapi:"allocation-depth"` // tell which node of a chain has the data
}

// BlockExportOptionsVhostUserBlk is the options of a vhost-user-blk export.
type BlockExportOptionsVhostUserBlk struct {
	Addr             SocketAddress `qapi:"addr"`               // a UNIX socket to listen on, or one that listens
	LogicalBlockSize *uint64       `qapi:"logical-block-size"` // bytes, 512 by default
	NumQueues        *uint16       `qapi:"num-queues"`         // of requests, one by default
}

// CmdBlockExportAdd serves a node.
var CmdBlockExportAdd = Command[BlockExportOptions, Empty]{Name: "block-export-add", Preconfig: true}

// CmdBlockExportDel takes an export away.
var CmdBlockExportDel = Command[BlockExportDelArgs, Empty]{Name: "block-export-del", Preconfig: true}

// BlockExportDelArgs is the arguments of block-export-del.
type BlockExportDelArgs struct {
	Id   string                 `qapi:"id"`
	Mode *BlockExportRemoveMode `qapi:"mode"` // safe by default
}

// CmdQueryBlockExports lists the exports.
var CmdQueryBlockExports = Command[Empty, BlockExportInfoList]{Name: "query-block-exports", Preconfig: true}

// BlockExportInfoList is the result of query-block-exports.
type BlockExportInfoList []BlockExportInfo

// BlockExportInfo is an export.
type BlockExportInfo struct {
	Id           string          `qapi:"id"`
	Type         BlockExportType `qapi:"type"`
	NodeName     string          `qapi:"node-name"`
	ShuttingDown bool            `qapi:"shutting-down"` // it is on its way out
}

// EventBlockExportDeleted says that an export is gone and its id can be used again.
var EventBlockExportDeleted = Event[BlockExportDeletedEvent]{Name: "BLOCK_EXPORT_DELETED"}

// BlockExportDeletedEvent is the data of BLOCK_EXPORT_DELETED.
type BlockExportDeletedEvent struct {
	Id string `qapi:"id"`
}

// AuthZSimpleProperties are the properties of an object that lets one in.
type AuthZSimpleProperties struct {
	Identity string `qapi:"identity"` // whom
}

// TlsCredsProperties are the properties of all kinds of credentials for TLS.
type TlsCredsProperties struct {
	VerifyPeer *bool                    `qapi:"verify-peer"` // the other end must show who it is; on by default
	Dir        *string                  `qapi:"dir"`         // the folder that they are in
	Endpoint   *QCryptoTLSCredsEndpoint `qapi:"endpoint"`    // client by default
	Priority   *string                  `qapi:"priority"`    // ciphers are chosen by Go's library whatever it says
}

// TlsCredsX509Properties are those of certificates.
type TlsCredsX509Properties struct {
	TlsCredsProperties
	SanityCheck *bool `qapi:"sanity-check"` // refuse what is out of date; on by default
}

// QCryptoTLSCredsEndpoint is an end of a connection.
type QCryptoTLSCredsEndpoint string

// The ends.
const (
	QCryptoTLSCredsEndpointClient QCryptoTLSCredsEndpoint = "client"
	QCryptoTLSCredsEndpointServer QCryptoTLSCredsEndpoint = "server"
)

// BlockdevOptionsNbd is the options of an export of an NBD server.
type BlockdevOptionsNbd struct {
	Server      SocketAddress `qapi:"server"`
	Export      *string       `qapi:"export"`       // the one without a name by default
	TlsCreds    *string       `qapi:"tls-creds"`    // id of a tls-creds object
	TlsHostname *string       `qapi:"tls-hostname"` // whom the server's certificate is of; its host by default
	//qapi:features unstable
	XDirtyBitmap   *string `qapi:"x-dirty-bitmap,feature=unstable"` // what block status is asked of, instead of base:allocation
	ReconnectDelay *uint32 `qapi:"reconnect-delay"`                 // seconds that requests wait for a server that was lost; none by default
	OpenTimeout    *uint32 `qapi:"open-timeout"`                    // seconds to keep trying for; by default there is one attempt
}

// CmdBlockdevSetIothread moves a node to a thread. Nodes have no thread of their own here, so
// that it has no effect beyond its checks.
//
//qapi:features unstable
var CmdBlockdevSetIothread = Command[BlockdevSetIothreadArgs, Empty]{Name: "x-blockdev-set-iothread", Preconfig: true}

// BlockdevSetIothreadArgs is the arguments of x-blockdev-set-iothread.
type BlockdevSetIothreadArgs struct {
	NodeName string    `qapi:"node-name"`
	Iothread StrOrNull `qapi:"iothread"` // an iothread's id, or null for the main one
	Force    *bool     `qapi:"force"`    // even if the node is in use
}

// StrOrNull is a string, or null.
type StrOrNull struct {
	S *string   `qapi:"s,alternate"`
	N *NullType `qapi:"n,alternate"`
}
