package vm

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"hv/devices/qdev"
	"hv/devices/virtio"
	"hv/devices/virtio/virtionet"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// nic is a network device. It belongs to the control goroutine but for what is said.
type nic struct {
	v      *VM
	in     *qdev.Instance
	dev    *virtionet.Device
	name   string // of QMP: its id, or one that is made up
	mac    net.HardwareAddr
	netdev string   // id of the back end that it wants, "" for none
	back   *netback // nil while there is none
	ended  bool     // it is gone and still there to be removed
	// path is that of its object, once it is in the tree. Any goroutine may ask.
	path func() string
	// attached counts links. Workers read it, too.
	attached atomic.Uint64
}

func makeNet(v *VM, in *qdev.Instance, c *netConfig) (virtio.Device, error) {
	b, err := v.net.free(c.Netdev)
	if err != nil {
		return nil, err
	}
	if c.MAC == nil {
		c.MAC = v.net.macs.next(in)
	}
	n := &nic{v: v, in: in, name: v.net.nicName(in), mac: c.MAC, netdev: c.Netdev}
	n.path = sync.OnceValue(func() string { return in.Path() + "/virtio-backend" })
	var link virtionet.Link
	if b != nil {
		if err := errors.Join(v.shareable(b), b.follow(c.MAC)); err != nil {
			return nil, err
		}
		link = b.Backend
	}
	if n.dev, err = virtionet.New(c.Config, link, n); err != nil {
		return nil, err
	}
	v.net.nics = append(v.net.nics, n)
	in.Later(n.leave)
	if b != nil {
		n.joined(b)
	}
	return n.dev, nil
}

// free returns the back end that a NIC wants, which nobody else may have; nil if it wants
// none.
func (n *network) free(id string) (*netback, error) {
	if id == "" {
		return nil, nil
	}
	b := n.back(id)
	switch {
	case b == nil:
		return nil, fmt.Errorf("Property 'virtio-net-device.netdev' can't find value '%s'", id)
	case b.nic != nil:
		return nil, fmt.Errorf("Property 'virtio-net-device.netdev' can't take value '%s', it's in use", id)
	}
	return b, nil
}

// nicName returns the name of a new NIC: its id, or its model and a number.
func (n *network) nicName(in *qdev.Instance) string {
	if in.ID != "" {
		return in.ID
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s.%d", in.Driver.Name, i)
		if n.nic(name) == nil {
			return name
		}
	}
}

// nic returns the NIC with a name, nil for none.
func (n *network) nic(name string) *nic {
	i := slices.IndexFunc(n.nics, func(x *nic) bool { return x.name == name })
	if i < 0 {
		return nil
	}
	return n.nics[i]
}

// follower is a link that has its NIC's address.
type follower interface {
	SetMAC(mac net.HardwareAddr) error
}

func (b *netback) follow(mac net.HardwareAddr) error {
	if f, ok := b.Backend.(follower); ok {
		return f.SetMAC(mac)
	}
	return nil
}

// attach gives the NIC a back end in place of one that it has lost.
func (n *nic) attach(b *netback) error {
	if err := errors.Join(n.v.shareable(b), b.follow(n.mac)); err != nil {
		return err
	}
	n.attached.Add(1)
	if err := n.dev.Attach(b.Backend); err != nil {
		return err
	}
	n.joined(b)
	return nil
}

// joined notes the back end that the device has.
func (n *nic) joined(b *netback) {
	n.back, b.nic, n.ended = b, n, false
	n.dev.Observe(b.dumps.observer())
	if b.down {
		n.dev.SetLink(false)
	}
}

// detach takes the back end away.
func (n *nic) detach() error {
	n.back.nic = nil
	n.back = nil
	n.dev.Observe(nil)
	return n.dev.Detach()
}

// leave forgets the NIC, whose device is closed.
func (n *nic) leave() error {
	if n.back != nil {
		n.back.nic = nil
	}
	n.v.net.nics = without(n.v.net.nics, n)
	n.v.events.Forget(filterKey(n.path()))
	return nil
}

// LinkLost implements virtionet.Host.
func (n *nic) LinkLost(err error) {
	which := n.attached.Load()
	n.v.control.Post(func() {
		if slices.Contains(n.v.net.nics, n) && n.back != nil && n.attached.Load() == which {
			n.lost(err)
		}
	})
}

// lost lets the guest see its link go down, until there is another back end.
func (n *nic) lost(err error) {
	if n.ended {
		return
	}
	n.ended = true
	n.v.opt.Log.WithError(err).WithField("device", n.name).WithField("netdev", n.netdev).
		Error("the host's network link is gone: netdev_del and netdev_add bring it back")
	if err := n.dev.Detach(); err != nil {
		n.v.failed("end of a network link", err)
	}
}

// FilterChanged implements virtionet.Host.
func (n *nic) FilterChanged() {
	e := qapi.NicRxFilterChangedEvent{Path: n.path()}
	if n.in.ID != "" {
		e.Name = &n.in.ID
	}
	events.Emit(n.v.events, qapi.EventNicRxFilterChanged, e)
}

// filterKey is what clients are told of once.
func filterKey(path string) events.Key {
	return events.Key{Event: qapi.EventNicRxFilterChanged.Name, Source: path}
}

// SetLink connects or disconnects the cable of the network device with a name, or with the
// back end that has the name. Control goroutine only.
func (v *VM) SetLink(name string, up bool) error {
	n, b := v.net.nic(name), v.net.back(name)
	if n == nil && b == nil {
		return qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", name)
	}
	if b != nil {
		b.down = !up
		if n == nil {
			n = b.nic
		}
	}
	if n != nil {
		n.dev.SetLink(up)
	}
	return nil
}

// chosen returns the NIC with a name, or all of them.
func (n *network) chosen(name *string) ([]*nic, error) {
	if name == nil {
		return n.nics, nil
	}
	x := n.nic(*name)
	switch {
	case n.back(*name) != nil:
		return nil, fmt.Errorf("net client(%s) isn't a NIC", *name)
	case x == nil:
		return nil, fmt.Errorf("invalid net client name: %s", *name)
	}
	return []*nic{x}, nil
}

// Filters implements netqmp.NICs. Control goroutine only.
func (v *VM) Filters(name *string, arm func(path string)) (qapi.RxFilterInfoList, error) {
	nics, err := v.net.chosen(name)
	if err != nil {
		return nil, err
	}
	list := qapi.RxFilterInfoList{}
	for _, n := range nics {
		arm(n.path())
		list = append(list, filterInfo(n.name, n.dev.Filter()))
	}
	return list, nil
}

// filterInfo describes a NIC's filter.
func filterInfo(name string, f virtionet.Filter) qapi.RxFilterInfo {
	macs := func(list []virtionet.MAC) qapi.StringList {
		out := qapi.StringList{}
		for _, m := range list {
			out = append(out, net.HardwareAddr(m[:]).String())
		}
		return out
	}
	info := qapi.RxFilterInfo{
		Name: name, Promiscuous: f.Promiscuous, BroadcastAllowed: f.BroadcastAllowed, MainMac: net.HardwareAddr(f.MAC[:]).String(),
		Unicast: qapi.RxState(f.Unicast), Multicast: qapi.RxState(f.Multicast), Vlan: qapi.RxState(f.VLAN),
		UnicastOverflow: f.UnicastOverflow, MulticastOverflow: f.MulticastOverflow,
		UnicastTable: macs(f.UnicastTable), MulticastTable: macs(f.MulticastTable), VlanTable: qapi.VlanTable{},
	}
	for _, id := range f.VLANTable {
		info.VlanTable = append(info.VlanTable, int64(id))
	}
	return info
}
