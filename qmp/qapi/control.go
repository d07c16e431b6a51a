//qapi:schema

package qapi

// CmdQmpCapabilities ends capability negotiation: it must come first on a
// connection, and no second time.
var CmdQmpCapabilities = Command[QmpCapabilitiesArgs, Empty]{Name: "qmp_capabilities", Preconfig: true, Concurrent: true}

// QmpCapabilitiesArgs is the arguments of qmp_capabilities.
type QmpCapabilitiesArgs struct {
	Enable QMPCapabilityList `qapi:"enable,optional"` // what to enable of that which the greeting offered
}

// QMPCapability is a protocol extension that a client may enable.
type QMPCapability string

// The capabilities.
const (
	QMPCapabilityOob QMPCapability = "oob" // commands executed out of band
)

// QMPCapabilityList is a list of capabilities.
type QMPCapabilityList []QMPCapability

// VersionTriple is a version number of three parts.
type VersionTriple struct {
	Major int64 `qapi:"major"`
	Minor int64 `qapi:"minor"`
	Micro int64 `qapi:"micro"`
}

// VersionInfo says which QEMU we are compatible with, and who we are.
type VersionInfo struct {
	Qemu    VersionTriple `qapi:"qemu"`
	Package string        `qapi:"package"` // our own name and version
}

// Greeting is what a server says first.
type Greeting struct {
	QMP GreetingInfo `qapi:"QMP"`
}

// GreetingInfo is the version and the capabilities that can be enabled.
type GreetingInfo struct {
	Version      VersionInfo       `qapi:"version"`
	Capabilities QMPCapabilityList `qapi:"capabilities"`
}

// CmdQueryVersion returns the version.
var CmdQueryVersion = Command[Empty, VersionInfo]{Name: "query-version", Preconfig: true, Concurrent: true}

// CommandInfo names a command.
type CommandInfo struct {
	Name string `qapi:"name"`
}

// CommandInfoList is a list of commands.
type CommandInfoList []CommandInfo

// CmdQueryCommands lists the commands that there are.
var CmdQueryCommands = Command[Empty, CommandInfoList]{Name: "query-commands", Preconfig: true, Concurrent: true}

// CmdQuit ends the process gracefully. The reply is sent before.
var CmdQuit = Command[Empty, Empty]{Name: "quit", Preconfig: true}
