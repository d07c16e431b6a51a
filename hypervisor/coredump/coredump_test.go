package coredump

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"

	"hv/hypervisor/kvm"
)

func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func cpu(seed uint64, long bool) CPU {
	c := CPU{KernelGSBase: seed << 40}
	v := reflect.ValueOf(&c.Regs).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(seed<<32 + uint64(i) + 1)
	}
	c.Sregs.CS = kvm.Segment{Base: 0x1234, Limit: 0xffffffff, Selector: 0x10, Typ: 11, Present: 1, S: 1, L: 1, G: 1}
	c.Sregs.SS.Selector, c.Sregs.FS.Base, c.Sregs.GS.Base = 0x18, seed+0xf5, seed+0x65
	c.Sregs.GDT = kvm.DTable{Base: 0xfeed, Limit: 0x7f}
	c.Sregs.CR0, c.Sregs.CR2, c.Sregs.CR3, c.Sregs.CR4 = 1<<31|1, 2, 3, 4
	if long {
		c.Sregs.EFER = eferLMA
	}
	return c
}

func write(t *testing.T, d *Dump) *elf.File {
	t.Helper()
	var b bytes.Buffer
	var done atomic.Int64
	if err := Write(context.Background(), &b, d, &done); err != nil {
		t.Fatal(err)
	}
	if done.Load() != int64(Size(d.Blocks)) {
		t.Errorf("%d bytes of %d", done.Load(), Size(d.Blocks))
	}
	f, err := elf.NewFile(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_CORE || f.Class != elf.ELFCLASS64 || len(f.Sections) != 2 || f.Sections[1].Name != ".shstrtab" {
		t.Errorf("%+v, sections %v", f.FileHeader, f.Sections)
	}
	return f
}

// TestMemory reads the memory back, from two blocks with a hole between.
func TestMemory(t *testing.T) {
	d := &Dump{Blocks: []Block{{0, pattern(3<<20+4096, 1)}, {1 << 32, pattern(8192, 2)}}, CPUs: []CPU{cpu(1, true)}}
	f := write(t, d)
	if f.Machine != elf.EM_X86_64 || len(f.Progs) != 3 || f.Progs[0].Type != elf.PT_NOTE {
		t.Fatalf("%v, %d segments", f.Machine, len(f.Progs))
	}
	for i, p := range f.Progs[1:] {
		got, err := io.ReadAll(p.Open())
		if err != nil || !bytes.Equal(got, d.Blocks[i].Data) || p.Paddr != d.Blocks[i].Base || p.Vaddr != p.Paddr || p.Type != elf.PT_LOAD {
			t.Errorf("segment %d: %+v, %v", i, p.ProgHeader, err)
		}
	}
}

// notes cuts the notes apart.
func notes(t *testing.T, f *elf.File) (names []string, descs [][]byte) {
	t.Helper()
	b, err := io.ReadAll(f.Progs[0].Open())
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		n, d := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		names = append(names, string(b[12:12+n-1]))
		b = b[12+(n+3)&^3:]
		descs = append(descs, b[:d])
		b = b[(d+3)&^3:]
	}
	return names, descs
}

func TestNotes(t *testing.T) {
	d := &Dump{Blocks: []Block{{0, pattern(4096, 1)}}, CPUs: []CPU{cpu(1, true), cpu(2, true)}}
	names, descs := notes(t, write(t, d))
	if !reflect.DeepEqual(names, []string{"CORE", "CORE", "QEMU", "QEMU"}) {
		t.Fatal(names)
	}
	u64 := binary.LittleEndian.Uint64
	for i, c := range d.CPUs {
		status, state := descs[i], descs[i+2]
		if len(status) != 336 || len(state) != 440 {
			t.Fatalf("notes of %d and %d bytes", len(status), len(state))
		}
		// Offsets are those of the kernel's struct elf_prstatus and of QEMU's note.
		if binary.LittleEndian.Uint32(status[32:]) != uint32(i+1) || u64(status[112+8*16:]) != c.Regs.RIP || u64(status[112:]) != c.Regs.R15 ||
			u64(status[112+8*10:]) != c.Regs.RAX || u64(status[112+8*19:]) != c.Regs.RSP || u64(status[112+8*21:]) != c.Sregs.FS.Base {
			t.Errorf("status of CPU %d: %x", i, status)
		}
		if binary.LittleEndian.Uint32(state) != 1 || binary.LittleEndian.Uint32(state[4:]) != 440 || u64(state[8:]) != c.Regs.RAX ||
			u64(state[136:]) != c.Regs.RIP || u64(state[432:]) != c.KernelGSBase || u64(state[392+24:]) != 3 {
			t.Errorf("state of CPU %d: %x", i, state)
		}
		cs := state[152:]
		if binary.LittleEndian.Uint32(cs) != 0x10 || binary.LittleEndian.Uint32(cs[8:]) != 0xa09b00 || u64(cs[16:]) != 0x1234 {
			t.Errorf("CS of CPU %d: %x", i, cs[:24])
		}
	}
}

// TestOldCode checks the notes of a guest that is not in long mode.
func TestOldCode(t *testing.T) {
	d := &Dump{Blocks: []Block{{0, pattern(4096, 1)}}, CPUs: []CPU{cpu(1, false)}}
	f := write(t, d)
	_, descs := notes(t, f)
	if f.Machine != elf.EM_386 || len(descs[0]) != 144 {
		t.Fatalf("%v, %d bytes", f.Machine, len(descs[0]))
	}
	if binary.LittleEndian.Uint32(descs[0][24:]) != 1 || binary.LittleEndian.Uint32(descs[0][72+4*12:]) != uint32(d.CPUs[0].Regs.RIP) {
		t.Errorf("%x", descs[0])
	}
}

// TestSegments checks what page tables map: at its linear address, cut where there is no
// memory, the same bytes twice if they are mapped twice.
func TestSegments(t *testing.T) {
	d := &Dump{
		Blocks:   []Block{{0x1000, pattern(0x3000, 1)}, {0x10000, pattern(0x1000, 2)}},
		Segments: []Segment{{0xffff_8000_0000_0000, 0, 0x20000}, {0x40_0000, 0x2000, 0x1000}, {0x50_0000, 0x8000, 0x1000}},
	}
	f := write(t, d)
	for i, want := range []struct{ vaddr, paddr, size uint64 }{
		{0xffff_8000_0000_1000, 0x1000, 0x3000}, {0x40_0000, 0x2000, 0x1000}, {0xffff_8000_0001_0000, 0x10000, 0x1000},
	} {
		p := f.Progs[i+1]
		got, err := io.ReadAll(p.Open())
		at := Clip(d.Blocks, want.paddr, want.size)
		if err != nil || p.Vaddr != want.vaddr || p.Paddr != want.paddr || p.Filesz != want.size || !bytes.Equal(got, at[0].Data) {
			t.Errorf("segment %d: %+v", i, p.ProgHeader)
		}
	}
	if len(f.Progs) != 4 {
		t.Errorf("%d segments", len(f.Progs))
	}
}

func TestClip(t *testing.T) {
	blocks := []Block{{0x1000, make([]byte, 0x1000)}, {0x4000, make([]byte, 0x1000)}}
	for _, c := range []struct{ begin, length, size uint64 }{
		{0, ^uint64(0), 0x2000}, {0, 0x1000, 0}, {0x1800, 0x800, 0x800}, {0x1fff, 0x2002, 2}, {0x4fff, ^uint64(0), 1}, {0x2000, 0x2000, 0},
	} {
		if got := Size(Clip(blocks, c.begin, c.length)); got != c.size {
			t.Errorf("%#x+%#x holds %#x bytes, want %#x", c.begin, c.length, got, c.size)
		}
	}
}

// TestManySegments checks that more segments than the header can count are read back.
func TestManySegments(t *testing.T) {
	d := &Dump{Blocks: []Block{{0, pattern(4096, 1)}}}
	for i := range uint64(70000) {
		d.Segments = append(d.Segments, Segment{1<<40 + i*8192, 0, 4096})
	}
	var b bytes.Buffer
	if err := Write(context.Background(), &b, d, new(atomic.Int64)); err != nil {
		t.Fatal(err)
	}
	phnum := binary.LittleEndian.Uint16(b.Bytes()[56:])
	info := binary.LittleEndian.Uint32(b.Bytes()[64+44:])
	if phnum != 0xffff || info != 70001 {
		t.Errorf("%d segments, %d in the section", phnum, info)
	}
}

// full is a disk without room.
type full struct{ left int }

var errFull = errors.New("no room")

func (f *full) Write(p []byte) (int, error) {
	n := min(f.left, len(p))
	f.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestErrors(t *testing.T) {
	d := &Dump{Blocks: []Block{{0, make([]byte, 3*chunk)}}}
	for _, room := range []int{0, 100, 2 * chunk} {
		if err := Write(context.Background(), &full{room}, d, new(atomic.Int64)); !errors.Is(err, errFull) {
			t.Errorf("room for %d: %v", room, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Write(ctx, io.Discard, d, new(atomic.Int64)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
