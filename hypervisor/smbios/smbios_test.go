package smbios

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// walk splits structures into formatted areas and strings, as a guest does.
func walk(t *testing.T, b []byte) map[byte][][]string {
	t.Helper()
	found := map[byte][][]string{}
	for len(b) > 0 {
		typ, n := b[0], int(b[1])
		end := bytes.Index(b[n:], []byte{0, 0})
		if n < 4 || end < 0 {
			t.Fatalf("structure of type %d is cut off", typ)
		}
		var list []string
		for _, s := range bytes.Split(b[n:n+end], []byte{0}) {
			list = append(list, string(s))
		}
		found[typ] = append(found[typ], list)
		b = b[n+end+2:]
		if typ == 127 {
			break
		}
	}
	if len(b) != 0 {
		t.Errorf("%d bytes follow the end", len(b))
	}
	return found
}

func TestBuild(t *testing.T) {
	c := Config{
		UUID: "00112233-4455-6677-8899-aabbccddeeff", Product: "q35", Version: "1", Memory: 40 << 30, Sockets: 2, Cores: 4, Threads: 2,
		Options: []map[string]string{
			{"type": "1", "serial": "S1", "manufacturer": "ACME"}, {"type": "11", "value": "hello"}, {"type": "11", "value": "world"},
			{"type": "2", "product": "board"},
		},
	}
	entry, structures := Build(c, 0x1234)
	var sum byte
	for _, b := range entry {
		sum += b
	}
	if sum != 0 || string(entry[:5]) != "_SM3_" || binary.LittleEndian.Uint64(entry[16:]) != 0x1234 || int(binary.LittleEndian.Uint32(entry[12:])) != len(structures) {
		t.Errorf("entry point % x", entry)
	}
	found := walk(t, structures)
	if got := strings.Join(found[1][0], ","); got != "ACME,q35,1,S1" {
		t.Errorf("system %s", got)
	}
	if got := strings.Join(found[11][0], ","); got != "hello,world" {
		t.Errorf("OEM strings %s", got)
	}
	if len(found[4]) != 2 || len(found[17]) != 3 || len(found[2]) != 1 || len(found[127]) != 1 {
		t.Errorf("%d processors, %d memory devices", len(found[4]), len(found[17]))
	}
	i := bytes.Index(structures, []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88})
	if i < 0 {
		t.Error("the UUID is not in its mixed byte order")
	}
	again, more := Build(c, 0x1234)
	if !bytes.Equal(again, entry) || !bytes.Equal(more, structures) {
		t.Error("not the same twice")
	}
}

func TestWithoutOptions(t *testing.T) {
	_, structures := Build(Config{Memory: 1 << 30}, 0)
	found := walk(t, structures)
	if len(found[2]) != 0 || len(found[11]) != 0 || found[1][0][0] != "hv" {
		t.Errorf("%v", found)
	}
}

func TestCheck(t *testing.T) {
	for _, good := range []map[string]string{{"type": "0", "vendor": "x"}, {"type": "1", "uuid": "00112233-4455-6677-8899-aabbccddeeff"}, {"type": "17", "speed": "3200"}} {
		if err := Check(good); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range []map[string]string{{"type": "x"}, {"type": "9"}, {"type": "0", "serial": "1"}, {"type": "1", "uuid": "12"}} {
		if err := Check(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}
