package acpi

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// GenerationID is a VM's generation identifier, in the order in which it is written.
type GenerationID [16]byte

// ParseGenerationID reads a UUID, or makes a random one of "auto".
func ParseGenerationID(s string) (id GenerationID, err error) {
	if s == "auto" {
		_, _ = rand.Read(id[:]) // it never fails
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		return id, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("'%s' is no UUID", s)
	}
	copy(id[:], b)
	if !strings.EqualFold(s, id.String()) {
		return id, fmt.Errorf("'%s' is no UUID", s)
	}
	return id, nil
}

// String returns the identifier as a UUID.
func (id GenerationID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// Bytes returns the identifier as it lies in guest memory: its first three numbers are
// little-endian.
func (id GenerationID) Bytes() []byte {
	return []byte{
		id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6],
		id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15],
	}
}

// GenerationDevice declares the device that says where the identifier is ("Virtual Machine
// Generation ID", Microsoft 2012).
func GenerationDevice(at uint64) Term {
	return Device("VGEN",
		Name("_HID", String("QEMUVGID")),
		Name("_CID", String("VM_Gen_Counter")),
		Name("_DDN", String("VM_Gen_Counter")),
		Method("ADDR", 0, Return(Package(Int(at&0xffff_ffff), Int(at>>32)))),
	)
}
