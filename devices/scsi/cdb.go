package scsi

import "encoding/binary"

// maxCDB is how long a command descriptor block is at most.
const maxCDB = 32

// flags say what a command needs, and what it does not.
type flags uint8

const (
	needsNothing flags = 1 << iota // no medium
	quiet                          // unit attentions wait for another command
	diskOnly
	cdOnly
	sends // data goes to the unit
)

// extent says where a command tells how much data it moves.
type extent uint8

const (
	noData     extent = iota
	allocation        // the length field that commands of this size have
	at3               // 16 bits at this byte of the CDB
	at8
	capacity8 // 8 bytes
	blocks    // as many blocks as the length field says
	oneBlock  // one block, unless there is to be none
)

// command is a command that units carry out. usage is the CDB with the bits set that the
// unit looks at (SPC-4 §6.35.3); its length is that of the CDB.
type command struct {
	usage  string
	extent extent
	flags  flags
	run    func(d *Unit, t *Task)
}

// opcode returns the first byte.
func (c *command) opcode() byte { return c.usage[0] }

// service returns the service action, and whether the command has one.
func (c *command) service() (byte, bool) {
	switch c.opcode() {
	case opServiceIn16, opMaintenanceIn:
		return c.usage[1], true
	}
	return 0, false
}

// Operation codes that have service actions.
const (
	opServiceIn16   = 0x9e
	opMaintenanceIn = 0xa3
)

// The commands, by what they are for.
var commands = [][]command{primaryCommands, blockCommands, multimediaCommands}

// find returns the command that a CDB is, nil if there is none on a kind of unit.
func find(cdb []byte, cd bool) *command {
	if len(cdb) == 0 {
		return nil
	}
	if int(cdb[0]) < len(byOpcode) {
		for _, c := range byOpcode[cdb[0]] {
			if c.flags&diskOnly != 0 && cd || c.flags&cdOnly != 0 && !cd || len(c.usage) > len(cdb) {
				continue
			}
			if action, ok := c.service(); ok && cdb[1]&0x1f != action {
				continue
			}
			return c
		}
	}
	return nil
}

// byOpcode is the commands of each operation code.
var byOpcode [256][]*command

func init() {
	for _, group := range commands {
		for i := range group {
			c := &group[i]
			byOpcode[c.opcode()] = append(byOpcode[c.opcode()], c)
		}
	}
}

// lbaOf returns the address that a CDB has, by the group of its operation code.
func lbaOf(cdb []byte) uint64 {
	switch cdb[0] >> 5 {
	case 0:
		return uint64(binary.BigEndian.Uint32(cdb)) & 0x1fffff
	case 4:
		return binary.BigEndian.Uint64(cdb[2:])
	}
	return uint64(binary.BigEndian.Uint32(cdb[2:]))
}

// lengthOf returns the length that a CDB has.
func lengthOf(cdb []byte) uint64 {
	switch cdb[0] >> 5 {
	case 0:
		return uint64(cdb[4])
	case 4:
		return uint64(binary.BigEndian.Uint32(cdb[10:]))
	case 5:
		return uint64(binary.BigEndian.Uint32(cdb[6:]))
	}
	return uint64(binary.BigEndian.Uint16(cdb[7:]))
}

// blocksOf returns how many blocks a CDB is about: in six bytes 0 is 256.
func blocksOf(cdb []byte) uint64 {
	n := lengthOf(cdb)
	if n == 0 && cdb[0]>>5 == 0 {
		return 256
	}
	return n
}

// transfer returns how many bytes of data a command moves, at most.
func (c *command) transfer(cdb []byte, blockSize uint64) uint64 {
	switch c.extent {
	case allocation:
		return lengthOf(cdb)
	case at3:
		return uint64(binary.BigEndian.Uint16(cdb[3:]))
	case at8:
		return uint64(binary.BigEndian.Uint16(cdb[8:]))
	case capacity8:
		return 8
	case blocks:
		return blocksOf(cdb) * blockSize
	case oneBlock:
		if cdb[1]&noDataOut == 0 {
			return blockSize
		}
	}
	return 0
}
