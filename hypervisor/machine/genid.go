package machine

import (
	"errors"

	"hv/devices/acpi"
)

// genIDAt is where the generation identifier lies: a page of its own, which operating
// systems take for firmware's and leave alone.
const genIDAt = biosAreaBase + 0x1000

// AddGenerationID has the guest find an identifier that is new whenever its VM goes back
// in time. There is one at most.
func (b *Board) AddGenerationID(id acpi.GenerationID) error {
	switch {
	case b.cfg.Type.Kind == None:
		return errors.New("vmgenid: the machine has no ACPI tables")
	case b.genID != nil:
		return errors.New("at most one vmgenid device is permitted")
	}
	b.genID = &id
	return nil
}

// GenerationID returns the identifier, nil if there is none.
func (b *Board) GenerationID() *acpi.GenerationID { return b.genID }
