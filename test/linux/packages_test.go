package linux

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// elsewhere are tests of packages that skip where the kernel lacks something; the bed's has it.
var elsewhere = []struct{ pkg, test, module string }{
	{"hv/net/rxfilter", "TestFilteringParent", "bonding"},
	{"hv/net/vhostnet", "TestKernel", "vhost_net"},
}

// testProgram is where a package's tests are.
func testProgram(dir, pkg string) string { return filepath.Join(dir, filepath.Base(pkg)+".test") }

// TestPackages runs them.
func TestPackages(t *testing.T) {
	for _, e := range elsewhere {
		run(t, "modprobe", e.module)
		out, err := exec.Command(testProgram(assets.dir, e.pkg), "-test.v", "-test.run", "^"+e.test+"$").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+e.test) {
			t.Errorf("%s: %v\n%s", e.pkg, err, out)
		}
	}
}
