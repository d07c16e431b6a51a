package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"hv/qmp/qapi"
)

// suspender returns a kernel that PVH starts at 1 MiB. In assembly:
//
//	find "FACS" from 0x3fe0000 on, in steps of 64; write 0x9012 to its waking vector
//	copy the code for real mode to 0x9012; write 'k' to 0x9000
//	print 'S'; write SLP_EN and SLP_TYP 1 to port 0x604; print '!' and again if that returns
//	real mode: print 'W' and the byte at 0x9000, 'w' if WAK_STS is set, else 'n'; SLP_TYP 0
func suspender(t *testing.T) string {
	t.Helper()
	code, err := hex.DecodeString("" +
		"bf0000fe03813f46414353740f83c74081ff0000" +
		"000472edb03feb21c7470c12900000be50001000" +
		"bf12900000b928000000f3a4c605009000006bb0" +
		"5366baf803ee66ba040666b8002466efb021ebed" +
		"baf803b057eeb800098ed8a00000eeba0006edf6" +
		"c480b06e7402b077baf803eeba0406b80020eff4")
	if err != nil {
		t.Fatal(err)
	}
	const at, headers = 0x100000, 64 + 2*56
	note := []byte{4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0, 0, at >> 16, 0}
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
			Entry: at, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2,
		},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: 7, Off: headers, Vaddr: at, Paddr: at, Filesz: uint64(len(code)), Memsz: uint64(len(code))},
		elf.Prog64{Type: uint32(elf.PT_NOTE), Flags: 4, Off: headers + uint64(len(code)), Filesz: uint64(len(note)), Memsz: uint64(len(note))},
		code, note,
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestSuspend has a guest suspend itself and wakes it: it goes on in real mode where it said,
// with its RAM, and is told that it was woken.
func TestSuspend(t *testing.T) {
	v := start(t, "-nodefaults", "-display", "none", "-cpu", "host", "-m", "64", "-smp", "2", "-serial", "stdio", "-S", "-kernel", suspender(t))
	if r := query(t, v, qapi.CmdQueryCurrentMachine, qapi.Empty{}); !r.WakeupSuspendSupport {
		t.Errorf("%+v", r)
	}
	if err := v.try("system_wakeup"); err == nil || err.Error() != "Unable to wake up: guest is not in suspended state" {
		t.Errorf("wake-up of a guest that is not suspended: %v", err)
	}
	v.do(t, "cont")
	v.event(t, "SUSPEND")
	v.do(t, "cont")
	if s := v.status(t); s != qapi.RunStateSuspended {
		t.Errorf("state %s", s)
	}
	v.do(t, "system_wakeup")
	v.event(t, "WAKEUP")
	v.ends(t, 0)
	v.Expect(t, "SWkw")
}
