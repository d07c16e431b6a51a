package tables

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func desc(cpus int, reduced bool) Desc {
	d := Desc{
		Reduced: reduced, Base: 0x7ff0_0000, End: 0x7ff0_0000 + MaxSize(cpus), RSDPAt: 0xf0000,
		ECAM: Window{0xb000_0000, 256 << 20}, Window32: Window{0xc000_0000, 0x3ec0_0000}, Window64: Window{0x1_8000_0000, 32 << 30},
		RAM: []Window{{0, 2 << 30}, {4 << 30, 1 << 30}}, Hotplug: Window{5 << 30, 8 << 30},
		PIRQ:   func(slot, pin uint8) int { return 16 + int(slot+pin)%8 },
		PMBase: 0x600, SCI: 9, GED: 0xfea0_0000, GEDIRQ: 9, Serial: []int{0, 1}, I8042: !reduced, RTC: true, Panic: 0x505, GenID: 0xf1000,
	}
	if !reduced {
		d.CPUBlock = 0xcd8
	}
	for i := range cpus {
		d.CPUs = append(d.CPUs, CPU{APICID: uint32(i), Present: i < cpus/2+1})
	}
	return d
}

func build(t *testing.T, d Desc) map[string][]byte {
	t.Helper()
	blobs, err := Build(d)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	end := uint64(0)
	for _, b := range blobs {
		found[string(b.Data[:4])] = b.Data
		if b.Addr < end && b.Addr != d.RSDPAt {
			t.Errorf("%s at %#x overlaps the table before it", b.Data[:4], b.Addr)
		}
		end = b.Addr + uint64(len(b.Data))
		if string(b.Data[:4]) != "FACS" && sum(b.Data) != 0 {
			t.Errorf("checksum of %s is wrong", b.Data[:4])
		}
	}
	return found
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

func TestTables(t *testing.T) {
	for _, cpus := range []int{1, 8, 300, 1024} {
		for _, reduced := range []bool{false, true} {
			found := build(t, desc(cpus, reduced))
			if len(found["FACP"]) != 276 || found["DSDT"] == nil || found["XSDT"] == nil || found["MCFG"] == nil {
				t.Errorf("tables %v", len(found))
			}
			if n := strings.Count(string(found["DSDT"]), "ACPI0007"); n != cpus {
				t.Errorf("%d processors of %d", n, cpus)
			}
		}
	}
}

func TestMADT(t *testing.T) {
	m := build(t, desc(300, false))["APIC"][44:]
	local, x2 := 0, 0
	for len(m) > 0 {
		switch m[0] {
		case 0:
			// The first half is there; the others may come.
			if flags := binary.LittleEndian.Uint32(m[4:]); (flags == 1) != (local <= 150) || flags != 1 && flags != 2 {
				t.Errorf("CPU %d has flags %d", local, flags)
			}
			local++
		case 9:
			if id := binary.LittleEndian.Uint32(m[4:]); id < 255 {
				t.Errorf("x2APIC entry for APIC id %d", id)
			}
			x2++
		}
		m = m[m[1]:]
	}
	if local != 255 || x2 != 45 {
		t.Errorf("%d local and %d x2APIC entries", local, x2)
	}
}

func TestSRAT(t *testing.T) {
	found := build(t, desc(300, false))["SRAT"]
	local, x2 := 0, 0
	var memory [][3]uint64
	for s := found[48:]; len(s) > 0; s = s[s[1]:] {
		switch s[0] {
		case 0:
			local++
		case 2:
			x2++
		case 1:
			memory = append(memory, [3]uint64{
				binary.LittleEndian.Uint64(s[8:]), binary.LittleEndian.Uint64(s[16:]), uint64(binary.LittleEndian.Uint32(s[28:])),
			})
		}
	}
	want := [][3]uint64{{0, 2 << 30, 1}, {4 << 30, 1 << 30, 1}, {5 << 30, 8 << 30, 3}}
	if local != 255 || x2 != 45 || !slices.Equal(memory, want) {
		t.Errorf("%d local and %d x2APIC entries, memory %x", local, x2, memory)
	}
	d := desc(1, false)
	d.Hotplug = Window{}
	if build(t, d)["SRAT"] != nil {
		t.Error("an SRAT where no memory can come")
	}
}

func TestTooSmall(t *testing.T) {
	d := desc(64, false)
	d.End = d.Base + 4096
	if _, err := Build(d); err == nil {
		t.Error("tables reach beyond their end")
	}
}

// TestIASL has ACPICA's compiler disassemble and recompile the tables.
func TestIASL(t *testing.T) {
	iasl, err := exec.LookPath("iasl")
	if err != nil {
		t.Fatal("iasl is missing: apt-get install acpica-tools")
	}
	for name, d := range map[string]Desc{"q35": desc(4, false), "microvm": desc(2, true)} {
		dir := t.TempDir()
		for sig, data := range build(t, d) {
			if sig == "RSD " || sig == "XSDT" {
				continue
			}
			aml := filepath.Join(dir, sig+".aml")
			if err := os.WriteFile(aml, data, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(iasl, "-d", aml).CombinedOutput()
			if err != nil || strings.Contains(string(out), "Error") {
				t.Errorf("%s %s: %v\n%s", name, sig, err, out)
			}
			if sig != "DSDT" {
				continue
			}
			// 6035: QEMU's name of the generation device has no number.
			out, err = exec.Command(iasl, "-f", "-vw", "6035", "-vs", strings.TrimSuffix(aml, ".aml")+".dsl").CombinedOutput()
			if err != nil || !strings.Contains(string(out), " 0 Errors") || !strings.Contains(string(out), " 0 Warnings") {
				t.Errorf("%s %s: %v\n%s", name, sig, err, out)
			}
		}
	}
}

// TestAML has ACPICA's interpreter run the processors' methods. The registers all read as
// what they are filled with, or what was written to them.
func TestAML(t *testing.T) {
	acpiexec, err := exec.LookPath("acpiexec")
	if err != nil {
		t.Fatal("acpiexec is missing: apt-get install acpica-tools")
	}
	aml := filepath.Join(t.TempDir(), "dsdt.aml")
	if err := os.WriteFile(aml, build(t, desc(4, false))["DSDT"], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ fill, run, want string }{
		{"0", `\_SB.CPUS.C002._STA`, "= 0000000000000000"},
		{"1", `\_SB.CPUS.C002._STA`, "= 000000000000000F"},
		{"1", `\_SB.CPUS.C003._MAT`, "[Buffer] Length 08 ="},
		{"1", `\_SB.CPUS.CTFY 2 1`, "System Notify on [C002]"},
		{"1", `\_SB.CPUS.CTFY 3 3`, "(Eject Request)"},
		{"1", `\_SB.CPUS.C001._EJ0 1`, "No object was returned"},
		{"1", `\_SB.CPUS.COST 1 2 3`, "No object was returned"},
		{"1", `\_GPE._E02`, "No object was returned"},
		{"1", `\_SB.CPUS.C000._EJ0 1`, "AE_NOT_FOUND"},
	} {
		out, err := exec.Command(acpiexec, "-fv", c.fill, "-b", "execute "+c.run, aml).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "AE_") != (c.want == "AE_NOT_FOUND") {
			t.Errorf("%s: %v, no %q in\n%s", c.run, err, c.want, out)
		}
	}
}
