package machine

import (
	"encoding/binary"
	"fmt"

	"hv/devices/acpi"
)

// facsVector is where the guest leaves its waking vector in the FACS (ACPI 6.4 §5.2.10).
const facsVector = 12

// CanSuspend reports whether the board's guests can suspend themselves.
func (b *Board) CanSuspend() bool { return b.cfg.Type.Kind == Q35 }

// Wake does what firmware does after Reset when the guest was suspended, and returns the
// address in real mode at which that wants to go on: 0 if it left none.
func (b *Board) Wake() (vector uint32, err error) {
	if err := b.PCI.Assign(); err != nil {
		return 0, fmt.Errorf("assign PCI resources: %w", err)
	}
	var raw [4]byte
	if err := b.cfg.RAM.ReadAt(raw[:], b.facs+facsVector); err != nil {
		return 0, fmt.Errorf("waking vector: %w", err)
	}
	if pm, ok := b.power.(*acpi.PM); ok {
		pm.Wake()
	}
	return binary.LittleEndian.Uint32(raw[:]), nil
}
