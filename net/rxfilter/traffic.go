package rxfilter

// Traffic counts what went over a link, as the VM sees it.
type Traffic struct {
	ToGuest, FromGuest Flow
}

// Flow is one direction.
type Flow struct {
	Packets, Bytes, Drops uint64
}

// Traffic reads a link's counters.
func (l *Link) Traffic() (t Traffic, err error) {
	link, err := l.route.LinkByIndex(l.index)
	if err != nil {
		return t, gone(err)
	}
	s := link.Attrs().Statistics
	if s == nil {
		return t, nil
	}
	rx, tx := Flow{s.RxPackets, s.RxBytes, s.RxDropped + s.RxErrors}, Flow{s.TxPackets, s.TxBytes, s.TxDropped + s.TxErrors}
	if _, ok := macvlan(link); ok {
		return Traffic{ToGuest: rx, FromGuest: tx}, nil
	}
	return Traffic{ToGuest: tx, FromGuest: rx}, nil // the host receives what a tap's VM sends
}
