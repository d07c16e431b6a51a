//qapi:schema

package qapi

// InetSocketAddress is where a TCP or UDP socket is bound or connects to.
type InetSocketAddress struct {
	Host      string  `qapi:"host"`
	Port      string  `qapi:"port"`
	Numeric   *bool   `qapi:"numeric"`    // host and port are numbers, not names
	To        *uint16 `qapi:"to"`         // the last port that a server may try
	Ipv4      *bool   `qapi:"ipv4"`       // whether to use IPv4
	Ipv6      *bool   `qapi:"ipv6"`       // whether to use IPv6
	KeepAlive *bool   `qapi:"keep-alive"` // probe connections that are idle
	Mptcp     *bool   `qapi:"mptcp"`      // several paths at once
}

// UnixSocketAddress is where a UNIX socket is.
type UnixSocketAddress struct {
	Path     string `qapi:"path"`
	Abstract *bool  `qapi:"abstract"` // no file, but a name of the kernel's
	Tight    *bool  `qapi:"tight"`    // an abstract name ends where path does, not with zeros
}

// VsockSocketAddress is where a VM socket is.
type VsockSocketAddress struct {
	Cid  string `qapi:"cid"`
	Port string `qapi:"port"`
}

// SocketFd names a socket that is open already.
type SocketFd struct {
	Str string `qapi:"str"` // a descriptor's name or number
}

// InetSocketAddressWrapper wraps an address for SocketAddressLegacy.
type InetSocketAddressWrapper struct {
	Data InetSocketAddress `qapi:"data"`
}

// UnixSocketAddressWrapper wraps an address for SocketAddressLegacy.
type UnixSocketAddressWrapper struct {
	Data UnixSocketAddress `qapi:"data"`
}

// VsockSocketAddressWrapper wraps an address for SocketAddressLegacy.
type VsockSocketAddressWrapper struct {
	Data VsockSocketAddress `qapi:"data"`
}

// SocketFdWrapper wraps a descriptor for SocketAddressLegacy.
type SocketFdWrapper struct {
	Data SocketFd `qapi:"data"`
}

// SocketAddressType is the kind of a socket's address.
type SocketAddressType string

// The kinds of addresses.
const (
	SocketAddressTypeInet  SocketAddressType = "inet"
	SocketAddressTypeUnix  SocketAddressType = "unix"
	SocketAddressTypeVsock SocketAddressType = "vsock"
	SocketAddressTypeFd    SocketAddressType = "fd" // none, but an open socket
)

// SocketAddressLegacy is a socket's address in the form of chardev-add.
type SocketAddressLegacy struct {
	Type  SocketAddressType          `qapi:"type,discriminator"`
	Inet  *InetSocketAddressWrapper  `qapi:",branch=inet"`
	Unix  *UnixSocketAddressWrapper  `qapi:",branch=unix"`
	Vsock *VsockSocketAddressWrapper `qapi:",branch=vsock"`
	Fd    *SocketFdWrapper           `qapi:",branch=fd"`
}
