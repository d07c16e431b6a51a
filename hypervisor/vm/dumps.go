package vm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"hv/devices/qdev"
	"hv/devices/qom"
	"hv/devices/virtio/virtionet"
	"hv/hypervisor/config"
	"hv/net/pcap"
	"hv/qmp/qapi"
)

// netHeader is the virtio-net header in front of packets.
const netHeader = 12

// packetDump is a filter-dump: a file of a back end's packets.
type packetDump struct {
	id   string
	cfg  *config.FilterDump
	w    *pcap.Writer
	on   atomic.Bool
	lost func(n uint64)
}

// Packet implements virtionet.Observer. A back end receives what comes from the guest.
func (d *packetDump) Packet(dir virtionet.Direction, _ int, pieces [][]byte, n int) {
	if !d.on.Load() || d.cfg.Queue == "rx" && dir == virtionet.ToGuest || d.cfg.Queue == "tx" && dir == virtionet.FromGuest {
		return
	}
	d.w.Packet(time.Now(), pieces, netHeader, n)
}

func (d *packetDump) close() error {
	err := d.w.Close()
	if n := d.w.Lost(); n > 0 {
		d.lost(n)
	}
	return err
}

// setStatus switches the dump on or off.
func (d *packetDump) setStatus(status string) error {
	cfg := *d.cfg
	cfg.Status = status
	if err := cfg.Check(); err != nil {
		return err
	}
	d.cfg.Status = status
	d.on.Store(status == "on")
	return nil
}

// props are the object's properties, of which the status can be set.
func (d *packetDump) props() []qom.Property {
	props := objectTexts(qdev.Objects(d.cfg))
	for i := range props {
		if props[i].Name == "status" {
			props[i].Set = func(v qapi.Value) error { return d.setStatus(string(v.Text())) }
		}
	}
	return props
}

// packetDumps are those of a back end.
type packetDumps []*packetDump

// Packet implements virtionet.Observer.
func (all packetDumps) Packet(dir virtionet.Direction, queue int, pieces [][]byte, n int) {
	for _, d := range all {
		d.Packet(dir, queue, pieces, n)
	}
}

// observer returns what a device shows packets to; nil is nobody.
func (all packetDumps) observer() virtionet.Observer {
	if len(all) == 0 {
		return nil
	}
	return slices.Clone(all)
}

// show has the back end's NIC show its packets to the dumps that there are.
func (b *netback) show() {
	if b.nic != nil {
		b.nic.dev.Observe(b.dumps.observer())
	}
}

// addDump makes a filter-dump.
func (v *VM) addDump(o config.Object) error {
	b := v.net.back(o.Dump.Netdev)
	if b == nil {
		return errors.New("Parameter 'netdev' expects a network backend id")
	}
	if _, ok := b.Backend.(virtionet.Engine); ok {
		return errors.New("Vhost is not supported")
	}
	f, err := v.fds.Open(o.Dump.File, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("net dump: can't open %s: %w", o.Dump.File, err)
	}
	d := &packetDump{id: o.ID, cfg: o.Dump}
	log := v.opt.Log.WithField("object", o.ID)
	d.lost = func(n uint64) { log.Warnf("%d packets are not in %s, which was too slow", n, o.Dump.File) }
	if d.w, err = pcap.New(f, o.Dump.MaxLen, func(err error) { log.WithError(err).Error("network dump write error - stopping dump") }); err != nil {
		return fmt.Errorf("net dump write error: %w", err)
	}
	d.on.Store(o.Dump.Status == "on")
	if err := v.objects.add(o); err != nil {
		return errors.Join(err, d.close())
	}
	v.objects.find(o.ID).dump = d
	b.dumps = append(b.dumps, d)
	b.show()
	return nil
}

// detachDump shows a dump nothing more.
func (v *VM) detachDump(d *packetDump) {
	if b := v.net.back(d.cfg.Netdev); b != nil {
		b.dumps = slices.DeleteFunc(slices.Clone(b.dumps), func(x *packetDump) bool { return x == d })
		b.show()
	}
}
