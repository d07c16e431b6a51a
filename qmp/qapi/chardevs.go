//qapi:schema

package qapi

// ChardevInfo is a character device.
type ChardevInfo struct {
	Label        string `qapi:"label"`
	Filename     string `qapi:"filename"`      // what is on the host's side
	FrontendOpen bool   `qapi:"frontend-open"` // whether its user listens
}

// ChardevInfoList is a list of character devices.
type ChardevInfoList []ChardevInfo

// CmdQueryChardev lists the character devices.
var CmdQueryChardev = Command[Empty, ChardevInfoList]{Name: "query-chardev", Preconfig: true}

// ChardevBackendInfo names a kind of back ends.
type ChardevBackendInfo struct {
	Name string `qapi:"name"`
}

// ChardevBackendInfoList is a list of kinds of back ends.
type ChardevBackendInfoList []ChardevBackendInfo

// CmdQueryChardevBackends lists the kinds of back ends that there are.
var CmdQueryChardevBackends = Command[Empty, ChardevBackendInfoList]{Name: "query-chardev-backends"}

// DataFormat is how bytes are written as text.
type DataFormat string

// The formats.
const (
	DataFormatUtf8   DataFormat = "utf8"
	DataFormatBase64 DataFormat = "base64"
)

// CmdRingbufWrite puts data into a ring buffer.
var CmdRingbufWrite = Command[RingbufWriteArgs, Empty]{Name: "ringbuf-write"}

// RingbufWriteArgs is the arguments of ringbuf-write.
type RingbufWriteArgs struct {
	Device string      `qapi:"device"`
	Data   string      `qapi:"data"`
	Format *DataFormat `qapi:"format"` // utf8 by default
}

// CmdRingbufRead takes data out of a ring buffer.
var CmdRingbufRead = Command[RingbufReadArgs, Text]{Name: "ringbuf-read"}

// RingbufReadArgs is the arguments of ringbuf-read.
type RingbufReadArgs struct {
	Device string      `qapi:"device"`
	Size   int64       `qapi:"size"`   // at most
	Format *DataFormat `qapi:"format"` // utf8 by default
}

// ChardevCommon is the options that every back end has.
type ChardevCommon struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
}

// ChardevFile is the options of a file.
type ChardevFile struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	In        *string `qapi:"in"`     // input, which there is none of here
	Out       string  `qapi:"out"`    // the file
	Append    *bool   `qapi:"append"` // add to it rather than empty it
}

// ChardevHostdev is the options of a device or pipe of the host.
type ChardevHostdev struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Device    string  `qapi:"device"` // its path
}

// ChardevSocket is the options of a socket.
type ChardevSocket struct {
	Logfile   *string             `qapi:"logfile"`
	Logappend *bool               `qapi:"logappend"`
	Addr      SocketAddressLegacy `qapi:"addr"`
	TlsCreds  *string             `qapi:"tls-creds"`
	TlsAuthz  *string             `qapi:"tls-authz"`
	Server    *bool               `qapi:"server"`  // listen, the default, rather than connect
	Wait      *bool               `qapi:"wait"`    // a server waits for its first client
	Nodelay   *bool               `qapi:"nodelay"` // send small packets at once
	Telnet    *bool               `qapi:"telnet"`  // speak the telnet protocol
	Tn3270    *bool               `qapi:"tn3270"`
	Websocket *bool               `qapi:"websocket"`
	Reconnect *int64              `qapi:"reconnect"` // seconds after which a client tries again; 0 for never
}

// ChardevUdp is the options of datagrams.
type ChardevUdp struct {
	Logfile   *string              `qapi:"logfile"`
	Logappend *bool                `qapi:"logappend"`
	Remote    SocketAddressLegacy  `qapi:"remote"` // where they go
	Local     *SocketAddressLegacy `qapi:"local"`  // where they come in
}

// ChardevMux is the options of a multiplexer.
type ChardevMux struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Chardev   string  `qapi:"chardev"` // what it shares
}

// ChardevStdio is the options of standard input and output.
type ChardevStdio struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Signal    *bool   `qapi:"signal"` // keys such as Ctrl-C raise signals
}

// ChardevSpiceChannel is the options of a SPICE channel.
type ChardevSpiceChannel struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Type      string  `qapi:"type"`
}

// ChardevSpicePort is the options of a SPICE port.
type ChardevSpicePort struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Fqdn      string  `qapi:"fqdn"`
}

// ChardevDBus is the options of a D-Bus channel.
type ChardevDBus struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Name      string  `qapi:"name"`
}

// ChardevVC is the options of a virtual console, which is null here.
type ChardevVC struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Width     *int64  `qapi:"width"`
	Height    *int64  `qapi:"height"`
	Cols      *int64  `qapi:"cols"`
	Rows      *int64  `qapi:"rows"`
}

// ChardevRingbuf is the options of a ring buffer.
type ChardevRingbuf struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Size      *int64  `qapi:"size"` // bytes, a power of two; 65536 by default
}

// ChardevQemuVDAgent is the options of a SPICE agent.
type ChardevQemuVDAgent struct {
	Logfile   *string `qapi:"logfile"`
	Logappend *bool   `qapi:"logappend"`
	Mouse     *bool   `qapi:"mouse"`
	Clipboard *bool   `qapi:"clipboard"`
}

// ChardevBackendKind is a kind of back ends.
type ChardevBackendKind string

// The kinds.
const (
	ChardevBackendKindFile        ChardevBackendKind = "file"
	ChardevBackendKindSerial      ChardevBackendKind = "serial"
	ChardevBackendKindParallel    ChardevBackendKind = "parallel"
	ChardevBackendKindPipe        ChardevBackendKind = "pipe"
	ChardevBackendKindSocket      ChardevBackendKind = "socket"
	ChardevBackendKindUdp         ChardevBackendKind = "udp"
	ChardevBackendKindPty         ChardevBackendKind = "pty"
	ChardevBackendKindNull        ChardevBackendKind = "null"
	ChardevBackendKindMux         ChardevBackendKind = "mux"
	ChardevBackendKindMsmouse     ChardevBackendKind = "msmouse"
	ChardevBackendKindWctablet    ChardevBackendKind = "wctablet"
	ChardevBackendKindBraille     ChardevBackendKind = "braille"
	ChardevBackendKindTestdev     ChardevBackendKind = "testdev"
	ChardevBackendKindStdio       ChardevBackendKind = "stdio"
	ChardevBackendKindConsole     ChardevBackendKind = "console"
	ChardevBackendKindSpicevmc    ChardevBackendKind = "spicevmc"
	ChardevBackendKindSpiceport   ChardevBackendKind = "spiceport"
	ChardevBackendKindQemuVdagent ChardevBackendKind = "qemu-vdagent"
	ChardevBackendKindDbus        ChardevBackendKind = "dbus"
	ChardevBackendKindVc          ChardevBackendKind = "vc"
	ChardevBackendKindRingbuf     ChardevBackendKind = "ringbuf"
	ChardevBackendKindMemory      ChardevBackendKind = "memory"
)

// ChardevFileWrapper wraps options for ChardevBackend.
type ChardevFileWrapper struct {
	Data ChardevFile `qapi:"data"`
}

// ChardevHostdevWrapper wraps options for ChardevBackend.
type ChardevHostdevWrapper struct {
	Data ChardevHostdev `qapi:"data"`
}

// ChardevSocketWrapper wraps options for ChardevBackend.
type ChardevSocketWrapper struct {
	Data ChardevSocket `qapi:"data"`
}

// ChardevUdpWrapper wraps options for ChardevBackend.
type ChardevUdpWrapper struct {
	Data ChardevUdp `qapi:"data"`
}

// ChardevCommonWrapper wraps options for ChardevBackend.
type ChardevCommonWrapper struct {
	Data ChardevCommon `qapi:"data"`
}

// ChardevMuxWrapper wraps options for ChardevBackend.
type ChardevMuxWrapper struct {
	Data ChardevMux `qapi:"data"`
}

// ChardevStdioWrapper wraps options for ChardevBackend.
type ChardevStdioWrapper struct {
	Data ChardevStdio `qapi:"data"`
}

// ChardevSpiceChannelWrapper wraps options for ChardevBackend.
type ChardevSpiceChannelWrapper struct {
	Data ChardevSpiceChannel `qapi:"data"`
}

// ChardevSpicePortWrapper wraps options for ChardevBackend.
type ChardevSpicePortWrapper struct {
	Data ChardevSpicePort `qapi:"data"`
}

// ChardevQemuVDAgentWrapper wraps options for ChardevBackend.
type ChardevQemuVDAgentWrapper struct {
	Data ChardevQemuVDAgent `qapi:"data"`
}

// ChardevDBusWrapper wraps options for ChardevBackend.
type ChardevDBusWrapper struct {
	Data ChardevDBus `qapi:"data"`
}

// ChardevVCWrapper wraps options for ChardevBackend.
type ChardevVCWrapper struct {
	Data ChardevVC `qapi:"data"`
}

// ChardevRingbufWrapper wraps options for ChardevBackend.
type ChardevRingbufWrapper struct {
	Data ChardevRingbuf `qapi:"data"`
}

// ChardevBackend is a back end: its kind and options.
type ChardevBackend struct {
	Type        ChardevBackendKind          `qapi:"type,discriminator"`
	File        *ChardevFileWrapper         `qapi:",branch=file"`
	Serial      *ChardevHostdevWrapper      `qapi:",branch=serial"`
	Parallel    *ChardevHostdevWrapper      `qapi:",branch=parallel"`
	Pipe        *ChardevHostdevWrapper      `qapi:",branch=pipe"`
	Socket      *ChardevSocketWrapper       `qapi:",branch=socket"`
	Udp         *ChardevUdpWrapper          `qapi:",branch=udp"`
	Pty         *ChardevCommonWrapper       `qapi:",branch=pty"`
	Null        *ChardevCommonWrapper       `qapi:",branch=null"`
	Mux         *ChardevMuxWrapper          `qapi:",branch=mux"`
	Msmouse     *ChardevCommonWrapper       `qapi:",branch=msmouse"`
	Wctablet    *ChardevCommonWrapper       `qapi:",branch=wctablet"`
	Braille     *ChardevCommonWrapper       `qapi:",branch=braille"`
	Testdev     *ChardevCommonWrapper       `qapi:",branch=testdev"`
	Stdio       *ChardevStdioWrapper        `qapi:",branch=stdio"`
	Console     *ChardevCommonWrapper       `qapi:",branch=console"`
	Spicevmc    *ChardevSpiceChannelWrapper `qapi:",branch=spicevmc"`
	Spiceport   *ChardevSpicePortWrapper    `qapi:",branch=spiceport"`
	QemuVdagent *ChardevQemuVDAgentWrapper  `qapi:",branch=qemu-vdagent"`
	Dbus        *ChardevDBusWrapper         `qapi:",branch=dbus"`
	Vc          *ChardevVCWrapper           `qapi:",branch=vc"`
	Ringbuf     *ChardevRingbufWrapper      `qapi:",branch=ringbuf"`
	Memory      *ChardevRingbufWrapper      `qapi:",branch=memory"`
}

// ChardevReturn is what making a back end returns.
type ChardevReturn struct {
	Pty *string `qapi:"pty"` // the path of a pseudo-terminal's other end
}

// CmdChardevAdd makes a character device.
var CmdChardevAdd = Command[ChardevAddArgs, ChardevReturn]{Name: "chardev-add", Concurrent: true}

// ChardevAddArgs is the arguments of chardev-add.
type ChardevAddArgs struct {
	Id      string         `qapi:"id"`
	Backend ChardevBackend `qapi:"backend"`
}

// CmdChardevChange gives a character device another back end; its user stays.
var CmdChardevChange = Command[ChardevChangeArgs, ChardevReturn]{Name: "chardev-change", Concurrent: true}

// ChardevChangeArgs is the arguments of chardev-change.
type ChardevChangeArgs struct {
	Id      string         `qapi:"id"`
	Backend ChardevBackend `qapi:"backend"`
}

// CmdChardevRemove removes a character device that nobody uses.
var CmdChardevRemove = Command[ChardevRemoveArgs, Empty]{Name: "chardev-remove"}

// ChardevRemoveArgs is the arguments of chardev-remove.
type ChardevRemoveArgs struct {
	Id string `qapi:"id"`
}

// CmdChardevSendBreak has a character device's user see a break on the line.
var CmdChardevSendBreak = Command[ChardevSendBreakArgs, Empty]{Name: "chardev-send-break"}

// ChardevSendBreakArgs is the arguments of chardev-send-break.
type ChardevSendBreakArgs struct {
	Id string `qapi:"id"`
}
