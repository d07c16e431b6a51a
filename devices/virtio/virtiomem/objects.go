package virtiomem

import (
	"errors"

	"hv/devices/qom"
	"hv/qmp/qapi"
)

// QOM returns the properties that have other values than the device was given, or that can
// be set while it runs.
func (d *Device) QOM() []qom.Property {
	return []qom.Property{
		{Name: "size", Type: "size", Get: func(doc *qapi.Document) { qom.Uint(d.PluggedSize())(doc) }},
		{
			Name: "requested-size", Type: "size",
			Get: func(doc *qapi.Document) { qom.Uint(d.RequestedSize())(doc) },
			Set: func(v qapi.Value) error {
				n, ok := v.Uint64()
				if !ok {
					return errors.New("Parameter 'requested-size' expects uint64")
				}
				return d.SetRequestedSize(n)
			},
		},
		{Name: "block-size", Type: "size", Get: qom.Uint(d.cfg.Block), Set: func(qapi.Value) error {
			return errors.New("'block-size' cannot be changed")
		}},
		{Name: "memaddr", Type: "uint64", Get: qom.Uint(d.cfg.Addr)},
	}
}
