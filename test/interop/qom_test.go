package interop

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

// withObjects starts a VM with a device and an object that have names.
func withObjects(t *testing.T, program string) *server {
	t.Helper()
	s := serve(t, program, "-object", "rng-random,id=source,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=source,id=dice")
	dial(t, s.Proc, s.plain).Close()
	return s
}

// qom runs one of the qom scripts and returns what it prints and whether it succeeded.
func qom(t *testing.T, s *server, name string, args ...string) (string, bool) {
	t.Helper()
	cmd := hvrun.Python(t, filepath.Join(hvrun.Source(t), "scripts/qmp", name), append([]string{"--socket", s.plain}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// TestQOM uses qom-list, qom-get, qom-set and qom-tree on hv, and on QEMU, which
// says whether the test is right.
func TestQOM(t *testing.T) {
	for _, program := range []string{hvrun.Binary(t), hvrun.Tool(t, qemu)} {
		s := withObjects(t, program)
		for _, c := range []struct {
			ok   bool
			want string // a pattern
			args []string
		}{
			{true, `(?m)^machine/$`, []string{"qom-list", "/"}},
			{true, `(?m)^type$`, []string{"qom-list", "/"}},
			{true, `(?m)^dice/$`, []string{"qom-list", "/machine/peripheral"}},
			{true, `(?m)^source/$`, []string{"qom-list", "/objects"}},
			{true, `(?m)^@rng/$`, []string{"qom-list", "/machine/peripheral/dice"}},
			{true, `(?m)^filename$`, []string{"qom-list", "/objects/source"}},
			{false, `(?i)ExecuteError: Device '/nowhere' not found`, []string{"qom-list", "/nowhere"}},
			{true, `^/dev/urandom\n$`, []string{"qom-get", "/objects/source.filename"}},
			{true, `^virtio-rng-pci\n$`, []string{"qom-get", "/machine/peripheral/dice.type"}},
			{true, `^/objects/source\n$`, []string{"qom-get", "/machine/peripheral/dice.rng"}},
			{true, `^True\n$`, []string{"qom-get", "/machine/peripheral/dice.realized"}},
			{true, `^pc-q35-7.2-machine\n$`, []string{"qom-get", "/machine.type"}},
			{false, `ExecuteError: Property '.*\.nothing' not found`, []string{"qom-get", "/machine.nothing"}},
			{false, `ExecuteError: Device '/none' not found`, []string{"qom-get", "/none.x"}},
			{false, `ExecuteError: `, []string{"qom-set", "/machine.type", "x"}},
			{false, `ExecuteError: `, []string{"qom-set", "/machine/peripheral/dice.realized", "perhaps"}},
			{true, `(?m)^/machine/peripheral/dice$`, []string{"qom-tree"}},
			{true, `(?m)^  filename: /dev/urandom \(str(ing)?\)$`, []string{"qom-tree", "/objects"}},
		} {
			out, ok := qom(t, s, c.args[0], c.args[1:]...)
			if ok != c.ok || !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("%s %q: %v, %.2000s\nwant %q", filepath.Base(program), c.args, ok, out, c.want)
			}
		}
	}
}

// TestFuse mounts the tree of objects and walks it, reading all there is. QEMU's,
// which is slow, is for checking the test.
func TestFuse(t *testing.T) {
	programs := []string{hvrun.Binary(t)}
	if hvrun.Soak() {
		programs = append(programs, hvrun.Tool(t, qemu))
	}
	for _, program := range programs {
		s := withObjects(t, program)
		dir := t.TempDir()
		mountQOM(t, s, dir)
		counts := walk(t, dir)
		t.Logf("%s: %v", filepath.Base(program), counts)
		if counts["folders"] < 5 || counts["properties"] < 20 {
			t.Errorf("%s: there are only %v", program, counts)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "objects/source/filename")); err != nil || string(b) != "/dev/urandom\n" {
			t.Errorf("filename: %q, %v", b, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "machine/nothing")); !os.IsNotExist(err) {
			t.Errorf("a property that there is not: %v", err)
		}
	}
}

// mountQOM has qom-fuse mount a monitor's objects until the test ends.
func mountQOM(t *testing.T, s *server, dir string) {
	t.Helper()
	cmd := hvrun.Python(t, filepath.Join(hvrun.Source(t), "scripts/qmp/qom-fuse"), "--socket", s.plain, dir)
	cmd.Env = append(cmd.Env, "PYTHONPATH="+script(t, "fuse"))
	p := hvrun.StartCmd(t, cmd)
	t.Cleanup(func() {
		if out, err := exec.Command(hvrun.Tool(t, "fusermount3"), "-u", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v %s", err, out)
			return
		}
		p.Wait(t)
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if all, err := os.ReadDir(dir); err == nil && len(all) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-p.Ended():
			t.Fatalf("nothing was mounted: %s", p.Output())
		}
	}
}

// walk goes through a tree and counts what it finds. A property that can not be
// read must say that it is not permitted.
func walk(t *testing.T, dir string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			counts["folders"]++
		case d.Type()&fs.ModeSymlink != 0:
			counts["links"]++
			if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "..") {
				t.Errorf("%s: %q, %v", path, to, err)
			}
		default:
			counts["properties"]++
			if _, err := os.ReadFile(path); err != nil && !os.IsPermission(err) {
				t.Errorf("%s: %v", path, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return counts
}
