package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// job waits for a job to have ended, and returns its error.
func (v *vm) job(t testing.TB, id string) string {
	t.Helper()
	for {
		var e qapi.JobStatusChangeEvent
		if err := e.DecodeQAPI(v.event(t, "JOB_STATUS_CHANGE").Data); err != nil {
			t.Fatal(err)
		}
		if e.Id != id || e.Status != qapi.JobStatusConcluded {
			continue
		}
		for _, i := range ask(t, v, qapi.CmdQueryJobs, qapi.Empty{}) {
			if i.Id == id {
				v.works(t, "job-dismiss", fmt.Sprintf(`{"id":%q}`, id))
				if i.Error != nil {
					return *i.Error
				}
				return ""
			}
		}
		t.Fatalf("job %s is gone", id)
	}
}

// create makes an image by blockdev-create, and returns the job's error.
func (v *vm) create(t testing.TB, options string) string {
	t.Helper()
	v.works(t, "blockdev-create", `{"job-id":"job0","options":`+options+`}`)
	return v.job(t, "job0")
}

// result runs a command and decodes what it returns.
func (v *vm) result(t testing.TB, name, args string, to any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	if err := v.c.Execute(ctx, name, json.RawMessage(args), to); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestCreateFiles makes images by jobs.
func TestCreateFiles(t *testing.T) {
	dir := t.TempDir()
	v := start(t, bare(t, "spin", "-device", "pcie-root-port,id=rp0,slot=1")...)
	for _, mode := range []string{"off", "falloc", "full"} {
		path := filepath.Join(dir, mode)
		if got := v.create(t, fmt.Sprintf(`{"driver":"file","filename":%q,"size":1048576,"preallocation":%q}`, path, mode)); got != "" {
			t.Error(got)
		}
		v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"file","node-name":"n","filename":%q}`, path))
		for _, n := range ask(t, v, qapi.CmdQueryNamedBlockNodes, qapi.QueryNamedBlockNodesArgs{}) {
			if n.Image.VirtualSize != 1<<20 || (*n.Image.ActualSize >= 1<<20) != (mode != "off") {
				t.Errorf("%s: %+v", mode, n.Image)
			}
		}
		if mode == "full" {
			v.works(t, "device_add", `{"driver":"virtio-blk-pci","id":"d","bus":"rp0","drive":"n"}`)
			if got, want := v.create(t, fmt.Sprintf(`{"driver":"file","filename":%q,"size":1}`, path)), `Failed to get "write" lock`; len(got) < len(want) || got[:len(want)] != want {
				t.Errorf("%s", got)
			}
			continue
		}
		v.works(t, "blockdev-del", `{"node-name":"n"}`)
	}
	for want, o := range map[string]string{
		"Could not create '/none/x': No such file or directory": `{"driver":"file","filename":"/none/x","size":1}`,
		"Unsupported preallocation mode 'metadata'":             fmt.Sprintf(`{"driver":"file","filename":%q,"size":1,"preallocation":"metadata"}`, filepath.Join(dir, "m")),
		"Failed to resize file: File too large":                 fmt.Sprintf(`{"driver":"file","filename":%q,"size":18446744073709551104}`, filepath.Join(dir, "m")),
	} {
		if got := v.create(t, o); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	v.failing(t, "Driver does not support blockdev-create", "blockdev-create", `{"job-id":"j","options":{"driver":"null-co"}}`)
	v.failing(t, "Invalid job ID '1'", "blockdev-create", `{"job-id":"1","options":{"driver":"file","filename":"/none/x","size":1}}`)
	for _, verb := range []string{"job-pause", "job-resume", "job-cancel", "job-complete", "job-dismiss", "job-finalize"} {
		v.failing(t, "Job not found", verb, `{"id":"job0"}`)
	}
	// One that is not dismissed goes with the VM.
	v.works(t, "blockdev-create", fmt.Sprintf(`{"job-id":"last","options":{"driver":"file","filename":%q,"size":268435456,"preallocation":"full"}}`, filepath.Join(dir, "big")))
	v.do(t, "quit")
	v.ends(t, 0)
	if err := os.Remove(filepath.Join(dir, "big")); err != nil {
		t.Error(err)
	}
}

// qcow2Disk returns options of a VM with a disk on a qcow2 image, which it makes.
func qcow2Disk(t testing.TB, path string, mib int) []string {
	t.Helper()
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", path, fmt.Sprintf("%dM", mib))
	return []string{"-blockdev", fmt.Sprintf(`{"driver":"qcow2","node-name":"n0","file":{"driver":"file","node-name":"f0","filename":%q},"discard":"unmap"}`, path),
		"-device", "virtio-blk-pci,drive=n0,id=d"}
}

// tool runs one of QEMU's tools, which must succeed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(hvrun.Tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestSnapshotsDeep puts one overlay after another over a disk while the guest writes, and
// looks at all images afterwards.
func TestSnapshotsDeep(t *testing.T) {
	dir := t.TempDir()
	image := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%d.qcow2", i)) }
	v := start(t, bare(t, "blk.torture size=2M n=40 bs=16384; print=tortured; shell", qcow2Disk(t, image(0), 4)...)...)
	depth := hvrun.Count(40, 200)
	for i := 1; i <= depth; i++ {
		v.works(t, "blockdev-snapshot-sync", fmt.Sprintf(`{"node-name":"n%d","snapshot-file":%q,"snapshot-node-name":"n%d"}`, i-1, image(i), i))
	}
	v.Expect(t, "guest: tortured")
	if got := v.Output(); strings.Contains(got, "torn") || strings.Contains(got, "lost") || strings.Contains(got, "error") {
		t.Error(got)
	}
	v.failing(t, "Node 'n0' is busy: node is used as backing hd of 'n1'", "blockdev-snapshot-sync",
		fmt.Sprintf(`{"node-name":"n0","snapshot-file":%q,"snapshot-node-name":"x"}`, image(-1)))
	v.do(t, "quit")
	v.ends(t, 0)
	for i := 0; i <= depth; i++ {
		tool(t, "qemu-img", "check", "-q", image(i))
	}
	// The last state, in one image, is what the guest says that it is.
	flat := filepath.Join(dir, "flat")
	tool(t, "qemu-img", "convert", "-O", "raw", image(depth), flat)
	v = start(t, bare(t, "blk.torture size=2M n=1 bs=16384; print=tortured; shell", withDisk(flat)...)...)
	v.Expect(t, "guest: tortured")
	if got := v.Output(); strings.Contains(got, "torn") || strings.Contains(got, "lost") || !strings.Contains(got, "flushed=40") {
		t.Error(got)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestSnapshotRaw has a disk that is a host file as it is become a chain of images, by the
// human monitor, and limits and other files come and go below another one, while the guest
// writes.
func TestSnapshotRaw(t *testing.T) {
	dir := t.TempDir()
	base, top := hvrun.Image(t, dir, 4), filepath.Join(dir, "top")
	second := hvrun.Image(t, t.TempDir(), 4)
	torture := "blk.torture size=2M n=40 bs=16384 dev=%d; "
	v := start(t, bare(t, fmt.Sprintf(torture+torture+"print=tortured; shell", 0, 1),
		append(withDisk(base), "-object", "throttle-group,id=g,x-bps-total=50000000",
			"-blockdev", fmt.Sprintf(`{"driver":"file","node-name":"f","filename":%q}`, second), "-blockdev", `{"driver":"raw","node-name":"r","file":"f"}`,
			"-device", "virtio-blk-pci,drive=r", "-blockdev", `{"driver":"throttle","node-name":"t","throttle-group":"g","file":"f"}`)...)...)
	if got := v.human(t, "snapshot_blkdev d "+top+" qcow2"); got != "" {
		t.Error(got)
	}
	for range 20 {
		v.works(t, "blockdev-reopen", `{"options":[{"driver":"raw","node-name":"r","file":"t"}]}`)
		v.works(t, "blockdev-reopen", `{"options":[{"driver":"raw","node-name":"r","file":"f"}]}`)
	}
	v.Expect(t, "guest: tortured")
	if got := v.Output(); strings.Contains(got, "torn") || strings.Contains(got, "lost") || strings.Contains(got, "guest: error") {
		t.Error(got)
	}
	v.do(t, "quit")
	v.ends(t, 0)
	tool(t, "qemu-img", "check", "-q", top)
	flat := filepath.Join(dir, "flat")
	tool(t, "qemu-img", "convert", "-O", "raw", top, flat)
	for _, image := range []string{flat, second} {
		v := start(t, bare(t, "blk.torture size=2M n=1 bs=16384; print=tortured; shell", withDisk(image)...)...)
		v.Expect(t, "guest: tortured")
		if got := v.Output(); strings.Contains(got, "torn") || strings.Contains(got, "lost") || !strings.Contains(got, "flushed=40") {
			t.Error(got)
		}
		v.do(t, "quit")
		v.ends(t, 0)
	}
}

// TestReopenWhileWriting changes all that can be while the guest writes.
func TestReopenWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	v := start(t, bare(t, "blk.torture size=2M n=40 bs=16384; print=tortured; shell", qcow2Disk(t, path, 4)...)...)
	file := fmt.Sprintf(`{"driver":"file","filename":%q}`, path)
	for i := range 40 {
		o := fmt.Sprintf(`{"options":[{"driver":"qcow2","node-name":"n0","file":%s,"cache":{"no-flush":%v},"detect-zeroes":"on","l2-cache-size":%d,"discard":"unmap"}]}`, file, i%2 == 0, 65536*(1+i%3))
		v.works(t, "blockdev-reopen", o)
	}
	v.works(t, "blockdev-reopen", `{"options":[{"driver":"qcow2","node-name":"n0","file":"f0"}]}`)
	v.failing(t, "Read-only block node 'n0' cannot support read-write users", "blockdev-reopen", `{"options":[{"driver":"qcow2","node-name":"n0","file":"f0","read-only":true}]}`)
	v.failing(t, "Cannot change the option 'filename'", "blockdev-reopen", `{"options":[{"driver":"qcow2","node-name":"n0","file":{"driver":"file","filename":"/none"}}]}`)
	v.failing(t, "l2-cache-size may not exceed cache-size", "blockdev-reopen", `{"options":[{"driver":"qcow2","node-name":"n0","file":"f0","cache-size":65536,"l2-cache-size":131072}]}`)
	v.failing(t, "node-name not specified", "blockdev-reopen", `{"options":[{"driver":"qcow2","file":"f0"}]}`)
	v.Expect(t, "guest: tortured")
	if got := v.Output(); strings.Contains(got, "torn") || strings.Contains(got, "lost") || strings.Contains(got, "error") {
		t.Error(got)
	}
	v.do(t, "quit")
	v.ends(t, 0)
	tool(t, "qemu-img", "check", "-q", path)
}

// TestTransactions makes snapshots of two disks at once, or of none.
func TestTransactions(t *testing.T) {
	dir := t.TempDir()
	image := func(s string) string { return filepath.Join(dir, s) }
	for _, s := range []string{"a", "b"} {
		tool(t, "qemu-img", "create", "-q", "-f", "qcow2", image(s), "4M")
	}
	disk := func(s string) []string {
		return []string{"-blockdev", fmt.Sprintf(`{"driver":"qcow2","node-name":%q,"file":{"driver":"file","filename":%q}}`, s, image(s)), "-device", "virtio-blk-pci,drive=" + s}
	}
	v := start(t, bare(t, "shell", slices.Concat(disk("a"), disk("b"))...)...)
	graph := func() string {
		var g any
		v.result(t, "x-debug-query-block-graph", "{}", &g)
		return fmt.Sprint(g)
	}
	before := graph()
	sync := func(node, overlay string) string {
		return fmt.Sprintf(`{"type":"blockdev-snapshot-sync","data":{"node-name":%q,"snapshot-file":%q,"snapshot-node-name":%q}}`, node, image(overlay), overlay)
	}
	internal := `{"type":"blockdev-snapshot-internal-sync","data":{"device":"a","name":"s1"}}`
	abort := `{"type":"abort","data":{}}`
	v.failing(t, "Transaction aborted using Abort action", "transaction", `{"actions":[`+internal+`,`+sync("a", "a1")+`,`+sync("b", "b1")+`,`+abort+`]}`)
	v.failing(t, "Cannot find device='' nor node-name='c'", "transaction", `{"actions":[`+sync("a", "a1")+`,`+sync("c", "c1")+`]}`)
	v.failing(t, "Action 'blockdev-snapshot-sync' does not support Transaction property completion-mode = grouped", "transaction",
		`{"actions":[`+sync("a", "a1")+`],"properties":{"completion-mode":"grouped"}}`)
	if got := graph(); got != before {
		t.Errorf("%s\nwas %s", got, before)
	}
	v.works(t, "transaction", `{"actions":[`+strings.Replace(internal, "s1", "s0", 1)+`,`+sync("b", "b1")+`]}`)
	v.works(t, "transaction", `{"actions":[`+internal+`,`+sync("b1", "b2")+`,`+sync("a", "a1")+`]}`)
	v.failing(t, "Need a root block node", "blockdev-snapshot-internal-sync", `{"device":"a","name":"s1"}`)
	v.failing(t, "New overlay node-name already in use", "transaction", `{"actions":[`+sync("a1", "b")+`]}`)
	v.failing(t, "New overlay node-name missing", "blockdev-snapshot-sync", `{"node-name":"a1","snapshot-file":"x"}`)
	v.failing(t, "Snapshot with id '(null)' and name 's1' does not exist on device 'a1'", "blockdev-snapshot-delete-internal-sync", `{"device":"a1","name":"s1"}`)
	v.works(t, "blockdev-snapshot-internal-sync", `{"device":"a1","name":"s2"}`)
	v.failing(t, "Snapshot with name 's2' already exists on device 'a1'", "blockdev-snapshot-internal-sync", `{"device":"a1","name":"s2"}`)
	v.failing(t, "Name is empty", "blockdev-snapshot-internal-sync", `{"device":"a1","name":""}`)
	v.failing(t, "Name or id must be provided", "blockdev-snapshot-delete-internal-sync", `{"device":"a1"}`)
	if got := ask(t, v, qapi.CmdBlockdevSnapshotDeleteInternalSync, qapi.BlockdevSnapshotDeleteInternalSyncArgs{Device: "a1", Id: ptr("1")}); got.Name != "s2" || got.Id != "1" {
		t.Errorf("%+v", got)
	}
	v.failing(t, "not allowing backing file change on an image without a backing file", "change-backing-file", `{"device":"a1","image-node-name":"a","backing-file":"x"}`)
	v.failing(t, "'b2' and image file are not in the same chain", "change-backing-file", `{"device":"b2","image-node-name":"a1","backing-file":"x"}`)
	v.works(t, "change-backing-file", `{"device":"a1","image-node-name":"a1","backing-file":"./a"}`)
	v.works(t, "change-backing-file", `{"device":"b2","image-node-name":"b1","backing-file":"./b"}`)
	v.failing(t, "Either child or node must be specified", "x-blockdev-change", `{"parent":"a"}`)
	v.failing(t, "The parameters child and node are in conflict", "x-blockdev-change", `{"parent":"a","child":"x","node":"x"}`)
	v.failing(t, "Node 'a' does not have child 'x'", "x-blockdev-change", `{"parent":"a","child":"x"}`)
	v.failing(t, "The node a does not support removing a child", "x-blockdev-change", `{"parent":"a","child":"file"}`)
	v.failing(t, "The node a does not support adding a child", "x-blockdev-change", `{"parent":"a","node":"b2"}`)
	v.human(t, "snapshot_blkdev_internal b2 here")
	v.human(t, "snapshot_delete_blkdev_internal b2 here")
	v.do(t, "quit")
	v.ends(t, 0)
	for _, s := range []string{"a", "a1", "b", "b1", "b2"} {
		tool(t, "qemu-img", "check", "-q", image(s))
	}
	for image, name := range map[string]string{image("a1"): "./a", image("b1"): "./b", image("b2"): image("b1")} {
		if got := tool(t, "qemu-img", "info", image); !strings.Contains(got, "backing file: "+name) {
			t.Error(got)
		}
	}
	if got := tool(t, "qemu-img", "snapshot", "-l", image("a")); !strings.Contains(got, "s1") || !strings.Contains(got, "s0") {
		t.Error(got)
	}
}

// TestSnapshotOverlay has nodes that are there be overlays.
func TestSnapshotOverlay(t *testing.T) {
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base"), filepath.Join(dir, "top")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", top, "4M")
	v := start(t, bare(t, "blk.write sector=1 size=512 seed=7; print=written; shell", qcow2Disk(t, base, 4)...)...)
	v.Expect(t, "guest: written")
	v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"qcow2","node-name":"top","file":{"driver":"file","filename":%q},"backing":null}`, top))
	v.works(t, "blockdev-add", `{"driver":"null-co","node-name":"null"}`)
	for want, args := range map[string]string{
		"The overlay is already in use":               `{"node":"null","overlay":"n0"}`,
		"The overlay does not support backing images": `{"node":"n0","overlay":"null"}`,
		"Cannot find device='x' nor node-name='x'":    `{"node":"x","overlay":"null"}`,
		"Cannot find device='y' nor node-name='y'":    `{"node":"n0","overlay":"y"}`,
	} {
		v.failing(t, want, "blockdev-snapshot", args)
	}
	v.works(t, "blockdev-snapshot", `{"node":"n0","overlay":"top"}`)
	v.failing(t, "Node 'n0' is busy: node is used as backing hd of 'top'", "blockdev-snapshot", `{"node":"n0","overlay":"top"}`)
	v.failing(t, "backing is missing for 'top'", "blockdev-reopen", fmt.Sprintf(`{"options":[{"driver":"qcow2","node-name":"top","file":{"driver":"file","filename":%q}}]}`, top))
	v.failing(t, "Making 'top' a backing child of 'n0' would create a cycle", "blockdev-reopen", `{"options":[{"driver":"qcow2","node-name":"n0","file":"f0","backing":"top"}]}`)
	v.works(t, "blockdev-reopen", fmt.Sprintf(`{"options":[{"driver":"qcow2","node-name":"top","file":{"driver":"file","filename":%q},"backing":"n0"}]}`, top))
	v.do(t, "quit")
	v.ends(t, 0)
	tool(t, "qemu-img", "check", "-q", base)
	tool(t, "qemu-img", "check", "-q", top)
}

func ptr[T any](x T) *T { return &x }
