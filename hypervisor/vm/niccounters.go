package vm

import (
	"hv/devices/virtio/virtionet"
	"hv/qmp/qapi"
)

// Counters implements netqmp.NICs. Control goroutine only.
func (v *VM) Counters(name *string) (qapi.NicCountersList, error) {
	nics, err := v.net.chosen(name)
	if err != nil {
		return nil, err
	}
	list := qapi.NicCountersList{}
	for _, n := range nics {
		c := n.dev.Counters()
		info := qapi.NicCounters{
			Name: n.name, QomPath: n.in.Path(), LinkUp: n.up(), Rx: queueCounters(c.Rx), Tx: queueCounters(c.Tx), Control: queueCounter(c.Control),
		}
		if n.back != nil {
			info.Netdev = &n.back.id
		}
		list = append(list, info)
	}
	return list, nil
}

// up reports whether the guest sees its link up (virtio 1.2 §5.1.4, status).
func (n *nic) up() bool {
	var status [2]byte
	n.dev.ReadConfig(6, status[:])
	return status[0]&1 != 0
}

func queueCounters(list []virtionet.QueueCounters) qapi.NicQueueCountersList {
	out := qapi.NicQueueCountersList{}
	for _, c := range list {
		out = append(out, queueCounter(c))
	}
	return out
}

func queueCounter(c virtionet.QueueCounters) qapi.NicQueueCounters {
	d := &c.Drops
	return qapi.NicQueueCounters{
		Packets: c.Packets, Bytes: c.Bytes, Kicks: c.Kicks, Interrupts: c.Interrupts,
		Drops: qapi.NicDrops{
			Filtered: d[virtionet.DropFiltered], LinkDown: d[virtionet.DropLinkDown], TooLong: d[virtionet.DropTooLong],
			Malformed: d[virtionet.DropMalformed], Refused: d[virtionet.DropRefused], QueueFull: d[virtionet.DropQueueFull],
		},
	}
}
