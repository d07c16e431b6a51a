package acpi

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestGenerationID(t *testing.T) {
	const text = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
	id, err := ParseGenerationID(text)
	if err != nil || id.String() != text {
		t.Fatalf("%s, %v", id, err)
	}
	if got := hex.EncodeToString(id.Bytes()); got != "af6e4e32d1d1f64bbf41b9bb6c91fb87" {
		t.Errorf("in memory: %s", got)
	}
	if upper, err := ParseGenerationID("324E6EAF-D1D1-4BF6-BF41-B9BB6C91FB87"); err != nil || upper != id {
		t.Errorf("%s, %v", upper, err)
	}
	for _, bad := range []string{"", "324e6eaf", text + "0", text[1:], "324e6eafd1d14bf6bf41b9bb6c91fb87", "g24e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"} {
		if id, err := ParseGenerationID(bad); err == nil {
			t.Errorf("%q is %s", bad, id)
		}
	}
	a, _ := ParseGenerationID("auto")
	b, err := ParseGenerationID("auto")
	if err != nil || a == b || a.String()[14] != '4' {
		t.Errorf("random ones: %s, %s, %v", a, b, err)
	}
	if dev := GenerationDevice(0x1_000f_1000); !bytes.Contains(dev, []byte{0x0c, 0x00, 0x10, 0x0f, 0x00, 0x01}) {
		t.Errorf("address in %x", dev)
	}
}
