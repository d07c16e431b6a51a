package qapi

import (
	"testing"
)

// TestBucket compares places in QEMU's table with those computed from its rule
// by other means.
func TestBucket(t *testing.T) {
	prev := uint32(0)
	for _, name := range []string{"thread-id", "props", "qom-path", "cpu-index", "target"} {
		b := bucket([]byte(name))
		if b < prev {
			t.Errorf("%s comes before the member before it", name)
		}
		prev = b
	}
}

// TestOrderedCollision checks that of two members in one bucket the last comes
// first, as QEMU's lists are.
func TestOrderedCollision(t *testing.T) {
	names := map[uint32]string{}
	var a, b string
	for i := 'a'; i <= 'z' && b == ""; i++ {
		for j := 'a'; j <= 'z' && b == ""; j++ {
			for k := 'a'; k <= 'z'; k++ {
				n := string([]rune{i, j, k})
				if other, ok := names[bucket([]byte(n))]; ok {
					a, b = other, n
					break
				}
				names[bucket([]byte(n))] = n
			}
		}
	}
	var d Document
	at := d.Open(Object)
	for _, n := range []string{a, b} {
		d.AddString([]byte(n))
		d.AddNull()
	}
	d.Close(at, 2)
	e := NewEncoder(false)
	e.Value(d.Root())
	if want := `{"` + b + `": null, "` + a + `": null}`; string(e.Bytes()) != want {
		t.Errorf("%s, want %s", e.Bytes(), want)
	}
}

func TestDocumentKeepsLittle(t *testing.T) {
	var d Document
	for range keep + 1 {
		d.AddNull()
	}
	d.Reset()
	if cap(d.nodes) != 0 || d.Root().Kind() != None {
		t.Error("a large document's buffers are kept")
	}
	e := NewEncoder(false)
	e.String(string(make([]byte, keep)))
	e.Reset()
	if cap(e.buf) != 0 {
		t.Error("a large message's buffer is kept")
	}
}

func TestZeroValue(t *testing.T) {
	var v Value
	if v.Kind() != None || v.Text() != nil || v.Bool() || v.Len() != 0 || v.Get("a").Kind() != None || v.Clone() != v {
		t.Error("the zero value holds something")
	}
	for range v.Members() {
		t.Error("the zero value has members")
	}
	for range v.Elements() {
		t.Error("the zero value has elements")
	}
}
