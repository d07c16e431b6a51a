package interop

import (
	"fmt"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// deviations are all that hv is known to answer otherwise than QEMU, and why.
var deviations = []struct{ id, hv, qemu, why string }{
	{"1e400", "1e999", "inf", "QEMU prints what no JSON parser reads"},
	{"-1e400", "-1e999", "-inf", "the same below zero"},
	{"-0.0", "-0.0", "-0", "QEMU's is read back as an integer, without its sign"},
	{"0e0", "0", "", "RFC 8259 allows an exponent after a zero, QEMU's reader does not"},
	{"0E+7", "0", "", "the same"},
}

// TestDeviations sees that hv and QEMU differ where it is known that they do.
func TestDeviations(t *testing.T) {
	ours, theirs := serve(t, hvrun.Binary(t)), serve(t, hvrun.Tool(t, qemu))
	for _, d := range deviations {
		c := conversation{"", []string{negotiate, "{'execute': 'query-name', 'id': " + d.id + "}"}}
		for _, side := range []struct {
			s    *server
			want string
		}{{ours, d.hv}, {theirs, d.qemu}} {
			got := said(t, side.s, side.s.plain, c)[1]
			want := fmt.Sprintf(`{"return": {"name": "interop"}, "id": %s}`, side.want)
			if side.want == "" {
				want = "JSON parse error"
			}
			if !strings.Contains(got, want) {
				t.Errorf("id %s: %q, want %s (%s)", d.id, got, want, d.why)
			}
		}
	}
}
