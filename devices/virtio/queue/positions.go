package queue

// Positions is where a queue stands. Of a packed queue they are places in the ring.
type Positions struct {
	Avail     uint16 // of the chain that is popped next
	Offered   uint16 // one past what the driver made available, as far as that can be told
	Used      uint16 // where the next completion goes
	Published uint16 // up to where the driver sees completions
	Taken     uint16 // what was popped and not pushed, in descriptors for a packed queue
}

// Positions returns where the queue stands. It is for the queue's user, or while that
// stands still.
func (q *Queue) Positions() Positions { return q.ring.positions() }

func (s *split) positions() Positions {
	return Positions{s.nextAvail, s.avail.Load16(2), s.nextUsed, s.published, s.nextAvail - s.nextUsed}
}

func (p *packed) positions() Positions {
	taken := int(p.avail.index) - int(p.used.index)
	if p.avail.wrap != p.used.wrap {
		taken += int(p.size)
	}
	published := p.used.index
	if p.held > 0 {
		published = p.first.index
	}
	return Positions{p.avail.index, p.avail.index, p.used.index, published, uint16(taken)}
}

// Seek moves a split queue, which nobody uses, to where others who used it have left it: avail is the
// index of the chain that is popped next. It is not checked: a wrong one breaks the queue at Pop.
func (q *Queue) Seek(avail uint16) {
	if s, ok := q.ring.(*split); ok {
		s.nextAvail = avail
		s.nextUsed = s.used.Load16(2)
		s.published = s.nextUsed
	}
}

// Used returns how many completions the driver sees of a split queue, whoever made them.
func (q *Queue) Used() uint16 {
	if s, ok := q.ring.(*split); ok {
		return s.used.Load16(2)
	}
	return q.Positions().Published
}
