package virtioballoon

import (
	"errors"
	"fmt"
	"math"

	"hv/devices/qom"
	"hv/qmp/qapi"
)

// statNames are the statistics by tag (§5.5.6.3), as the property guest-stats calls them.
var statNames = []string{
	"stat-swap-in", "stat-swap-out", "stat-major-faults", "stat-minor-faults", "stat-free-memory", "stat-total-memory",
	"stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail",
}

// QOM returns the properties that can be used while the device runs: the guest's
// statistics, and how often they are asked for.
func (d *Device) QOM() []qom.Property {
	return []qom.Property{
		{Name: "guest-stats", Type: "guest statistics", Get: d.guestStats},
		{
			Name: "guest-stats-polling-interval", Type: "int",
			Get: func(doc *qapi.Document) { qom.Int(int64(d.interval.Load()))(doc) },
			Set: d.setInterval,
		},
	}
}

// guestStats writes what the guest last told; what it did not tell is the largest number.
func (d *Device) guestStats(doc *qapi.Document) {
	s := d.Stats()
	var members []qom.Member
	for tag, name := range statNames {
		v, ok := s.Values[uint16(tag)]
		if !ok {
			v = math.MaxUint64
		}
		members = append(members, qom.Member{Name: name, Value: qom.Uint(v)})
	}
	last := int64(0)
	if !s.Update.IsZero() {
		last = s.Update.Unix()
	}
	qom.Struct(qom.Member{Name: "stats", Value: qom.Struct(members...)}, qom.Member{Name: "last-update", Value: qom.Int(last)})(doc)
}

var errInterval = errors.New("timer value must not be negative")

// setInterval sets how often statistics are asked for, in seconds; 0 is never.
func (d *Device) setInterval(v qapi.Value) error {
	n, ok := v.Int64()
	switch {
	case !ok:
		return fmt.Errorf("Invalid parameter type for 'guest-stats-polling-interval', expected: integer")
	case n < 0:
		return errInterval
	case n > math.MaxUint32:
		return fmt.Errorf("timer value is too big")
	}
	d.interval.Store(uint32(n))
	d.WakeWorkers()
	return nil
}
