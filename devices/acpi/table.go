package acpi

import "encoding/binary"

// HeaderSize is the size of a table's header, in bytes.
const HeaderSize = 36

// Identity is what tables carry to name their maker.
type Identity struct {
	OEM     string // 6 characters
	TableID string // 8 characters
	Creator string // 4 characters
}

// Table returns a system description table (§5.2.6) with its header and
// checksum.
func (id Identity) Table(signature string, revision byte, body []byte) []byte {
	b := make([]byte, HeaderSize, HeaderSize+len(body))
	copy(b, signature)
	b[8] = revision
	copy(b[10:], id.OEM)
	copy(b[16:], id.TableID)
	binary.LittleEndian.PutUint32(b[24:], 1)
	copy(b[28:], id.Creator)
	binary.LittleEndian.PutUint32(b[32:], 1)
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	b[9] = checksum(b)
	return b
}

// RSDP returns the root pointer to an XSDT (§5.2.5.3).
func (id Identity) RSDP(xsdt uint64) []byte {
	b := make([]byte, 36)
	copy(b, "RSD PTR ")
	copy(b[9:], id.OEM)
	b[15] = 2
	binary.LittleEndian.PutUint32(b[20:], uint32(len(b)))
	binary.LittleEndian.PutUint64(b[24:], xsdt)
	b[8] = checksum(b[:20])
	b[32] = checksum(b)
	return b
}

// checksum returns the byte that makes all of b add up to zero.
func checksum(b []byte) byte {
	var sum byte
	for _, c := range b {
		sum += c
	}
	return -sum
}
