package virtionet

import (
	"encoding/binary"
	"fmt"
	"net"
)

// Config is a network device's properties.
type Config struct {
	Netdev       string           `prop:"netdev" desc:"ID of a netdev to use as a backend"`
	MAC          net.HardwareAddr `prop:"mac" desc:"Ethernet 6-byte MAC address, example: 52:54:00:12:34:56"`
	MQ           bool             `prop:"mq" default:"off" desc:"offer as many queue pairs as the netdev has"`
	CSum         bool             `prop:"csum" default:"on"`
	GuestCSum    bool             `prop:"guest_csum" default:"on"`
	GuestTSO4    bool             `prop:"guest_tso4" default:"on"`
	GuestTSO6    bool             `prop:"guest_tso6" default:"on"`
	GuestECN     bool             `prop:"guest_ecn" default:"on"`
	HostTSO4     bool             `prop:"host_tso4" default:"on"`
	HostTSO6     bool             `prop:"host_tso6" default:"on"`
	HostECN      bool             `prop:"host_ecn" default:"on"`
	MrgRxBuf     bool             `prop:"mrg_rxbuf" default:"on"`
	Status       bool             `prop:"status" default:"on"`
	CtrlVQ       bool             `prop:"ctrl_vq" default:"on"`
	CtrlRX       bool             `prop:"ctrl_rx" default:"on"`
	CtrlRXExtra  bool             `prop:"ctrl_rx_extra" default:"on"`
	CtrlVLAN     bool             `prop:"ctrl_vlan" default:"on"`
	CtrlMAC      bool             `prop:"ctrl_mac_addr" default:"on"`
	CtrlOffloads bool             `prop:"ctrl_guest_offloads" default:"on"`
	RxQueueSize  uint16           `prop:"rx_queue_size" default:"256"`
	TxQueueSize  uint16           `prop:"tx_queue_size" default:"256"`
	HostMTU      uint16           `prop:"host_mtu" default:"0" desc:"MTU that the guest is told, 0 for none"`
	Speed        int32            `prop:"speed" default:"-1" desc:"Mbit/s that the guest is told, -1 for unknown"`
	Duplex       string           `prop:"duplex" desc:"half or full"`
}

func (c *Config) check() error {
	for _, n := range []uint16{c.RxQueueSize, c.TxQueueSize} {
		if n < 256 || n > 1024 || n&(n-1) != 0 {
			return fmt.Errorf("queue size %d is no power of two from 256 to 1024", n)
		}
	}
	if c.Duplex != "" && c.Duplex != "half" && c.Duplex != "full" {
		return fmt.Errorf("duplex is half or full, not '%s'", c.Duplex)
	}
	if len(c.MAC) != 6 || c.MAC[0]&1 != 0 {
		return fmt.Errorf("'%s' is no unicast MAC address", c.MAC)
	}
	if c.HostMTU != 0 && c.HostMTU < 68 {
		return fmt.Errorf("host_mtu %d is less than 68", c.HostMTU)
	}
	return nil
}

// Features (virtio 1.2 §5.1.3).
const (
	featureCSum         = 1 << 0
	featureGuestCSum    = 1 << 1
	featureCtrlOffloads = 1 << 2
	featureMTU          = 1 << 3
	featureMAC          = 1 << 5
	featureGuestTSO4    = 1 << 7
	featureGuestTSO6    = 1 << 8
	featureGuestECN     = 1 << 9
	featureHostTSO4     = 1 << 11
	featureHostTSO6     = 1 << 12
	featureHostECN      = 1 << 13
	featureMrgRxBuf     = 1 << 15
	featureStatus       = 1 << 16
	featureCtrlVQ       = 1 << 17
	featureCtrlRX       = 1 << 18
	featureCtrlVLAN     = 1 << 19
	featureCtrlRXExtra  = 1 << 20
	featureMQ           = 1 << 22
	featureCtrlMAC      = 1 << 23
	featureSpeedDuplex  = 1 << 63

	// offloads are the features that the guest may switch at run time.
	offloads = featureGuestCSum | featureGuestTSO4 | featureGuestTSO6 | featureGuestECN
)

// Features returns what the device offers. What depends on the control queue is
// there only with that.
func (d *Device) Features() uint64 {
	c := &d.cfg
	f := uint64(featureMAC)
	for _, o := range []struct {
		on  bool
		bit uint64
	}{
		{c.CSum, featureCSum}, {c.GuestCSum, featureGuestCSum},
		{c.GuestCSum && c.GuestTSO4, featureGuestTSO4}, {c.GuestCSum && c.GuestTSO6, featureGuestTSO6}, {c.GuestCSum && c.GuestECN, featureGuestECN},
		{c.CSum && c.HostTSO4, featureHostTSO4}, {c.CSum && c.HostTSO6, featureHostTSO6}, {c.CSum && c.HostECN, featureHostECN},
		{c.MrgRxBuf, featureMrgRxBuf}, {c.Status, featureStatus}, {c.HostMTU != 0, featureMTU},
		{c.Speed >= 0 || c.Duplex != "", featureSpeedDuplex},
		{c.CtrlVQ, featureCtrlVQ}, {c.CtrlVQ && c.CtrlRX, featureCtrlRX}, {c.CtrlVQ && c.CtrlRXExtra, featureCtrlRXExtra},
		{c.CtrlVQ && c.CtrlVLAN, featureCtrlVLAN}, {c.CtrlVQ && c.CtrlMAC, featureCtrlMAC}, {c.CtrlVQ && c.CtrlOffloads, featureCtrlOffloads},
		{c.CtrlVQ && d.pairs > 1, featureMQ},
	} {
		if o.on {
			f |= o.bit
		}
	}
	return f
}

const confSize = 20

// ReadConfig reads the configuration space (§5.1.4).
func (d *Device) ReadConfig(off uint64, data []byte) {
	var b [confSize]byte
	le := binary.LittleEndian
	mac := d.filter.Load().MAC
	copy(b[:], mac[:])
	if d.linkUp.Load() {
		b[6] = 1
	}
	le.PutUint16(b[8:], uint16(d.pairs))
	le.PutUint16(b[10:], d.cfg.HostMTU)
	le.PutUint32(b[12:], uint32(d.cfg.Speed))
	b[16] = map[string]byte{"": 0xff, "half": 0, "full": 1}[d.cfg.Duplex]
	clear(data)
	if off < confSize {
		copy(data, b[off:])
	}
}

// WriteConfig does nothing: modern drivers set the MAC address by the control
// queue.
func (d *Device) WriteConfig(uint64, []byte) {}
