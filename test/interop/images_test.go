package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// generated is a node's name that nobody gave, and room how much of the host an image takes.
var generated, room = regexp.MustCompile(`#block\d+`), regexp.MustCompile(`"actual-size": \d+`)

// images makes images of many kinds in a folder.
func images(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	run := func(tool string, args ...string) {
		t.Helper()
		cmd := exec.Command(hvrun.Tool(t, tool), args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
		}
	}
	run("qemu-img", "create", "-f", "raw", "base", "1M")
	run("qemu-img", "create", "-f", "qcow2", "-b", "base", "-F", "raw", "mid")
	run("qemu-io", "-c", "write 64k 64k", "mid")
	run("qemu-img", "create", "-f", "qcow2", "-b", dir+"/mid", "-F", "qcow2", "-o", "lazy_refcounts=on", "top")
	run("qemu-img", "snapshot", "-c", "s0", "top")
	run("qemu-img", "bitmap", "--add", "top", "b0")
	run("qemu-img", "create", "-f", "qcow2", "-o", "compat=0.10", "old", "3M")
	run("qemu-img", "create", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k,refcount_bits=1,compression_type=zstd", "new", "3M")
	run("qemu-img", "create", "-f", "qcow2", "-o", "data_file="+dir+"/data,data_file_raw=on", "external", "2M")
	run("qemu-img", "create", "-f", "qcow2", "-u", "-b", `json:{"driver":"raw","file.filename":"`+dir+`/base"}`, "-F", "raw", "json", "1M")
	return dir
}

// keep returns what has the files of a folder be as they are now.
func keep(t *testing.T, dir string) (restore func()) {
	t.Helper()
	paths, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string][]byte{}
	for _, path := range paths {
		if kept[path], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for path, b := range kept {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestImagesBesideQEMU describes nodes with the same options to hv and to QEMU, which must
// print the same about them, byte by byte.
func TestImagesBesideQEMU(t *testing.T) {
	dir := images(t)
	restore := keep(t, dir)
	ours, theirs := serve(t, hvrun.Binary(t)), serve(t, hvrun.Tool(t, qemu))
	file := func(name string) string {
		return `"file": {"driver": "file", "filename": "` + filepath.Join(dir, name) + `"}`
	}
	for _, options := range []string{
		`"driver": "null-co"`, `"driver": "null-co", "size": 1048576`, `"driver": "null-aio", "read-zeroes": true`, `"driver": "null-co", "latency-ns": 100`,
		`"driver": "raw", ` + file("base"), `"driver": "raw", "offset": 512, ` + file("base"), `"driver": "raw", "size": 4096, "read-only": true, ` + file("base"),
		`"driver": "raw", "file": {"driver": "raw", ` + file("base") + `}`, `"driver": "raw", "cache": {"no-flush": true}, "discard": "unmap", "detect-zeroes": "unmap", ` + file("base"),
		`"driver": "qcow2", ` + file("mid"), `"driver": "qcow2", ` + file("top"), `"driver": "qcow2", "backing": null, ` + file("top"), `"driver": "qcow2", "read-only": true, ` + file("top"),
		`"driver": "qcow2", "backing": {"driver": "qcow2", ` + file("mid") + `}, ` + file("top"),
		`"driver": "qcow2", "backing": {"driver": "raw", "size": 65536, ` + file("base") + `}, ` + file("mid"),
		`"driver": "qcow2", "backing": {"driver": "null-co"}, ` + file("new"),
		`"driver": "qcow2", ` + file("old"), `"driver": "qcow2", ` + file("new"), `"driver": "qcow2", ` + file("external"), `"driver": "qcow2", ` + file("json"),
		`"driver": "qcow2", "data-file": {"driver": "file", "filename": "` + dir + `/data"}, ` + file("external"),
		`"driver": "qcow2", "lazy-refcounts": true, "l2-cache-size": 65536, "overlap-check": "all", ` + file("new"),
		`"driver": "raw", "file": {"driver": "qcow2", ` + file("new") + `}`,
		`"driver": "throttle", "throttle-group": "tg", "file": {"driver": "qcow2", ` + file("mid") + `}`,
		`"driver": "quorum", "vote-threshold": 1, "children": [{"driver": "null-co"}, {"driver": "raw", ` + file("base") + `}]`,
		// Refused.
		`"driver": "qcow2", ` + file("base"), `"driver": "qcow2", ` + file("none"), `"driver": "qcow2", "lazy-refcounts": true, ` + file("old"),
		`"driver": "qcow2", "backing": "none", ` + file("top"), `"driver": "qcow2", "colour": 1, ` + file("top"), `"driver": "qcow2"`, `"driver": "qcow2", "backing": 1, ` + file("top"),
		`"driver": "qcow2", "cache-size": 1, "l2-cache-size": 1, "refcount-cache-size": 1, ` + file("top"), `"driver": "qcow2", "l2-cache-entry-size": 511, ` + file("top"),
		`"driver": "qcow2", "overlap-check": "some", ` + file("top"), `"driver": "qcow2", "overlap-check": {"template": 1}, ` + file("top"),
		`"driver": "qcow2", "data-file": {"driver": "null-co"}, ` + file("top"), `"driver": "qcow2", "cache-clean-interval": 99999999999, ` + file("top"),
		`"driver": "raw", "offset": 2097152, ` + file("base"), `"driver": "file", "filename": "` + dir + `"`, `"driver": "raw", "file": "x"`,
	} {
		c := conversation{options, []string{
			negotiate, `{"execute": "object-add", "arguments": {"qom-type": "throttle-group", "id": "tg"}}`,
			`{"execute": "blockdev-add", "arguments": {"node-name": "n", ` + options + `}}`,
			`{"execute": "query-named-block-nodes"}`, `{"execute": "query-named-block-nodes", "arguments": {"flat": true}}`,
			`{"execute": "blockdev-del", "arguments": {"node-name": "n"}}`,
			`{"execute": "object-del", "arguments": {"id": "tg"}}`,
		}}
		var answers [2][]string
		for i, s := range []*server{ours, theirs} {
			restore()
			for _, a := range said(t, s, s.plain, c) {
				n := 0
				a = room.ReplaceAllString(a, `"actual-size": N`)
				answers[i] = append(answers[i], generated.ReplaceAllStringFunc(a, func(string) string { n++; return fmt.Sprintf("#%d", n) }))
			}
		}
		compare(t, c, answers[0], answers[1])
		made := strings.HasPrefix(answers[1][2], `{"return": {}}`)
		if made != strings.Contains(answers[1][3], `"n"`) {
			t.Errorf("%s: %s", options, answers[1][2])
		}
	}
}
