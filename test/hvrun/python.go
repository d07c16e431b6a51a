package hvrun

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Source returns the folder with the programs of QEMU's source package that `make deps`
// has got.
func Source(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "hv-interop", "qemu")
	if _, err := os.Stat(filepath.Join(dir, "scripts/qmp/qmp-shell")); err != nil {
		t.Fatalf("%v: run `make deps` to get what the tests need", err)
	}
	return dir
}

// Python returns a command that runs a script with QEMU's library. Its home is
// a folder of the test's.
func Python(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Tool(t, "/usr/bin/python3"), append([]string{"-u", script}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(Source(t), "python"), "PYTHONDONTWRITEBYTECODE=1", "HOME="+cmd.Dir, "TERM=dumb")
	return cmd
}
