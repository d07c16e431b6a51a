// Package arch holds the repository to its architecture: who may import whom,
// a doc comment in every package, and the size budget. It has tests only.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Dir, Doc string
	Imports              []string
	GoFiles              []string
	TestGoFiles          []string
	XTestGoFiles         []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "hv/...", "hv/testdata/guest")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	d, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rule forbids, to the packages under from, imports of ours outside allowed.
type rule struct {
	from    string
	allowed []string
	reason  string
}

// The first rule that matches a package is its rule.
var rules = []rule{
	{"hv/qmp/qapi", nil, "the wire types are the leaf that everything may share"},
	{"hv/hypervisor/kvm/kvmtest", []string{"hv/hypervisor/kvm"}, "tests of KVM's users need KVM and no more"},
	{"hv/hypervisor/kvm", nil, "the kernel's interface knows nothing of machines"},
	{"hv/hypervisor/mem", nil, "guest memory is a leaf that devices and KVM share"},
	{"hv/hypervisor/cpuid", nil, "CPU models are pure data and functions"},
	{"hv/hypervisor/smbios", nil, "a table builder needs no machine"},
	{"hv/devices/bus", nil, "address spaces are a leaf"},
	{"hv/devices/irq", []string{"hv/devices/irq"}, "interrupt interfaces are a leaf"},
	{"hv/devices/devqmp", []string{"hv/devices", "hv/qmp", "hv/hypervisor/mem"}, "handlers see the devices and the command table"},
	{"hv/net/netqmp", []string{"hv/net", "hv/qmp"}, "handlers see the back ends and the command table"},
	{"hv/devices/virtio/vhost", nil, "what serves a device's rings is the same for devices and for the host's back ends"},
	{"hv/devices/virtio/vhostwire", nil, "a protocol is the same for both of its sides"},
	{"hv/devices/virtio/virtionet", []string{"hv/devices/virtio", "hv/hypervisor/mem", "hv/block/uring"},
		"a NIC knows a link by its descriptors; io_uring is a binding of the kernel's interface that needs nothing of ours"},
	{"hv/devices", []string{"hv/devices", "hv/hypervisor/mem", "hv/qmp/qapi"},
		"devices declare what they need and never see KVM, the block layer or the network: hypervisor/vm binds them"},
	{"hv/block/blockqmp", []string{"hv/block", "hv/qmp"}, "handlers see the block layer and the command table"},
	{"hv/block/vublk", []string{"hv/block", "hv/devices/virtio/queue", "hv/devices/virtio/vhostwire", "hv/hypervisor/mem", "hv/qmp/sockaddr"},
		"a vhost-user back end is the device's half of virtqueues, in the memory of another virtual machine"},
	{"hv/block", []string{"hv/block", "hv/qmp/qapi", "hv/qmp/sockaddr", "hv/qmp/strerror"}, "the block layer serves any front end; addresses and words are the same everywhere"},
	{"hv/net/vhostnet", []string{"hv/net", "hv/qmp/qapi", "hv/devices/virtio/vhost"},
		"the kernel serves a device's rings: what is handed over is one type, and the kernel's interface one package"},
	{"hv/net/vhostuser", []string{"hv/net", "hv/qmp/qapi", "hv/devices/virtio/vhost", "hv/devices/virtio/vhostwire"},
		"another process serves a device's rings: what is handed over is one type, and the protocol one package"},
	{"hv/net/rxsync", []string{"hv/net", "hv/qmp/client", "hv/qmp/qapi"}, "it is a QMP client beside the VM"},
	{"hv/net", []string{"hv/net", "hv/qmp/qapi", "hv/qmp/sockaddr", "hv/qmp/strerror"}, "host networking serves any front end; addresses and words are the same everywhere"},
	{"hv/systemd", []string{"hv/systemd"}, "the systemd glue is independent of the monitor"},
	{"hv/qmp", []string{"hv/qmp"}, "QMP carries any command table: handlers live with what they handle"},
	{"hv/hypervisor/fdset/fdqmp", []string{"hv/hypervisor/fdset", "hv/qmp"}, "handlers see the descriptors and the command table"},
	{"hv/hypervisor/fdset", nil, "descriptors are the same for all who use them"},
	{"hv/hypervisor/runstate", []string{"hv/qmp/qapi"}, "the run-state table is pure"},
	{"hv/hypervisor/cpuqmp", []string{"hv/hypervisor/cpuid", "hv/hypervisor/machine", "hv/qmp"}, "handlers see models, boards' names and the command table"},
	{"hv/hypervisor/paging", nil, "page tables are bytes and registers"},
	{"hv/hypervisor/coredump", []string{"hv/hypervisor/kvm"}, "a file of registers and memory needs no machine"},
	{"hv/hypervisor/boot", []string{"hv/hypervisor/mem"}, "a loader needs guest memory only"},
	{"hv/hypervisor/qtest", nil, "a protocol sees the machine through interfaces of its own"},
	{"hv/hypervisor/vclock", nil, "a clock needs nothing"},
	{"hv/hypervisor/softirq", []string{"hv/devices/bus", "hv/devices/irq"}, "it takes KVM's place under the devices' interface"},
	{"hv/hypervisor/irqchip", []string{"hv/hypervisor/kvm", "hv/devices/irq"}, "it joins KVM and the devices' interface"},
	{"hv/hypervisor/vcpu", []string{"hv/hypervisor/kvm", "hv/hypervisor/mem", "hv/devices/turn", "hv/devices/bus"}, "a vCPU knows KVM and the buses"},
	{"hv/hypervisor/config", []string{"hv/qmp/qapi", "hv/block/account", "hv/block/blockopts", "hv/block/throttle", "hv/devices/qdev", "hv/hypervisor/runstate"}, "parsing a command line touches nothing"},
	{"hv/hypervisor/machine", []string{"hv/hypervisor/machine", "hv/devices", "hv/hypervisor/mem", "hv/hypervisor/boot",
		"hv/hypervisor/smbios", "hv/qmp/qapi"}, "boards are built without KVM, so that they can be driven without a CPU"},
}

// only names packages that few may import.
var only = []struct {
	imported string
	by       []string
	reason   string
}{
	{"hv/qmp/dispatch", []string{"hv/qmp/server", "hv/qmp/dispatch", "hv/hypervisor/vm", "hv/hypervisor/vmqmp", "hv/hypervisor/cpuqmp", "hv/devices/devqmp", "hv/net/netqmp",
		"hv/hypervisor/fdset/fdqmp", "hv/qmp/chardev/charqmp", "hv/block/blockqmp"},
		"handlers register themselves; nobody else sees the command table"},
	{"hv/hypervisor/vm", []string{"hv/cmd/hv", "hv/test"}, "the composition root is used by the program alone"},
}

func under(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, r := range rules {
			if !under(p.ImportPath, r.from) {
				continue
			}
			for _, imp := range p.Imports {
				ok := !under(imp, "hv") || slices.ContainsFunc(r.allowed, func(a string) bool { return under(imp, a) })
				if !ok {
					t.Errorf("%s imports %s: %s", p.ImportPath, imp, r.reason)
				}
			}
			break
		}
		for _, o := range only {
			if slices.Contains(p.Imports, o.imported) && !slices.ContainsFunc(o.by, func(b string) bool { return under(p.ImportPath, b) }) {
				t.Errorf("%s imports %s: %s", p.ImportPath, o.imported, o.reason)
			}
		}
	}
}

// TestUniqueNames keeps package names apart from each other and from the
// standard library's, so that an import never needs renaming.
func TestUniqueNames(t *testing.T) {
	out, err := exec.Command("go", "list", "std").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, s := range strings.Fields(string(out)) {
		if !strings.Contains(s, "internal") && !strings.Contains(s, "vendor") {
			seen[filepath.Base(s)] = s
		}
	}
	for _, p := range packages(t) {
		name := filepath.Base(p.ImportPath)
		if other := seen[name]; other != "" {
			t.Errorf("%s has the name of %s", p.ImportPath, other)
		}
		seen[name] = p.ImportPath
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && len(p.Doc) == 0 {
			t.Errorf("%s has no doc comment", p.ImportPath)
		}
	}
}

func TestUnsafeIsQuarantined(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range slices.Concat(p.GoFiles, p.TestGoFiles) {
			ast := parse(t, filepath.Join(p.Dir, f))
			for _, imp := range ast.file.Imports {
				if imp.Path.Value == `"unsafe"` && !strings.Contains(f, "_unsafe") {
					t.Errorf("%s/%s uses unsafe; it belongs in a *_unsafe.go", p.ImportPath, f)
				}
			}
		}
	}
}

type source struct {
	fset *token.FileSet
	file *ast.File
}

func parse(t *testing.T, path string) source {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return source{fset, f}
}
