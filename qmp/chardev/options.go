package chardev

import (
	"errors"
	"fmt"
	"os"
	"time"

	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
	"hv/qmp/strerror"
)

// Host is what backends need of the VM. Each member may be nil.
type Host struct {
	// Open opens files; os.OpenFile by default.
	Open func(path string, flags int, perm os.FileMode) (*os.File, error)
	// Descriptor returns the socket that fd= names. It is the backend's then.
	Descriptor func(name string) (int, error)
	// Terminate ends the VM, for a Mux's user.
	Terminate func()
	// Notify tells the user something.
	Notify func(format string, args ...any)
}

// Options describes a backend.
type Options struct {
	Kind string // as in qapi.ChardevBackendKind
	Host Host
	// Mux shares the backend between several users.
	Mux  bool
	Base string // mux: the id of what is shared

	Path    string // pty: a link to make; file, pipe, serial: where
	Input   string // file: what to read
	Append  bool
	Signal  bool // stdio: Ctrl-C and the like raise signals
	Size    int64
	Socket  *qapi.SocketAddress
	Local   *qapi.SocketAddress // udp; nil for any
	Server  bool
	Wait    bool // a server waits for its first client
	Telnet  bool
	NoDelay bool
	// Reconnect is after what time a client tries again; 0 for never.
	Reconnect time.Duration
	LogFile   string
	LogAppend bool
}

// Backends lists the kinds of backends that there are.
func Backends() []qapi.ChardevBackendKind {
	return []qapi.ChardevBackendKind{
		qapi.ChardevBackendKindFile, qapi.ChardevBackendKindMemory, qapi.ChardevBackendKindMux, qapi.ChardevBackendKindNull,
		qapi.ChardevBackendKindPipe, qapi.ChardevBackendKindPty, qapi.ChardevBackendKindRingbuf, qapi.ChardevBackendKindSerial,
		qapi.ChardevBackendKindSocket, qapi.ChardevBackendKindStdio, qapi.ChardevBackendKindUdp, qapi.ChardevBackendKindVc,
	}
}

// defaultRingbuf is a ring buffer's size.
const defaultRingbuf = 65536

// FromQAPI returns the options that a wire type says.
func FromQAPI(b *qapi.ChardevBackend, h Host) (Options, error) {
	o := Options{Kind: string(b.Type), Host: h}
	var err error
	switch {
	case b.File != nil:
		d := &b.File.Data
		if d.In != nil {
			o.Input = *d.In
		}
		o.Path, o.Append = d.Out, is(d.Append)
		o.log(d.Logfile, d.Logappend)
	case b.Pipe != nil:
		o.Path = b.Pipe.Data.Device
		o.log(b.Pipe.Data.Logfile, b.Pipe.Data.Logappend)
	case b.Serial != nil:
		o.Path = b.Serial.Data.Device
		o.log(b.Serial.Data.Logfile, b.Serial.Data.Logappend)
	case b.Socket != nil:
		err = o.socket(&b.Socket.Data)
	case b.Udp != nil:
		o.udp(&b.Udp.Data)
	case b.Stdio != nil:
		d := &b.Stdio.Data
		o.Signal = d.Signal == nil || *d.Signal
		o.log(d.Logfile, d.Logappend)
	case b.Mux != nil:
		o.Base = b.Mux.Data.Chardev
		o.log(b.Mux.Data.Logfile, b.Mux.Data.Logappend)
	case b.Vc != nil:
		o.log(b.Vc.Data.Logfile, b.Vc.Data.Logappend)
	case b.Pty != nil:
		o.log(b.Pty.Data.Logfile, b.Pty.Data.Logappend)
	case b.Null != nil:
		o.log(b.Null.Data.Logfile, b.Null.Data.Logappend)
	case b.Ringbuf != nil:
		o.ringbuf(&b.Ringbuf.Data)
	case b.Memory != nil:
		o.ringbuf(&b.Memory.Data)
	default:
		err = fmt.Errorf("'%s' is not a valid char driver name", b.Type)
	}
	return o, err
}

func is(b *bool) bool { return b != nil && *b }

func (o *Options) log(file *string, add *bool) {
	if file != nil {
		o.LogFile, o.LogAppend = *file, is(add)
	}
}

func (o *Options) ringbuf(d *qapi.ChardevRingbuf) {
	o.Size = defaultRingbuf
	if d.Size != nil {
		o.Size = *d.Size
	}
	o.log(d.Logfile, d.Logappend)
}

// socket reads a socket's options, of which some exclude each other.
func (o *Options) socket(d *qapi.ChardevSocket) error {
	o.log(d.Logfile, d.Logappend)
	o.Server = d.Server == nil || *d.Server
	o.Wait, o.Telnet, o.NoDelay = is(d.Wait), is(d.Telnet), d.Nodelay == nil || *d.Nodelay
	switch {
	case d.TlsCreds != nil:
		return fmt.Errorf("No TLS credentials with id '%s'", *d.TlsCreds)
	case d.TlsAuthz != nil:
		return errors.New("'tls_authz' option requires 'tls_creds' option")
	case is(d.Websocket), is(d.Tn3270):
		return errors.New("chardev: socket: 'websocket' and 'tn3270' are not available")
	case d.Reconnect != nil && o.Server:
		return errors.New("'reconnect' option is incompatible with socket in server listen mode")
	case d.Reconnect != nil && d.Addr.Fd != nil:
		return errors.New("'reconnect' option is incompatible with 'fd' address type")
	case d.Reconnect != nil && (*d.Reconnect < 0 || *d.Reconnect > 1<<31):
		return errors.New("Parameter 'reconnect' expects a number of seconds")
	case d.Wait != nil && !o.Server:
		return errors.New("'wait' option is incompatible with socket in client connect mode")
	}
	if d.Reconnect != nil {
		o.Reconnect = time.Duration(*d.Reconnect) * time.Second
	}
	o.Socket = sockaddr.Flat(&d.Addr)
	return nil
}

func (o *Options) udp(d *qapi.ChardevUdp) {
	o.log(d.Logfile, d.Logappend)
	o.Socket = sockaddr.Flat(&d.Remote)
	if d.Local != nil {
		o.Local = sockaddr.Flat(d.Local)
	}
}

// openFile opens a file as the VM wants that to be done.
func (h Host) openFile(path string, flags int) (*os.File, error) {
	open := h.Open
	if open == nil {
		open = os.OpenFile
	}
	f, err := open(path, flags, 0o666)
	if err != nil {
		return nil, fmt.Errorf("Could not open '%s': %w", path, strerror.Reason(err))
	}
	return f, nil
}

func (h Host) descriptor(name string) (int, error) {
	if h.Descriptor == nil {
		return -1, errors.New("socket: there are no descriptors to be had")
	}
	return h.Descriptor(name)
}

func (h Host) notify(format string, args ...any) {
	if h.Notify != nil {
		h.Notify(format, args...)
	}
}
