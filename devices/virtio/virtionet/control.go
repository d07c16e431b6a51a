package virtionet

import (
	"encoding/binary"
	"errors"

	"hv/devices/virtio/queue"
)

// Control classes and commands (§5.1.6.5).
const (
	classRX       = 0
	classMAC      = 1
	classVLAN     = 2
	classAnnounce = 3
	classMQ       = 4
	classOffloads = 5

	rxPromisc  = 0
	rxAllMulti = 1
	rxAllUni   = 2
	rxNoMulti  = 3
	rxNoUni    = 4
	rxNoBcast  = 5

	macTableSet = 0
	macAddrSet  = 1
	vlanAdd     = 0
	vlanDel     = 1
	announceAck = 0
	mqPairsSet  = 0
	mqRSS       = 1
	mqHash      = 2
	offloadsSet = 0

	ackOK  = 0
	ackErr = 1

	// maxControl bounds the data of a command: two tables of addresses.
	maxControl = 128 << 10
)

// serveControl answers the commands that there are.
func (d *Device) serveControl() {
	t := &d.tallies[2*d.pairs]
	for !d.ctlBroken {
		ok, err := d.control.Pop(&d.ctlChain)
		if err == nil && ok && (d.ctlChain.InLen() < 1 || d.ctlChain.OutLen() < 2) {
			err = errors.New("a command without its class or room for an answer")
		}
		switch {
		case err != nil:
			d.ctlBroken = true
			d.tell.NeedsReset(err)
		case ok:
			t.packets.add(1)
			t.bytes.add(uint64(d.ctlChain.OutLen()))
			answer := [1]byte{d.command(&d.ctlChain)}
			d.control.Push(&d.ctlChain, uint32(d.ctlChain.CopyIn(answer[:], 0)))
			t.show(d.control)
		case !d.control.EnableKicks():
			return
		}
	}
}

// command carries out one command and returns the answer.
func (d *Device) command(c *queue.Chain) byte {
	n := c.OutLen()
	if n < 2 || n > maxControl {
		return ackErr
	}
	b := make([]byte, n)
	c.CopyOut(b, 0)
	if d.run(b[0], b[1], b[2:]) {
		return ackOK
	}
	return ackErr
}

// run carries out a command of a class with its data. Of most, more data than
// they need does no harm.
func (d *Device) run(class, cmd byte, data []byte) bool {
	switch class {
	case classRX, classMAC, classVLAN:
		return d.setFilter(class, cmd, data)
	case classAnnounce:
		return cmd == announceAck && d.acknowledge()
	case classMQ:
		return d.setQueues(cmd, data)
	case classOffloads:
		return cmd == offloadsSet && d.features&featureCtrlOffloads != 0 && len(data) >= 8 && d.setOffloads(binary.LittleEndian.Uint64(data))
	}
	return false
}

// setFilter carries out a command that changes the receive filter.
func (d *Device) setFilter(class, cmd byte, data []byte) bool {
	next := *d.filter.Load()
	ok := false
	switch class {
	case classRX:
		ok = next.setMode(cmd, data)
	case classMAC:
		ok = next.setAddresses(cmd, data)
	case classVLAN:
		if ok = len(data) >= 2 && cmd <= vlanDel && binary.LittleEndian.Uint16(data) < 4096; ok {
			next.setVLAN(binary.LittleEndian.Uint16(data), cmd == vlanAdd)
		}
	}
	if ok {
		d.filter.Store(&next)
		d.host.FilterChanged()
	}
	return ok
}

// setQueues carries out a command of class MQ. Each one ends the steering of before.
func (d *Device) setQueues(cmd byte, data []byte) bool {
	d.steering.Store(nil)
	needs := [...]uint64{mqPairsSet: featureMQ, mqRSS: featureRSS, mqHash: featureHash}
	if int(cmd) >= len(needs) || d.features&needs[cmd] == 0 {
		return false
	}
	if cmd == mqPairsSet {
		return len(data) >= 2 && d.setPairs(int(binary.LittleEndian.Uint16(data)))
	}
	s, ok := parseSteering(data, cmd == mqRSS, d.pairs)
	if !ok || cmd == mqRSS && !d.setPairs(s.pairs) {
		return false
	}
	if s.indices != nil {
		d.steering.Store(s)
	}
	return true
}

// setMode is a command of class RX.
func (f *filter) setMode(cmd byte, data []byte) bool {
	if len(data) < 1 || cmd > rxNoBcast {
		return false
	}
	flags := [...]*bool{rxPromisc: &f.promisc, rxAllMulti: &f.allMulti, rxAllUni: &f.allUni, rxNoMulti: &f.noMulti, rxNoUni: &f.noUni, rxNoBcast: &f.noBcast}
	*flags[cmd] = data[0] != 0
	return true
}

// setAddresses is a command of class MAC.
func (f *filter) setAddresses(cmd byte, data []byte) bool {
	switch {
	case cmd == macAddrSet && len(data) == 6:
		f.mac = MAC(data)
		return true
	case cmd == macTableSet:
		uni, uniOver, rest, ok := table(data, maxTable)
		if !ok {
			return false
		}
		multi, multiOver, rest, ok := table(rest, maxTable-len(uni))
		if !ok || len(rest) != 0 {
			return false
		}
		f.unicast, f.unicastOver, f.multicast, f.multicastOver = uni, uniOver, multi, multiOver
		return true
	}
	return false
}

// table reads a table of addresses: its length, then that many. One that is longer than there
// is room is an overflow, and empty.
func table(b []byte, room int) (list []MAC, overflow bool, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, false, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n)*6 > uint64(len(b)-4) {
		return nil, false, nil, false
	}
	rest = b[4+6*n:]
	if n > uint32(room) {
		return nil, true, rest, true
	}
	for i := range n {
		list = append(list, MAC(b[4+6*i:]))
	}
	return list, false, rest, true
}
