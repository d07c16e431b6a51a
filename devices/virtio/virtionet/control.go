package virtionet

import (
	"encoding/binary"

	"hv/devices/virtio/queue"
)

// Control classes and commands (§5.1.6.5).
const (
	classRX       = 0
	classMAC      = 1
	classVLAN     = 2
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
	mqPairsSet  = 0
	offloadsSet = 0

	ackOK  = 0
	ackErr = 1

	// maxControl bounds the data of a command: two tables of addresses.
	maxControl = 128 << 10
)

// serveControl answers the commands that there are.
func (d *Device) serveControl() {
	err := d.control.Each(&d.ctlChain, func() (uint32, error) {
		if d.ctlChain.InLen() == 0 {
			return 0, nil
		}
		return uint32(d.ctlChain.CopyIn([]byte{d.command(&d.ctlChain)}, 0)), nil
	})
	if err != nil {
		d.tell.NeedsReset(err)
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
	return d.run(b[0], b[1], b[2:])
}

// run carries out a command of a class with its data.
func (d *Device) run(class, cmd byte, data []byte) byte {
	next := *d.filter.Load()
	ok := false
	switch class {
	case classRX:
		ok = next.setMode(cmd, data)
	case classMAC:
		ok = next.setAddresses(cmd, data)
	case classVLAN:
		if ok = len(data) == 2 && cmd <= vlanDel && binary.LittleEndian.Uint16(data) < 4096; ok {
			next.setVLAN(binary.LittleEndian.Uint16(data), cmd == vlanAdd)
		}
	case classMQ:
		return d.answer(cmd == mqPairsSet && len(data) == 2 && d.setPairs(int(binary.LittleEndian.Uint16(data))))
	case classOffloads:
		return d.answer(cmd == offloadsSet && len(data) == 8 && d.setOffloads(binary.LittleEndian.Uint64(data)))
	}
	if ok {
		d.filter.Store(&next)
	}
	return d.answer(ok)
}

func (d *Device) answer(ok bool) byte {
	if ok {
		return ackOK
	}
	return ackErr
}

// setMode is a command of class RX.
func (f *Filter) setMode(cmd byte, data []byte) bool {
	if len(data) != 1 || cmd > rxNoBcast {
		return false
	}
	flags := [...]*bool{rxPromisc: &f.Promisc, rxAllMulti: &f.AllMulti, rxAllUni: &f.AllUni, rxNoMulti: &f.NoMulti, rxNoUni: &f.NoUni, rxNoBcast: &f.NoBcast}
	*flags[cmd] = data[0] != 0
	return true
}

// setAddresses is a command of class MAC.
func (f *Filter) setAddresses(cmd byte, data []byte) bool {
	switch {
	case cmd == macAddrSet && len(data) == 6:
		f.MAC = MAC(data)
		return true
	case cmd == macTableSet:
		uni, uniOver, rest, ok := table(data)
		if !ok {
			return false
		}
		multi, multiOver, rest, ok := table(rest)
		if !ok || len(rest) != 0 {
			return false
		}
		f.Unicast, f.UnicastOverflow, f.Multicast, f.MulticastOverflow = uni, uniOver, multi, multiOver
		return true
	}
	return false
}

// table reads a table of addresses: its length, then that many. One that is too
// long is an overflow, and empty.
func table(b []byte) (list []MAC, overflow bool, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, false, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n)*6 > uint64(len(b)-4) {
		return nil, false, nil, false
	}
	rest = b[4+6*n:]
	if n > maxTable {
		return nil, true, rest, true
	}
	for i := range n {
		list = append(list, MAC(b[4+6*i:]))
	}
	return list, false, rest, true
}
