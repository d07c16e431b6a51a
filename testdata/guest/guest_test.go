package guest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hv/test/hvrun"
)

func TestELF(t *testing.T) {
	if len(ELF) >= 64<<10 {
		t.Errorf("guest.elf has %d bytes, not less than 64 KiB", len(ELF))
	}
	f, err := elf.NewFile(bytes.NewReader(ELF))
	if err != nil {
		t.Fatal(err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC {
		t.Errorf("%v %v %v", f.Class, f.Machine, f.Type)
	}
	var entry uint32
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE {
			entry = pvhEntry(t, p)
		}
		if p.Type == elf.PT_LOAD && (p.Paddr < 1<<20 || p.Paddr+p.Memsz > 4<<20) {
			t.Errorf("segment at %#x+%#x is not what the first page tables map", p.Paddr, p.Memsz)
		}
	}
	if uint64(entry) != f.Entry {
		t.Errorf("PVH entry %#x, ELF entry %#x", entry, f.Entry)
	}
}

// pvhEntry returns the entry in a note segment of one XEN_ELFNOTE_PHYS32_ENTRY.
func pvhEntry(t *testing.T, p *elf.Prog) uint32 {
	b := make([]byte, 20)
	if _, err := p.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if want := []byte("\x04\x00\x00\x00\x04\x00\x00\x00\x12\x00\x00\x00Xen\x00"); !bytes.Equal(b[:16], want) {
		t.Fatalf("note is %q", b)
	}
	return binary.LittleEndian.Uint32(b[16:])
}

// TestRebuild compares what is committed with what the sources make.
func TestRebuild(t *testing.T) {
	const version = "12.2.0"
	out, err := exec.Command(hvrun.Tool(t, "gcc"), "-dumpfullversion").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != version {
		t.Fatalf("guest.elf is built by gcc %s of Debian 12 (apt-get install gcc-12), this is gcc %s", version, got)
	}
	path := filepath.Join(t.TempDir(), "guest.elf")
	if out, err := exec.Command("make", "OUT="+path).CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	built, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, ELF) {
		t.Errorf("guest.elf (%d bytes) is not what its sources make (%d bytes): run make guest and commit it", len(ELF), len(built))
	}
}
