package hmp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// pageSize is the unit in which addresses are translated.
const pageSize = 4096

// memoryCommands look at guest memory.
func memoryCommands() []*command {
	machine := []string{needsMachine}
	return []*command{
		{name: "x", args: "fmt:format addr:long", params: "/fmt addr", help: "dump memory at an address of the CPU's", needs: machine, run: (*call).dumpVirtual},
		{name: "xp", args: "fmt:format addr:long", params: "/fmt addr", help: "dump memory at a physical address", needs: machine, run: (*call).dumpPhysical},
		{name: "sum", args: "start:int size:int", params: "addr size", help: "print the BSD checksum of physical memory", needs: machine, run: (*call).sum},
		{name: "gva2gpa", args: "addr:long", params: "addr", help: "print the physical address behind one of the CPU's", needs: machine, run: (*call).translate},
		{name: "memsave", args: "val:long size:int filename:string", params: "addr size file", help: "write memory at an address of the CPU's to a file",
			needs: []string{"memsave"}, run: (*call).memsave},
		on("pmemsave", "pmemsave", "val:long size:int filename:string", "addr size file", "write physical memory to a file"),
		{
			name: "dump-guest-memory", args: "-p:paging -d:detach -w:windmp -z:zlib -l:lzo -s:snappy filename:file begin:long? length:long?",
			params: "[-p] [-d] [-z|-l|-s|-w] filename [begin length]",
			help:   "write the guest's memory to an ELF core (-p with its paging), or a compressed kdump (-z -l -s) or Windows one (-w); -d returns at once",
			needs:  []string{"dump-guest-memory"}, run: (*call).dumpGuest,
		},
	}
}

func (c *call) memsave() error {
	return pass("memsave", obj{"cpu-index": c.cpu})(c)
}

func (c *call) dumpGuest() error {
	args := obj{"paging": c.args.flag("paging"), "detach": c.args.flag("detach"), "protocol": "file:" + c.args.str("filename")}
	formats := 0
	for flag, f := range map[string]string{"windmp": "win-dmp", "zlib": "kdump-zlib", "lzo": "kdump-lzo", "snappy": "kdump-snappy"} {
		if c.args.flag(flag) {
			args["format"] = f
			formats++
		}
	}
	if formats > 1 {
		return errors.New("only one of '-z|-l|-s|-w' can be set")
	}
	for _, k := range []string{"begin", "length"} {
		if c.args.has(k) {
			args[k] = c.args.num(k)
		}
	}
	return c.query("dump-guest-memory", args, nil)
}

func (c *call) translate() error {
	if pa, ok := c.m.machine.Translate(c.ctx, c.cpu, uint64(c.args.num("addr"))); ok {
		c.printf("gpa: %s\n", alternate("0x", "%x", pa))
	} else {
		c.printf("Unmapped\n")
	}
	return nil
}

func (c *call) sum() error {
	start, size := uint64(c.args.num("start")), c.args.num("size")
	sum := uint16(0)
	var buf [pageSize]byte
	for size > 0 {
		b := buf[:min(size, pageSize)]
		if err := c.m.machine.ReadPhysical(c.ctx, start, b); err != nil {
			return err
		}
		for _, v := range b {
			sum = (sum>>1 | sum<<15) + uint16(v)
		}
		start, size = start+uint64(len(b)), size-int64(len(b))
	}
	c.printf("%05d\n", sum)
	return nil
}

// reader reads memory at some kind of address.
type reader func(addr uint64, p []byte) error

func (c *call) physical(addr uint64, p []byte) error {
	return c.m.machine.ReadPhysical(c.ctx, addr, p)
}

// virtual reads at an address of the CPU's, page by page.
func (c *call) virtual(addr uint64, p []byte) error {
	for len(p) > 0 {
		n := min(pageSize-addr%pageSize, uint64(len(p)))
		pa, ok := c.m.machine.Translate(c.ctx, c.cpu, addr)
		if !ok {
			return fmt.Errorf("address %#x is not mapped", addr)
		}
		if err := c.physical(pa, p[:n]); err != nil {
			return err
		}
		addr, p = addr+n, p[n:]
	}
	return nil
}

func (c *call) dumpVirtual() error  { return c.dump(c.virtual, addressWidth) }
func (c *call) dumpPhysical() error { return c.dump(c.physical, addressWidth) }

// addressWidth is the number of digits of an address.
const addressWidth = 16

func (c *call) dump(read reader, width int) error {
	f, addr := c.args["fmt"].(format), uint64(c.args.num("addr"))
	if f.kind == 'i' {
		c.disassemble(read, addr, f.count)
		return nil
	}
	line := 16
	if f.size == 1 {
		line = 8
	}
	left, unit := f.size*f.count, f.size
	if f.kind == 'c' {
		unit = 1
	}
	for left > 0 {
		b := make([]byte, min(left, line))
		c.printf("%0*x:", width, addr)
		if read(addr, b) != nil {
			c.printf(" Cannot access memory\n")
			break
		}
		for i := 0; i < len(b); i += unit {
			c.printf(" %s", item(f.kind, unit, load(b[i:i+unit])))
		}
		c.printf("\n")
		addr, left = addr+uint64(len(b)), left-len(b)
	}
	return nil
}

func load(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// item prints a value of some bytes in a column wide enough for any such.
func item(kind byte, size int, v uint64) string {
	bits := size * 8
	decimal := (bits*10 + 32) / 33
	switch kind {
	case 'o':
		return fmt.Sprintf("%*s", (bits+2)/3, alternate("0", "%o", v))
	case 'u':
		return fmt.Sprintf("%*d", decimal, v)
	case 'd':
		return fmt.Sprintf("%*d", decimal, int64(v))
	case 'c':
		return quoted(byte(v))
	}
	return fmt.Sprintf("0x%0*x", bits/4, v)
}

// maxInstruction is the length of the longest instruction.
const maxInstruction = 15

func (c *call) disassemble(read reader, addr uint64, count int) {
	mode := c.mode()
	for range count {
		var b []byte
		for n := maxInstruction; n > 0 && b == nil; n-- { // memory may end sooner
			if p := make([]byte, n); read(addr, p) == nil {
				b = p
			}
		}
		if b == nil {
			c.printf("0x%08x: unable to read memory\n", addr)
			return
		}
		text := fmt.Sprintf(".byte    0x%02x", b[0])
		inst, err := x86asm.Decode(b, mode)
		if err == nil {
			text = x86asm.GNUSyntax(inst, addr, nil)
		} else {
			inst.Len = 1
		}
		c.printf("0x%08x:  %-24s %s\n", addr, fmt.Sprintf("% x", b[:inst.Len]), text)
		addr += uint64(inst.Len)
	}
}

// mode returns the width of the code that the CPU runs, in bits.
func (c *call) mode() int {
	efer, _ := c.register("efer")
	cr0, _ := c.register("cr0")
	switch {
	case efer&(1<<10) != 0:
		return 64
	case cr0&1 != 0:
		return 32
	}
	return 16
}
