package boot

import (
	"bytes"
	"testing"

	"hv/hypervisor/mem"
)

const mib = 1 << 20

// ram returns a guest with n bytes at 0 that hold junk, as after a reset.
func ram(t testing.TB, n int) (*mem.Memory, []byte) {
	t.Helper()
	b := bytes.Repeat([]byte{0xa5}, n)
	m, err := mem.New(mem.Region{Data: b, FD: -1})
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

// payload is a kernel body that shows where each of its bytes comes from.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// synthBzImage returns a bzImage of two setup sectors whose kernel is body.
func synthBzImage(body []byte) []byte {
	const sects = 2
	b := make([]byte, (sects+1)*sector)
	b[offSetupHeader] = sects
	le.PutUint32(b[offSysSize:], uint32((len(body)+paragraph-1)/paragraph))
	le.PutUint16(b[offBootFlag:], bootFlag)
	b[offJump], b[offJump+1] = 0xeb, 0x6a
	copy(b[offHeader:], headerMagic)
	le.PutUint16(b[offVersion:], 0x20f)
	b[offLoadFlags] = loadedHigh
	le.PutUint32(b[offInitrdAddrMax:], 0x7fff_ffff)
	le.PutUint32(b[offKernelAlignment:], 2*mib)
	b[offRelocatable] = 1
	le.PutUint16(b[offXLoadFlags:], 0x3f)
	le.PutUint32(b[offCmdlineSize:], 2047)
	le.PutUint64(b[offPrefAddress:], 16*mib)
	le.PutUint32(b[offInitSize:], 4*mib)
	return append(b, body...)
}

// program is a segment of a synthetic ELF file.
type program struct {
	paddr, memsz uint64
	data         []byte
}

// note returns an ELF note.
func note(name string, typ uint32, desc []byte, align uint64) []byte {
	b := le.AppendUint32(nil, uint32(len(name)))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = append(le.AppendUint32(b, typ), name...)
	b = append(b, make([]byte, alignUp(uint64(len(b)), align)-uint64(len(b)))...)
	b = append(b, desc...)
	return append(b, make([]byte, alignUp(uint64(len(b)), align)-uint64(len(b)))...)
}

func pvhNote(entry uint32) []byte {
	return note(xenNoteName, xenPhys32Entry, le.AppendUint32(nil, entry), 4)
}

// synthELF returns an ELF file of the class with a PT_LOAD for each program and
// a PT_NOTE for notes, unless they are nil.
func synthELF(class byte, notes []byte, programs ...program) []byte {
	entries := len(programs)
	if notes != nil {
		entries++
	}
	h := make([]byte, elfHeader64)
	copy(h, elfMagic)
	h[4], h[5], h[6] = class, elfDataLSB, 1
	le.PutUint16(h[16:], 2)
	le.PutUint16(h[18:], machineX64)
	if class == elfClass64 {
		le.PutUint64(h[32:], elfHeader64)
		le.PutUint16(h[54:], phdrSize64)
		le.PutUint16(h[56:], uint16(entries))
	} else {
		le.PutUint16(h[18:], machine386)
		le.PutUint32(h[28:], elfHeader64)
		le.PutUint16(h[42:], phdrSize32)
		le.PutUint16(h[44:], uint16(entries))
	}
	off := uint64(elfHeader64 + entries*phdrSize(class))
	var body []byte
	for _, p := range programs {
		h = append(h, phdr(class, ptLoad, off+uint64(len(body)), p.paddr, uint64(len(p.data)), p.memsz)...)
		body = append(body, p.data...)
	}
	if notes != nil {
		h = append(h, phdr(class, ptNote, off+uint64(len(body)), 0, uint64(len(notes)), uint64(len(notes)))...)
		body = append(body, notes...)
	}
	return append(h, body...)
}

func phdr(class byte, typ uint32, off, paddr, filesz, memsz uint64) []byte {
	b := make([]byte, phdrSize(class))
	le.PutUint32(b, typ)
	if class == elfClass64 {
		for i, v := range [...]uint64{off, paddr, paddr, filesz, memsz, 4} {
			le.PutUint64(b[8+8*i:], v)
		}
		return b
	}
	for i, v := range [...]uint64{off, paddr, paddr, filesz, memsz} {
		le.PutUint32(b[4+4*i:], uint32(v))
	}
	le.PutUint32(b[28:], 4)
	return b
}

// goodELF is a kernel of two segments, the first with memory beyond its data.
func goodELF(class byte) []byte {
	return synthELF(class, pvhNote(2*mib+16),
		program{2 * mib, 3 * pageSize, payload(pageSize)}, program{4 * mib, 100, payload(100)})
}
