package virtionet

import (
	"bytes"
	"encoding/binary"
	"net"
	"reflect"
	"sync/atomic"
	"testing"

	"hv/devices/virtio/queue"
)

var own = MAC{0x52, 0x54, 0, 1, 2, 3}

// link is a Link that remembers what it was told.
type link struct {
	offloads [4]bool
	enabled  map[int]bool
}

func (l *link) Queues() int     { return 4 }
func (l *link) QueueFD(int) int { return -1 }
func (l *link) SetOffload(csum, tso4, tso6, ecn, _ bool) error {
	l.offloads = [4]bool{csum, tso4, tso6, ecn}
	return nil
}
func (l *link) EnableQueue(i int, on bool) error {
	if l.enabled == nil {
		l.enabled = map[int]bool{}
	}
	l.enabled[i] = on
	return nil
}

// host counts what it is told.
type host struct {
	changes atomic.Int32
	lost    chan error // nil drops what it is told
}

func (h *host) FilterChanged() { h.changes.Add(1) }

func (h *host) LinkLost(err error) {
	if h.lost != nil {
		h.lost <- err
	}
}

func device(t testing.TB) (*Device, *link) {
	t.Helper()
	l := &link{}
	d, err := New(Config{
		MAC: net.HardwareAddr(own[:]), MQ: true, CSum: true, GuestCSum: true, GuestTSO4: true, CtrlVQ: true, CtrlRX: true, CtrlVLAN: true, CtrlMAC: true,
		CtrlOffloads: true, MrgRxBuf: true, Status: true, RxQueueSize: 256, TxQueueSize: 256, Speed: -1,
	}, l, &host{})
	if err != nil {
		t.Fatal(err)
	}
	d.features = d.Features()
	d.filter.Store(newFilter(own).started(true))
	return d, l
}

// command carries out a command without a ring.
func command(d *Device, class, cmd byte, data ...byte) byte {
	if d.run(class, cmd, data) {
		return ackOK
	}
	return ackErr
}

func frame(dst MAC, vlan int) []byte {
	f := append(dst[:], own[:]...)
	if vlan >= 0 {
		f = binary.BigEndian.AppendUint16(f, typeVLAN)
		f = binary.BigEndian.AppendUint16(f, uint16(vlan))
	}
	return append(f, 0x08, 0, 1, 2, 3, 4)
}

func macTable(list ...MAC) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(list)))
	for _, m := range list {
		b = append(b, m[:]...)
	}
	return b
}

func TestFilter(t *testing.T) {
	d, _ := device(t)
	group, other := MAC{0x33, 0x33, 0, 0, 0, 1}, MAC{0x52, 0x54, 0, 9, 9, 9}
	pass := func(what string, dst MAC, vlan int, want bool) {
		t.Helper()
		if got := d.filter.Load().pass(frame(dst, vlan)); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	pass("everything after a reset", other, 5, true)
	command(d, classRX, rxPromisc, 0)
	pass("own address", own, -1, true)
	pass("foreign address", other, -1, false)
	pass("broadcast", broadcast, -1, true)
	pass("group that was not joined", group, -1, false)
	pass("VLAN that was not added", own, 5, false)
	command(d, classVLAN, vlanAdd, 5, 0)
	pass("VLAN that was added", own, 5, true)
	command(d, classVLAN, vlanDel, 5, 0)
	pass("VLAN that was removed", own, 5, false)
	command(d, classMAC, macTableSet, append(macTable(other), macTable(group)...)...)
	pass("address in the table", other, -1, true)
	pass("group in the table", group, -1, true)
	command(d, classRX, rxNoUni, 1)
	command(d, classRX, rxNoMulti, 1)
	command(d, classRX, rxNoBcast, 1)
	pass("no unicast", own, -1, false)
	pass("no multicast", group, -1, false)
	pass("no broadcast", broadcast, -1, false)
	for _, mode := range []byte{rxNoUni, rxNoMulti, rxNoBcast} {
		command(d, classRX, mode, 0)
	}
	command(d, classMAC, macTableSet, append(macTable(), macTable()...)...)
	command(d, classRX, rxAllMulti, 1)
	command(d, classRX, rxAllUni, 1)
	pass("all groups", group, -1, true)
	pass("all addresses", other, -1, true)
	if d.filter.Load().pass([]byte{1, 2, 3}) {
		t.Error("a frame without a header passed")
	}
}

func TestTableOverflow(t *testing.T) {
	d, _ := device(t)
	many := make([]MAC, maxTable+1)
	for i := range many {
		many[i] = MAC{2, 0, 0, 0, 0, byte(i)}
	}
	if a := command(d, classMAC, macTableSet, append(macTable(many...), macTable(many[:maxTable]...)...)...); a != ackOK {
		t.Fatal("refused")
	}
	f := d.Filter()
	if !f.UnicastOverflow || len(f.UnicastTable) != 0 || f.MulticastOverflow || len(f.MulticastTable) != maxTable {
		t.Errorf("%d and %d addresses, overflow %v and %v", len(f.UnicastTable), len(f.MulticastTable), f.UnicastOverflow, f.MulticastOverflow)
	}
	command(d, classMAC, macTableSet, append(macTable(many[:10]...), macTable(many[:maxTable-9]...)...)...)
	if f = d.Filter(); f.UnicastOverflow || len(f.UnicastTable) != 10 || !f.MulticastOverflow || f.UnicastTable[0] != many[9] {
		t.Errorf("the tables are not shared: %d and %d addresses", len(f.UnicastTable), len(f.MulticastTable))
	}
}

func TestAddressAndPairs(t *testing.T) {
	d, l := device(t)
	next := MAC{0x52, 0x54, 0, 7, 7, 7}
	command(d, classMAC, macAddrSet, next[:]...)
	b := make([]byte, confSize)
	if d.ReadConfig(0, b); !bytes.Equal(b[:6], next[:]) || b[6] != 1 || b[8] != 4 {
		t.Errorf("configuration % x", b)
	}
	if command(d, classMQ, mqPairsSet, 3, 0) != ackOK || !l.enabled[2] || l.enabled[3] {
		t.Errorf("queues %v", l.enabled)
	}
	if command(d, classOffloads, offloadsSet, 0x82, 0, 0, 0, 0, 0, 0, 0) != ackOK || l.offloads != [4]bool{true, true, false, false} {
		t.Errorf("offloads %v", l.offloads)
	}
	d.Reset()
	if m := d.filter.Load(); m.mac != own || !m.promisc {
		t.Error("a reset does not bring the address back")
	}
}

func TestBadCommands(t *testing.T) {
	d, _ := device(t)
	before := d.Filter()
	for name, c := range map[string][]byte{
		"class":        {9, 0, 0},
		"mode":         {classRX, 6, 1},
		"mode size":    {classRX, 0},
		"mac size":     {classMAC, macAddrSet, 1, 2, 3},
		"mac command":  {classMAC, 7},
		"table cut":    {classMAC, macTableSet, 2, 0, 0, 0, 1},
		"one table":    append([]byte{classMAC, macTableSet}, macTable(own)...),
		"table huge":   {classMAC, macTableSet, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"vlan":         {classVLAN, vlanAdd, 0, 0x10},
		"vlan command": {classVLAN, 2, 1, 0},
		"no pairs":     {classMQ, mqPairsSet, 0, 0},
		"many pairs":   {classMQ, mqPairsSet, 5, 0},
		"offloads":     {classOffloads, offloadsSet, 0xff, 0xff, 0, 0, 0, 0, 0, 0},
		"off. size":    {classOffloads, offloadsSet, 1},
	} {
		if command(d, c[0], c[1], c[2:]...) != ackErr {
			t.Errorf("%s: accepted", name)
		}
	}
	after := d.Filter()
	if !reflect.DeepEqual(after, before) {
		t.Error("a refused command changed something")
	}
	if d.command(&queue.Chain{}) != ackErr {
		t.Error("a command without a class was accepted")
	}
}

func TestConfigRefuses(t *testing.T) {
	good := Config{MAC: net.HardwareAddr(own[:]), RxQueueSize: 256, TxQueueSize: 256}
	for name, change := range map[string]func(c *Config){
		"queue size": func(c *Config) { c.RxQueueSize = 300 },
		"duplex":     func(c *Config) { c.Duplex = "both" },
		"group MAC":  func(c *Config) { c.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 0} },
		"no MAC":     func(c *Config) { c.MAC = nil },
		"MTU":        func(c *Config) { c.HostMTU = 60 },
	} {
		c := good
		change(&c)
		if _, err := New(c, &link{}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFeaturesDependOnEachOther(t *testing.T) {
	d, err := New(Config{MAC: net.HardwareAddr(own[:]), RxQueueSize: 256, TxQueueSize: 256, Speed: -1, CtrlRX: true, CtrlVLAN: true, GuestTSO4: true, HostTSO4: true, MQ: true}, &link{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := d.Features(); f != featureMAC {
		t.Errorf("without checksums and control queue: %#x", f)
	}
	if n := len(d.QueueSizes()); n != 8 {
		t.Errorf("%d queues for four pairs", n)
	}
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte{classMAC, macTableSet, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0})
	f.Add([]byte{classVLAN, vlanAdd, 5, 0})
	f.Add([]byte{classMQ, mqPairsSet, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _ := device(t)
		if len(b) < 2 {
			return
		}
		d.run(b[0], b[1], b[2:])
		d.Filter()
		d.filter.Load().pass(b)
	})
}
