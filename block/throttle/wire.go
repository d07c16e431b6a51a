package throttle

import "hv/qmp/qapi"

// wire returns the members of a wire type, in the order of Parameters.
func wire(q *qapi.ThrottleLimits) []**int64 {
	return []**int64{
		&q.BpsTotal, &q.BpsRead, &q.BpsWrite, &q.IopsTotal, &q.IopsRead, &q.IopsWrite,
		&q.BpsTotalMax, &q.BpsReadMax, &q.BpsWriteMax, &q.IopsTotalMax, &q.IopsReadMax, &q.IopsWriteMax,
		&q.BpsTotalMaxLength, &q.BpsReadMaxLength, &q.BpsWriteMaxLength, &q.IopsTotalMaxLength, &q.IopsReadMaxLength, &q.IopsWriteMaxLength,
		&q.IopsSize,
	}
}

// Change changes what q has, if the whole makes sense then.
func (l *Limits) Change(q *qapi.ThrottleLimits) error {
	changed := *l
	for i, name := range Parameters() {
		if v := *wire(q)[i]; v != nil {
			if err := changed.Set(name, uint64(*v)); err != nil {
				return err
			}
		}
	}
	if err := changed.Check(); err != nil {
		return err
	}
	*l = changed
	return nil
}

// Wire returns the limits as QMP shows them.
func (l *Limits) Wire() *qapi.ThrottleLimits {
	q := &qapi.ThrottleLimits{}
	for i, v := range l.fields() {
		n := int64(*v)
		*wire(q)[i] = &n
	}
	return q
}
