package iotests

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/test/hvrun"
)

// TestKept runs the tests of kept.txt.
func TestKept(t *testing.T) {
	dir, err := Folder()
	if err != nil {
		t.Fatal(err)
	}
	suite, err := Open(dir, hvrun.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer suite.Close()
	jobs := Kept()
	if len(jobs) < 20 {
		t.Errorf("%d tests are kept, that is few", len(jobs))
	}
	suite.RunAll(t.Context(), jobs, 2, func(r Result) {
		if r.Outcome != Pass {
			t.Errorf("%s %s: %s: %s\n%s", r.Format, r.Test, r.Outcome, r.Reason, r.Output)
		}
	})
}

// fake is a program in the place of check whose tests are named after what they do.
const fake = `
import os, subprocess, sys
tap, format, test = sys.argv[1:]
format = format[1:].replace('nbd', 'raw')
d = os.environ['TEST_DIR']
os.makedirs(d)
print('# running', format, test)
if test == 'good':
    print('ok', format, test)
elif test == 'partial':
    open(d + '/partial.casenotrun', 'w').write(' [case not run] one\n [case not run] two\n')
    print('ok', format, test)
elif test == 'skipped':
    open(d + '/skipped.notrun', 'w').write('not suitable for\nthis format')
    print('ok', format, test, '# SKIP')
elif test == 'bad':
    print('not ok', format, test)
    print('--- a\n+++ b\n@@ -1 +1 @@\n same\n-was\n+is\n same\n-then', file=sys.stderr)
    sys.exit(1)
elif test == 'stuck':
    p = subprocess.Popen(['sleep', '1000'], start_new_session=True)
    open(os.environ['NOTE'], 'w').write(str(p.pid))
    open(d + '/stuck.out.bad', 'w').write('so far')
    p.wait()
sys.exit(0 if test != 'crashed' else 3)
`

func fakeSuite(t *testing.T) *Suite {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "check"), []byte(fake), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, "/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestOutcomes(t *testing.T) {
	s := fakeSuite(t)
	for _, c := range []struct {
		test    string
		outcome Outcome
		reason  string
	}{
		{"good", Pass, ""},
		{"partial", Pass, "without 2 cases: one ; two"},
		{"skipped", Skip, "not suitable for this format"},
		{"bad", Fail, "-was +is"},
		{"crashed", Fail, "exit status 3"},
	} {
		r := s.Run(t.Context(), "raw", c.test)
		if r.Outcome != c.outcome || r.Reason != c.reason {
			t.Errorf("%s: %s %q, want %s %q", c.test, r.Outcome, r.Reason, c.outcome, c.reason)
		}
		if r := s.Run(t.Context(), "nbd", c.test); r.Format != "nbd" || r.Outcome != c.outcome {
			t.Errorf("%s by a protocol: %s %s", c.test, r.Format, r.Outcome)
		}
	}
}

// TestStuck sees that a test which does not end is ended, with what it has started.
func TestStuck(t *testing.T) {
	s := fakeSuite(t)
	note := filepath.Join(t.TempDir(), "pid")
	t.Setenv("NOTE", note)
	s.Limit = 2 * time.Second
	r := s.Run(t.Context(), "raw", "stuck")
	if r.Outcome != Timeout || !strings.Contains(r.Output, "so far") {
		t.Errorf("%s %q", r.Outcome, r.Output)
	}
	b, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// It was killed, and may take a moment to go.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

func TestLists(t *testing.T) {
	got := ParseList("# none\nraw 045 qcow2:\n\nqcow2   030 # x\nempty\n")
	want := []Job{{"raw", "045"}, {"qcow2", ""}, {"qcow2", "030"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	got = Jobs([]string{"1", "raw:2"}, []string{"a", "b"})
	if want := []Job{{"a", "1"}, {"b", "1"}, {"raw", "2"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestAll(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"001": "qemu-io only", "030": "vm = iotests.VM()", "030.out": "iotests.VM", "tests/named": "_launch_qemu", "tests/other": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names, err := All(dir)
	if want := []string{"030", "named"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("%v, %v", names, err)
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := Report{Out: &out, Verbose: true}
	r.Add(Result{Format: "raw", Test: "1", Outcome: Pass})
	r.Add(Result{Format: "raw", Test: "2", Outcome: Skip, Reason: "why"})
	if !r.Sum() {
		t.Error("a test that was skipped has failed")
	}
	r.Add(Result{Format: "raw", Test: "3", Outcome: Fail, Reason: "as", Output: "in full"})
	if r.Sum() {
		t.Error("a test that failed has not")
	}
	for _, want := range []string{"why\n", "in full\n", "1 passed, 1 failed, 1 skipped\nfailed: raw:3\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
