package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// script returns the path of one of our scripts.
func script(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// succeeds runs a command whose output must end in what is wanted.
func succeeds(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), want) {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// TestLibrary has the clients of QEMU's Python library speak to hv, and to QEMU,
// so that it is known that the scripts are right.
func TestLibrary(t *testing.T) {
	for _, program := range []string{hvrun.Binary(t), hvrun.Tool(t, qemu)} {
		s := serve(t, program)
		dial(t, s.Proc, s.plain).Close()
		succeeds(t, hvrun.Python(t, script(t, "legacy.py"), s.plain), "legacy: all is well")
		succeeds(t, hvrun.Python(t, script(t, "asyncio_client.py"), s.plain), "asyncio: all is well")
	}
}

// TestMachine has qemu.machine launch hv.
func TestMachine(t *testing.T) {
	dir, err := os.MkdirTemp("", "m") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	succeeds(t, hvrun.Python(t, script(t, "machine.py"), hvrun.Binary(t), dir), "machine: all is well")
}

// has tells whether hv has all of these commands.
func has(t testing.TB, s *server, commands ...string) bool {
	t.Helper()
	c := dial(t, s.Proc, s.plain)
	defer c.Close()
	c.send(negotiate + `{"execute": "query-commands"}`)
	c.until(line)
	c.until(line)
	list := c.until(line)
	return !slices.ContainsFunc(commands, func(name string) bool { return !strings.Contains(list, `"`+name+`"`) })
}

// TestGoClients has Go libraries as Debian packages them, go-qemu and govmm,
// speak to hv, and to QEMU as a check of the programs.
func TestGoClients(t *testing.T) {
	program := filepath.Join(t.TempDir(), "goclients")
	cmd := exec.Command(hvrun.Tool(t, "go"), "build", "-o", program, "./testdata/goclients")
	cmd.Env = append(os.Environ(), "GO111MODULE=off", "GOPATH=/usr/share/gocode", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v, have `make deps` install the libraries\n%s", err, out)
	}
	for _, monitor := range []string{hvrun.Binary(t), hvrun.Tool(t, qemu)} {
		s := serve(t, monitor)
		dial(t, s.Proc, s.plain).Close()
		succeeds(t, exec.Command(program, s.plain), "goclients: all is well")
		if s.Wait(t) != 0 {
			t.Error(s.Output())
		}
	}
}
