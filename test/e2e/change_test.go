package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
	for mode, allocated := range map[string]bool{"off": false, "falloc": true, "full": true} {
		path := filepath.Join(dir, mode)
		if got := v.create(t, fmt.Sprintf(`{"driver":"file","filename":%q,"size":1048576,"preallocation":%q}`, path, mode)); got != "" {
			t.Error(got)
		}
		v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"file","node-name":"n","filename":%q}`, path))
		for _, n := range ask(t, v, qapi.CmdQueryNamedBlockNodes, qapi.QueryNamedBlockNodesArgs{}) {
			if n.Image.VirtualSize != 1<<20 || (*n.Image.ActualSize >= 1<<20) != allocated {
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
