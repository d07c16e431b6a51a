package fdqmp

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/hypervisor/fdset"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// TestCommands runs commands with and without a descriptor and compares with what QEMU
// answers.
func TestCommands(t *testing.T) {
	var r fdset.Registry
	defer r.Close()
	next, last := -1, -1
	table := dispatch.NewTable()
	Register(table, &r, func(context.Context) (int, bool) { fd := next; next = -1; return fd, fd >= 0 })
	run := func(command string) string {
		v, err := wire.Parse([]byte(command))
		if err != nil {
			t.Fatal(err)
		}
		e := qapi.NewEncoder(false)
		req := table.Parse(v, dispatch.Client{Negotiated: true})
		req.Run(context.Background(), e)
		return strings.TrimSpace(string(e.Bytes()))
	}
	fail := func(text string) string { return `{"error": {"class": "GenericError", "desc": "` + text + `"}}` }
	const ok, none = `{"return": {}}`, "No file descriptor supplied via SCM_RIGHTS"
	for _, c := range []struct {
		pass          bool
		command, want string // FD is the number of what is passed, or was last
	}{
		{false, `{"execute": "getfd", "arguments": {"fdname": "a"}}`, fail(none)},
		{true, `{"execute": "getfd", "arguments": {"fdname": "1a"}}`, fail("Parameter 'fdname' expects a name not starting with a digit")},
		{true, `{"execute": "getfd", "arguments": {"fdname": "a"}}`, ok},
		{false, `{"execute": "closefd", "arguments": {"fdname": "b"}}`, fail("File descriptor named 'b' not found")},
		{false, `{"execute": "closefd", "arguments": {"fdname": "a"}}`, ok},
		{false, `{"execute": "add-fd"}`, fail(none)},
		{true, `{"execute": "add-fd", "arguments": {"fdset-id": -1}}`, fail("Parameter 'fdset-id' expects a non-negative value")},
		{false, `{"execute": "query-fdsets"}`, `{"return": []}`},
		{true, `{"execute": "add-fd", "arguments": {"fdset-id": 5}}`, `{"return": {"fd": FD, "fdset-id": 5}}`},
		{false, `{"execute": "remove-fd", "arguments": {"fdset-id": 5}}`, ok},
		{true, `{"execute": "add-fd", "arguments": {"opaque": "x"}}`, `{"return": {"fd": FD, "fdset-id": 0}}`},
		{false, `{"execute": "query-fdsets"}`, `{"return": [{"fds": [{"fd": FD, "opaque": "x"}], "fdset-id": 0}]}`},
		{false, `{"execute": "remove-fd", "arguments": {"fdset-id": 0, "fd": 77777}}`, fail("File descriptor named 'fdset-id:0, fd:77777' not found")},
		{false, `{"execute": "remove-fd", "arguments": {"fdset-id": 9}}`, fail("File descriptor named 'fdset-id:9' not found")},
		{false, `{"execute": "remove-fd", "arguments": {"fdset-id": 0, "fd": FD}}`, ok},
		{false, `{"execute": "query-fdsets"}`, `{"return": []}`},
	} {
		if c.pass {
			fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			next, last = fd, fd
		}
		fill := func(s string) string { return strings.ReplaceAll(s, "FD", strconv.Itoa(last)) }
		if got := run(fill(c.command)); got != fill(c.want) {
			t.Errorf("%s: %s, want %s", c.command, got, fill(c.want))
		}
	}
}
