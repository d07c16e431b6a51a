package virtionet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// Config is a network device's properties.
type Config struct {
	Netdev       string           `prop:"netdev" desc:"ID of a netdev to use as a backend"`
	MAC          net.HardwareAddr `prop:"mac" desc:"Ethernet 6-byte MAC address, example: 52:54:00:12:34:56"`
	MQ           bool             `prop:"mq" default:"off" desc:"offer as many queue pairs as the netdev has"`
	RSS          bool             `prop:"rss" default:"off" desc:"the guest says which packets go to which queue"`
	Hash         bool             `prop:"hash" default:"off" desc:"the guest is told the hash of what it receives"`
	CSum         bool             `prop:"csum" default:"on"`
	GuestCSum    bool             `prop:"guest_csum" default:"on"`
	GuestTSO4    bool             `prop:"guest_tso4" default:"on"`
	GuestTSO6    bool             `prop:"guest_tso6" default:"on"`
	GuestECN     bool             `prop:"guest_ecn" default:"on"`
	GuestUFO     bool             `prop:"guest_ufo" default:"on"`
	GuestUSO4    bool             `prop:"guest_uso4" default:"on" desc:"UDP segmentation of what the guest receives, where the host can"`
	GuestUSO6    bool             `prop:"guest_uso6" default:"on"`
	Announce     bool             `prop:"guest_announce" default:"on"`
	HostTSO4     bool             `prop:"host_tso4" default:"on"`
	HostTSO6     bool             `prop:"host_tso6" default:"on"`
	HostECN      bool             `prop:"host_ecn" default:"on"`
	HostUFO      bool             `prop:"host_ufo" default:"on"`
	HostUSO      bool             `prop:"host_uso" default:"on" desc:"UDP segmentation of what the guest sends, where the host can"`
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
	TX           string           `prop:"tx" desc:"bh sends at once, timer waits for more packets first"`
	TXTimer      uint32           `prop:"x-txtimer" default:"150000" desc:"nanoseconds that tx=timer waits"`
	TXBurst      int32            `prop:"x-txburst" default:"256" desc:"most packets that are sent before others are received; never more than 64"`
	GSO          bool             `prop:"gso" default:"on" desc:"accepted; only legacy drivers know it"`
	RxBits       uint64           `prop:"x-rate-rx-bits" default:"0" desc:"most bits a second that the guest receives, 0 for no limit"`
	RxPackets    uint64           `prop:"x-rate-rx-packets" default:"0" desc:"most packets a second that the guest receives, 0 for no limit"`
	RxBurst      uint32           `prop:"x-rate-rx-burst" default:"10" desc:"milliseconds for which unused allowance is kept"`
	TxBits       uint64           `prop:"x-rate-tx-bits" default:"0" desc:"most bits a second that the guest sends, 0 for no limit"`
	TxPackets    uint64           `prop:"x-rate-tx-packets" default:"0" desc:"most packets a second that the guest sends, 0 for no limit"`
	TxBurst      uint32           `prop:"x-rate-tx-burst" default:"10" desc:"milliseconds for which unused allowance is kept"`
	PollUS       uint32           `prop:"x-poll-us" default:"128" desc:"longest time, in microseconds, that a worker looks for packets before it sleeps, where they come one by one and soon"`
	Speed        int32            `prop:"speed" default:"-1" desc:"Mbit/s that the guest is told, -1 for unknown"`
	Duplex       string           `prop:"duplex" desc:"half or full"`
}

func (c *Config) check() error {
	for _, q := range []struct {
		name string
		size uint16
		end  string
	}{{"rx_queue_size", c.RxQueueSize, "."}, {"tx_queue_size", c.TxQueueSize, ""}} {
		if q.size < 256 || q.size > 1024 || q.size&(q.size-1) != 0 {
			return fmt.Errorf("Invalid %s (= %d), must be a power of 2 between 256 and 1024%s", q.name, q.size, q.end)
		}
	}
	if c.Duplex != "" && c.Duplex != "half" && c.Duplex != "full" {
		return errors.New("'duplex' must be 'half' or 'full'")
	}
	if c.TX != "" && c.TX != "timer" && c.TX != "bh" {
		return fmt.Errorf("Unknown option tx=%s, valid options: \"timer\" \"bh\"", c.TX)
	}
	if c.Speed < -1 {
		return errors.New("'speed' must be between 0 and INT_MAX")
	}
	if len(c.MAC) != 6 || c.MAC[0]&1 != 0 {
		return fmt.Errorf("'%s' is no unicast MAC address", c.MAC)
	}
	if c.HostMTU != 0 && c.HostMTU < 68 {
		return fmt.Errorf("host_mtu %d is less than 68", c.HostMTU)
	}
	return nil
}

// shortQueue is the size of transmit queues, as QEMU has it, unless an engine serves longer ones.
const shortQueue = 256

// limit makes of the properties what the workers use.
func (d *Device) limit() {
	c := &d.cfg
	if l, ok := d.link.(longQueuer); !ok || !l.LongQueues() {
		c.TxQueueSize = min(c.TxQueueSize, shortQueue)
	}
	d.rxLimit = newBucket(rate{c.RxBits, c.RxPackets, time.Duration(c.RxBurst) * time.Millisecond})
	d.txLimit = newBucket(rate{c.TxBits, c.TxPackets, time.Duration(c.TxBurst) * time.Millisecond})
	if d.txBurst = batch; c.TXBurst > 0 {
		d.txBurst = min(batch, int(c.TXBurst))
	}
	if c.TX == "timer" {
		d.txDelay = time.Duration(c.TXTimer)
	}
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
	featureGuestUFO     = 1 << 10
	featureHostTSO4     = 1 << 11
	featureHostTSO6     = 1 << 12
	featureHostECN      = 1 << 13
	featureHostUFO      = 1 << 14
	featureMrgRxBuf     = 1 << 15
	featureStatus       = 1 << 16
	featureCtrlVQ       = 1 << 17
	featureCtrlRX       = 1 << 18
	featureCtrlVLAN     = 1 << 19
	featureCtrlRXExtra  = 1 << 20
	featureAnnounce     = 1 << 21
	featureMQ           = 1 << 22
	featureCtrlMAC      = 1 << 23
	featureGuestUSO4    = 1 << 54
	featureGuestUSO6    = 1 << 55
	featureHostUSO      = 1 << 56
	featureHash         = 1 << 57
	featureRSS          = 1 << 60
	featureSpeedDuplex  = 1 << 63

	// bigPackets are the features by which the guest takes packets that are larger than its MTU.
	bigPackets = featureGuestTSO4 | featureGuestTSO6 | featureGuestUFO | featureGuestUSO4 | featureGuestUSO6
	// offloads are the features that the guest may switch at run time.
	offloads = bigPackets | featureGuestCSum | featureGuestECN
)

// maxPairs is the most queue pairs that a device has; hosts have no more.
const maxPairs = 256

// Features returns what the device offers. What depends on the control queue is
// there only with that.
func (d *Device) Features() uint64 {
	c, able := &d.cfg, d.able
	f := uint64(featureMAC)
	in, out := c.GuestCSum && able.header, c.CSum && able.header
	for _, o := range []struct {
		on  bool
		bit uint64
	}{
		{out, featureCSum}, {in, featureGuestCSum},
		{in && c.GuestTSO4, featureGuestTSO4}, {in && c.GuestTSO6, featureGuestTSO6}, {in && c.GuestECN, featureGuestECN},
		{in && c.GuestUFO && able.ufo, featureGuestUFO}, {in && c.GuestUSO4 && able.uso, featureGuestUSO4}, {in && c.GuestUSO6 && able.uso, featureGuestUSO6},
		{out && c.HostTSO4, featureHostTSO4}, {out && c.HostTSO6, featureHostTSO6}, {out && c.HostECN, featureHostECN},
		{out && c.HostUFO && able.ufo, featureHostUFO}, {out && c.HostUSO && able.uso, featureHostUSO},
		{c.MrgRxBuf, featureMrgRxBuf}, {c.Status, featureStatus}, {c.HostMTU != 0, featureMTU},
		{c.Speed >= 0 || c.Duplex != "", featureSpeedDuplex},
		{c.CtrlVQ, featureCtrlVQ}, {c.CtrlVQ && c.CtrlRX, featureCtrlRX}, {c.CtrlVQ && c.CtrlRXExtra, featureCtrlRXExtra},
		{c.CtrlVQ && c.CtrlVLAN, featureCtrlVLAN}, {c.CtrlVQ && c.CtrlMAC, featureCtrlMAC}, {c.CtrlVQ && c.CtrlOffloads, featureCtrlOffloads},
		{c.CtrlVQ && c.Status && c.Announce, featureAnnounce}, {c.CtrlVQ && c.MQ, featureMQ},
		{c.CtrlVQ && c.RSS, featureRSS}, {c.CtrlVQ && c.Hash && able.header, featureHash},
	} {
		if o.on {
			f |= o.bit
		}
	}
	return f
}

const confSize = 24

// ReadConfig reads the configuration space (§5.1.4).
func (d *Device) ReadConfig(off uint64, data []byte) {
	var b [confSize]byte
	le := binary.LittleEndian
	mac := d.filter.Load().mac
	copy(b[:], mac[:])
	le.PutUint16(b[6:], d.status())
	le.PutUint16(b[8:], uint16(d.pairs))
	le.PutUint16(b[10:], d.cfg.HostMTU)
	le.PutUint32(b[12:], uint32(d.cfg.Speed))
	b[16] = map[string]byte{"": 0xff, "half": 0, "full": 1}[d.cfg.Duplex]
	if d.cfg.RSS || d.cfg.Hash {
		b[17] = maxKey
		le.PutUint16(b[18:], maxIndices)
		le.PutUint32(b[20:], hashesAll)
	}
	clear(data)
	if off < confSize {
		copy(data, b[off:])
	}
}

// WriteConfig does nothing: modern drivers set the MAC address by the control
// queue.
func (d *Device) WriteConfig(uint64, []byte) {}
