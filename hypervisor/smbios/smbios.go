// Package smbios makes the SMBIOS tables that tell a guest what machine it is on.
//
// Build is pure and deterministic. Fields come from -smbios options over defaults of
// the board.
//
// Implements SMBIOS 3.2 §5.2.2 (64-bit entry point) and types 0, 1, 2, 3, 4, 11, 16,
// 17, 19, 32 and 127. It depends on nothing of ours.
package smbios

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Config is what the tables are made from.
type Config struct {
	UUID    string // "" for none
	Product string
	Version string
	Memory  uint64 // bytes
	Sockets int
	// PerSocket is cores and threads of each socket.
	Cores, Threads int
	// Options are -smbios arguments: keys by name, with type.
	Options []map[string]string
}

// keys lists what -smbios takes for each type, beside type itself.
var keys = map[int][]string{
	0:  {"vendor", "version", "date", "release", "uefi"},
	1:  {"manufacturer", "product", "version", "serial", "uuid", "sku", "family"},
	2:  {"manufacturer", "product", "version", "serial", "asset", "location"},
	3:  {"manufacturer", "version", "serial", "asset", "sku"},
	4:  {"sock_pfx", "manufacturer", "version", "serial", "asset", "part"},
	11: {"value"},
	17: {"loc_pfx", "bank", "manufacturer", "serial", "asset", "part", "speed"},
}

// Check returns an error for an -smbios argument that Build would not use.
func Check(option map[string]string) error {
	if option["type"] == "" {
		return errors.New("type= is missing: it says which structure the fields are for")
	}
	typ, err := strconv.Atoi(option["type"])
	if err != nil {
		return fmt.Errorf("type '%s' is no number", option["type"])
	}
	known, ok := keys[typ]
	if !ok {
		return fmt.Errorf("type %d is not one of 0, 1, 2, 3, 4, 11, 17", typ)
	}
	for k := range option {
		if k != "type" && !slices.Contains(known, k) {
			return fmt.Errorf("Invalid parameter '%s' for type %d: there are %s", k, typ, strings.Join(known, ", "))
		}
	}
	if u := option["uuid"]; u != "" {
		if _, err := parseUUID(u); err != nil {
			return err
		}
	}
	return nil
}

func parseUUID(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("'%s' is no UUID", s)
	}
	return b, nil
}

// table collects structures.
type table struct {
	out     []byte
	largest int
	count   int
}

// structure is a formatted area with its strings.
type structure struct {
	b       []byte
	strings []string
}

func (s *structure) bytes(v ...byte) { s.b = append(s.b, v...) }
func (s *structure) word(v uint16)   { s.b = binary.LittleEndian.AppendUint16(s.b, v) }
func (s *structure) dword(v uint32)  { s.b = binary.LittleEndian.AppendUint32(s.b, v) }
func (s *structure) qword(v uint64)  { s.b = binary.LittleEndian.AppendUint64(s.b, v) }
func (s *structure) text(v ...string) {
	for _, t := range v {
		if t == "" {
			s.b = append(s.b, 0)
			continue
		}
		s.strings = append(s.strings, t)
		s.b = append(s.b, byte(len(s.strings)))
	}
}

// add appends a structure of a type with a handle.
func (t *table) add(typ byte, handle uint16, fill func(s *structure)) {
	s := structure{b: []byte{typ, 0, byte(handle), byte(handle >> 8)}}
	fill(&s)
	s.b[1] = byte(len(s.b))
	for _, v := range s.strings {
		s.b = append(append(s.b, v...), 0)
	}
	if len(s.strings) == 0 {
		s.b = append(s.b, 0)
	}
	s.b = append(s.b, 0)
	t.largest = max(t.largest, len(s.b))
	t.count++
	t.out = append(t.out, s.b...)
}

// fields returns what the options of a type set, over defaults.
func (c *Config) fields(typ int, defaults map[string]string) func(string) string {
	return func(key string) string {
		for _, o := range slices.Backward(c.Options) {
			if v, ok := o[key]; ok && o["type"] == strconv.Itoa(typ) {
				return v
			}
		}
		return defaults[key]
	}
}

func (c *Config) has(typ int) bool {
	return slices.ContainsFunc(c.Options, func(o map[string]string) bool { return o["type"] == strconv.Itoa(typ) })
}

// Build returns the entry point, for an address between 0xf0000 and 0xfffff that is a
// multiple of 16, and the structures, which lie at tableAddr.
func Build(c Config, tableAddr uint64) (entry, structures []byte) {
	t := &table{}
	c.firmware(t)
	c.system(t)
	if c.has(2) {
		c.baseboard(t)
	}
	c.chassis(t)
	for i := range max(c.Sockets, 1) {
		c.processor(t, i)
	}
	c.oemStrings(t)
	c.memory(t)
	t.add(32, 0x2000, func(s *structure) { s.bytes(0, 0, 0, 0, 0, 0, 0) })
	t.add(127, 0x7f00, func(*structure) {})

	e := make([]byte, 24)
	copy(e, "_SM3_")
	e[6], e[7], e[8], e[10] = 24, 3, 2, 1
	binary.LittleEndian.PutUint32(e[12:], uint32(len(t.out)))
	binary.LittleEndian.PutUint64(e[16:], tableAddr)
	var sum byte
	for _, b := range e {
		sum += b
	}
	e[5] = -sum
	return e, t.out
}

func (c *Config) firmware(t *table) {
	f := c.fields(0, map[string]string{"vendor": "hv", "version": c.Version, "date": "01/01/2024", "release": "0.0"})
	t.add(0, 0, func(s *structure) {
		s.text(f("vendor"), f("version"))
		s.word(0xe800)
		s.text(f("date"))
		s.bytes(0)
		s.qword(8) // characteristics not supported
		vm := byte(0x10)
		if f("uefi") == "on" {
			vm |= 8
		}
		s.bytes(0, vm|4)
		major, minor, _ := strings.Cut(f("release"), ".")
		a, _ := strconv.ParseUint(major, 10, 8)
		b, _ := strconv.ParseUint(minor, 10, 8)
		s.bytes(byte(a), byte(b), 0xff, 0xff)
	})
}

func (c *Config) system(t *table) {
	f := c.fields(1, map[string]string{"manufacturer": "hv", "product": c.Product, "version": c.Version, "uuid": c.UUID})
	t.add(1, 0x100, func(s *structure) {
		s.text(f("manufacturer"), f("product"), f("version"), f("serial"))
		u, err := parseUUID(f("uuid"))
		if err != nil {
			u = make([]byte, 16)
		}
		s.bytes(u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6])
		s.bytes(u[8:]...)
		s.bytes(6) // power switch
		s.text(f("sku"), f("family"))
	})
}

func (c *Config) baseboard(t *table) {
	f := c.fields(2, map[string]string{"manufacturer": "hv", "product": c.Product, "version": c.Version})
	t.add(2, 0x200, func(s *structure) {
		s.text(f("manufacturer"), f("product"), f("version"), f("serial"), f("asset"))
		s.bytes(1)
		s.text(f("location"))
		s.word(0x300)
		s.bytes(0xa, 0)
	})
}

func (c *Config) chassis(t *table) {
	f := c.fields(3, map[string]string{"manufacturer": "hv", "version": c.Version})
	t.add(3, 0x300, func(s *structure) {
		s.text(f("manufacturer"))
		s.bytes(1) // other
		s.text(f("version"), f("serial"), f("asset"))
		s.bytes(3, 3, 3, 2) // states safe, security unknown
		s.dword(0)
		s.bytes(0, 0, 0, 0)
		s.text(f("sku"))
	})
}

func (c *Config) processor(t *table, socket int) {
	f := c.fields(4, map[string]string{"sock_pfx": "CPU", "manufacturer": "hv", "version": c.Version})
	t.add(4, 0x400+uint16(socket), func(s *structure) {
		s.text(fmt.Sprintf("%s %d", f("sock_pfx"), socket))
		s.bytes(3, 1) // central processor, other family
		s.text(f("manufacturer"))
		s.qword(0)
		s.text(f("version"))
		s.bytes(0)
		s.word(0)
		s.word(2000)
		s.word(2000)
		s.bytes(0x41, 1) // populated and enabled, other upgrade
		s.word(0xffff)
		s.word(0xffff)
		s.word(0xffff)
		s.text(f("serial"), f("asset"), f("part"))
		cores, threads := max(c.Cores, 1), max(c.Cores, 1)*max(c.Threads, 1)
		s.bytes(byte(min(cores, 255)), byte(min(cores, 255)), byte(min(threads, 255)))
		s.word(2) // unknown characteristics
		s.word(1)
		s.word(uint16(cores))
		s.word(uint16(cores))
		s.word(uint16(threads))
	})
}

func (c *Config) oemStrings(t *table) {
	var values []string
	for _, o := range c.Options {
		if o["type"] == "11" && o["value"] != "" {
			values = append(values, o["value"])
		}
	}
	if len(values) > 0 {
		t.add(11, 0xe00, func(s *structure) {
			s.bytes(byte(len(values)))
			s.strings = values
		})
	}
}

// dimm is the size of a memory device, in bytes.
const dimm = 16 << 30

func (c *Config) memory(t *table) {
	n := int((c.Memory + dimm - 1) / dimm)
	t.add(16, 0x1000, func(s *structure) {
		s.bytes(1, 3, 6) // other location, system memory, multi-bit ECC
		s.dword(1 << 31)
		s.word(0xfffe)
		s.word(uint16(n))
		s.qword(c.Memory)
	})
	f := c.fields(17, map[string]string{"loc_pfx": "DIMM", "manufacturer": "hv"})
	for i := range n {
		size := min(c.Memory-uint64(i)*dimm, dimm)
		t.add(17, 0x1100+uint16(i), func(s *structure) { device(s, f, i, size) })
	}
	t.add(19, 0x1300, func(s *structure) {
		s.dword(0xffffffff)
		s.dword(0xffffffff)
		s.word(0x1000)
		s.bytes(1)
		s.qword(0)
		s.qword(c.Memory - 1)
	})
}

// device fills in a memory device (type 17).
func device(s *structure, f func(string) string, i int, size uint64) {
	s.word(0x1000)
	s.word(0xfffe)
	s.word(0xffff)
	s.word(0xffff)
	mib := size >> 20
	if mib < 0x7fff {
		s.word(uint16(mib))
	} else {
		s.word(0x7fff)
	}
	s.bytes(9, 0) // DIMM
	s.text(fmt.Sprintf("%s %d", f("loc_pfx"), i), f("bank"))
	s.bytes(7) // RAM
	s.word(2)
	speed, _ := strconv.ParseUint(f("speed"), 10, 16)
	s.word(uint16(speed))
	s.text(f("manufacturer"), f("serial"), f("asset"), f("part"))
	s.bytes(0)
	s.dword(uint32(mib))
	s.word(uint16(speed))
	s.word(0)
	s.word(0)
	s.word(0)
}
