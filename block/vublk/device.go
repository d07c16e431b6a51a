// Package vublk is the back end of a vhost-user block device: it serves a disk to virtual
// machines of other programs, out of their memory.
//
// A Device takes one client at a time. Its session reads messages on a goroutine of its own,
// each queue has one that takes requests from the ring, and a few that carry them out.
// Shutting down ends all of them, and Wait waits for that. Rings, buffers and messages are
// checked as those of a device of ours; a queue that makes no sense stops and tells by its
// error descriptor. A client that takes memory back which it shared can only harm itself and
// this process, as with every back end of this kind: it is trusted that far.
//
// Implements the vhost-user protocol (QEMU's docs/interop/vhost-user.rst) with multiple
// queues, configuration space, acknowledgements and notices of other sizes, for virtio 1.2
// §5.2 devices with split rings. It depends on block/graph, devices/virtio/queue,
// devices/virtio/vhostwire, hypervisor/mem and qmp/sockaddr.
package vublk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"hv/block/graph"
	"hv/devices/virtio/vhostwire"
	"hv/qmp/sockaddr"
)

var le = binary.LittleEndian

// Config is what a device is.
type Config struct {
	Root         *graph.Child
	Writable     bool
	WriteThrough bool
	BlockSize    uint32 // a power of two, from 512 on
	Queues       uint16
	// Log takes what went wrong with a client.
	Log func(error)
}

// maxQueues is how many queues a device may have.
const maxQueues = 1024

// Device is a disk that is served.
type Device struct {
	cfg          Config
	listener     *net.UnixListener
	tasks        sync.WaitGroup
	writeThrough atomic.Bool

	mu      sync.Mutex
	session *session
	closed  bool
}

// CheckQueues returns an error for a number of queues that cannot be.
func CheckQueues(n uint16) error {
	switch {
	case n == 0:
		return errors.New("num-queues must be greater than 0")
	case n > maxQueues:
		return fmt.Errorf("num-queues must be at most %d", maxQueues)
	}
	return nil
}

// CheckBlockSize returns an error for a block size that cannot be.
func CheckBlockSize(n uint64) error {
	if n < 512 || n > 2<<20 || n&(n-1) != 0 {
		return fmt.Errorf("parameter logical-block-size must be a power of 2 between 512 and %d", 2<<20)
	}
	return nil
}

// Serve takes clients from a listener, which is the device's from now on.
func Serve(l *net.UnixListener, cfg Config) *Device {
	d := &Device{cfg: cfg, listener: l}
	d.tasks.Go(d.accept)
	return d
}

func (d *Device) accept() {
	for {
		c, err := d.listener.AcceptUnix()
		if err != nil {
			return
		}
		s := newSession(d, c)
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			_ = c.Close()
			return
		}
		d.session = s
		d.mu.Unlock()
		if err := s.run(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			d.cfg.Log(fmt.Errorf("vhost-user client: %w", err))
		}
		d.mu.Lock()
		d.session = nil
		d.mu.Unlock()
	}
}

// InUse reports whether there is a client that has not hung up.
func (d *Device) InUse() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session != nil && !sockaddr.HungUp(d.session.conn)
}

// ShutDown throws the client out and lets no other in.
func (d *Device) ShutDown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	_ = d.listener.Close()
	if d.session != nil {
		_ = d.session.conn.Close()
	}
}

// Wait returns once no request is under way, after ShutDown.
func (d *Device) Wait() { d.tasks.Wait() }

// Resized tells the client that the disk has another size.
func (d *Device) Resized() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session != nil {
		d.session.configChanged()
	}
}

// Features of the device (virtio 1.2 §5.2.3 and §6).
const (
	featureSegMax      = 1 << 2
	featureReadOnly    = 1 << 5
	featureBlockSize   = 1 << 6
	featureFlush       = 1 << 9
	featureWCE         = 1 << 11
	featureMQ          = 1 << 12
	featureDiscard     = 1 << 13
	featureWriteZeroes = 1 << 14
	featureIndirect    = 1 << 28
	featureEventIdx    = 1 << 29
	featureVersion1    = 1 << 32
)

// protocolFeatures are what of the protocol is there.
const protocolFeatures = vhostwire.ProtocolMQ | vhostwire.ProtocolReplyAck | vhostwire.ProtocolBackendReq | vhostwire.ProtocolConfig

func (d *Device) features() uint64 {
	f := uint64(featureSegMax | featureBlockSize | featureFlush | featureWCE | featureMQ | featureIndirect | featureEventIdx | vhostwire.FeatureProtocol | featureVersion1)
	if d.cfg.Writable {
		return f | featureDiscard | featureWriteZeroes
	}
	return f | featureReadOnly
}

// Places in the configuration space (virtio 1.2 §5.2.4).
const (
	configSize = 60
	configWCE  = 32
)

// config returns the configuration space.
func (d *Device) config() []byte {
	b := make([]byte, configSize)
	le.PutUint64(b, uint64(d.cfg.Root.Size())/sectorSize)
	le.PutUint32(b[12:], 128-2) // segments
	le.PutUint32(b[20:], d.cfg.BlockSize)
	le.PutUint16(b[26:], 1)
	le.PutUint32(b[28:], 1)
	if !d.cfg.WriteThrough && !d.writeThrough.Load() {
		b[configWCE] = 1
	}
	le.PutUint16(b[34:], d.cfg.Queues)
	if d.cfg.Writable {
		for _, at := range []int{36, 48} {
			le.PutUint32(b[at:], maxSectors)
			le.PutUint32(b[at+4:], 1)
		}
		le.PutUint32(b[44:], d.cfg.BlockSize/sectorSize)
		b[56] = 1
	}
	return b
}
