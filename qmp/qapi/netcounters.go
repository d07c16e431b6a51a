//qapi:schema

package qapi

// NicDrops counts packets of a queue that were not passed on, by why.
type NicDrops struct {
	Filtered  uint64 `qapi:"filtered"`   // the guest does not want them
	LinkDown  uint64 `qapi:"link-down"`  // there is no link
	TooLong   uint64 `qapi:"too-long"`   // they do not fit the guest's buffers
	Malformed uint64 `qapi:"malformed"`  // they make no sense
	Refused   uint64 `qapi:"refused"`    // the link does not take them
	QueueFull uint64 `qapi:"queue-full"` // too many wait in the queue that they were steered to
}

// NicQueueCounters is what happened on a queue of a NIC.
type NicQueueCounters struct {
	Packets    uint64   `qapi:"packets"` // passed on; commands of a control queue
	Bytes      uint64   `qapi:"bytes"`
	Drops      NicDrops `qapi:"drops"`
	Kicks      uint64   `qapi:"kicks"`      // by the guest
	Interrupts uint64   `qapi:"interrupts"` // to the guest
}

// NicQueueCountersList is the queues of one direction.
type NicQueueCountersList []NicQueueCounters

// NicCounters is what happened on the queues of a NIC since it was made. A data path outside of
// this process (vhost, vhost-user) is not counted.
type NicCounters struct {
	Name    string               `qapi:"name"`
	QomPath string               `qapi:"qom-path"`
	Netdev  *string              `qapi:"netdev"` // id of the back end, if it has one
	LinkUp  bool                 `qapi:"link-up"`
	Rx      NicQueueCountersList `qapi:"rx"` // to the guest
	Tx      NicQueueCountersList `qapi:"tx"` // from the guest
	Control NicQueueCounters     `qapi:"control"`
}

// NicCountersList is a list of NICs.
type NicCountersList []NicCounters

// QueryNicCountersArgs is the arguments of x-query-nic-counters.
type QueryNicCountersArgs struct {
	Name *string `qapi:"name"` // a NIC; all of them by default
}

// CmdXQueryNicCounters tells what happened on the queues of NICs. QEMU has no such command.
//
//qapi:features unstable
var CmdXQueryNicCounters = Command[QueryNicCountersArgs, NicCountersList]{Name: "x-query-nic-counters"}
