// Package iotests runs QEMU's own tests of its block layer (tests/qemu-iotests) with hv as
// the emulator. They come from Debian's source package of QEMU 7.2, which `make deps` keeps
// in a cache outside the repository, and run unmodified by their own program `check`. Images
// are made and looked at by Debian's qemu-img, qemu-io, qemu-nbd and qemu-storage-daemon.
//
// Suite.Run may be called from several goroutines: each run has folders of its own.
//
// It depends on the programs above and on Debian's python3 in /usr/bin.
package iotests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Python runs the tests; they want Debian's, not one that is first in the caller's PATH.
const Python = "/usr/bin/python3"

// program is the name that hv is called by: QEMU's tests look at both ends of it.
const program = "hv-system-x86_64"

// Suite is the tests and what they are run with.
type Suite struct {
	// Dir is tests/qemu-iotests in QEMU's source.
	Dir string
	// Limit is how long one test may take.
	Limit time.Duration

	home string   // has the link to hv, and the folders of the tests
	env  []string // what all tests are told
}

// Outcome is how a test ended.
type Outcome string

// Outcomes.
const (
	Pass    Outcome = "pass"
	Fail    Outcome = "fail"
	Skip    Outcome = "skip"
	Timeout Outcome = "timeout"
)

// Result is what came of one test with one image format.
type Result struct {
	Format, Test string
	Outcome      Outcome
	Reason       string // in one line: why it was skipped or failed, or which cases were left out
	Output       string // of a failure: the difference from what was expected
	Took         time.Duration
}

// Folder returns where `make deps` has put the tests.
func Folder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "hv-interop", "qemu", "tests", "qemu-iotests")
	if _, err := os.Stat(filepath.Join(dir, "check")); err != nil {
		return "", fmt.Errorf("%w: run `make deps` to get what the tests need", err)
	}
	return dir, nil
}

// Open prepares to run the tests in dir with the hv of that path. Close it after use.
func Open(dir, hv string) (*Suite, error) {
	s := &Suite{Dir: dir, Limit: 3 * time.Minute}
	for variable, tool := range map[string]string{
		"QEMU_IMG_PROG": "qemu-img", "QEMU_IO_PROG": "qemu-io", "QEMU_NBD_PROG": "qemu-nbd", "QSD_PROG": "qemu-storage-daemon",
	} {
		path, err := exec.LookPath(tool)
		if err != nil {
			return nil, err
		}
		s.env = append(s.env, variable+"="+path)
	}
	hv, err := filepath.Abs(hv)
	if err != nil {
		return nil, err
	}
	// The sockets in there have to fit into 108 bytes, so TMPDIR is not asked.
	if s.home, err = os.MkdirTemp("/tmp", "iot"); err != nil {
		return nil, err
	}
	link := filepath.Join(s.home, program)
	if err := os.Symlink(hv, link); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.env = append(s.env, "QEMU_PROG="+link, "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONDONTWRITEBYTECODE=1", "HOME="+s.home,
		"LANG=C", "LC_ALL=C.UTF-8", "MALLOC_PERTURB_=0")
	return s, nil
}

// Close removes all that the tests have left.
func (s *Suite) Close() error { return os.RemoveAll(s.home) }

// Run runs one test.
func (s *Suite) Run(ctx context.Context, format, test string) Result {
	r := Result{Format: format, Test: test}
	scratch, err := os.MkdirTemp(s.home, "")
	if err != nil {
		r.Outcome, r.Reason = Fail, err.Error()
		return r
	}
	defer os.RemoveAll(scratch)
	images, sockets := filepath.Join(scratch, "t"), filepath.Join(scratch, "s")
	limited, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	cmd := exec.CommandContext(limited, Python, "./check", "-tap", "-"+format, test)
	cmd.Dir = s.Dir
	marker := "TEST_DIR=" + images
	cmd.Env = append(append(os.Environ(), s.env...), marker, "SOCK_DIR="+sockets)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	start := time.Now()
	out, err := cmd.CombinedOutput()
	r.Took = time.Since(start)
	stray := endStrays(marker)
	r.judge(string(out), err, noted(images, test, ".notrun"), noted(images, test, ".casenotrun"))
	if limited.Err() != nil {
		r.Outcome, r.Reason = Timeout, "not done after "+s.Limit.String()
		if bad := noted(images, test, ".out.bad"); bad != "" {
			r.Output = bad
		}
	}
	if stray > 0 && r.Outcome != Pass {
		r.Output += fmt.Sprintf("\n(%d programs were left running)\n", stray)
	}
	return r
}

// noted reads one of the files in which a test leaves what it has to say.
func noted(dir, test, suffix string) string {
	b, err := os.ReadFile(filepath.Join(dir, filepath.Base(test)+suffix))
	if err != nil {
		return ""
	}
	return string(b)
}

// protocols are what a test can be run with instead of an image format; that is raw then.
var protocols = []string{"nbd", "ssh", "fuse"}

// image returns the format of the images of tests that are run with a format or protocol.
func image(format string) string {
	if slices.Contains(protocols, format) {
		return "raw"
	}
	return format
}

// judge finds out the result from what check printed and the test left.
func (r *Result) judge(out string, err error, notrun, cases string) {
	name := image(r.Format) + " " + filepath.Base(r.Test)
	for line := range strings.Lines(out) {
		switch strings.TrimRight(line, "\n") {
		case "ok " + name:
			r.Outcome, r.Reason = Pass, ""
			if n := strings.Count(cases, "[case not run]"); n > 0 {
				r.Reason = fmt.Sprintf("without %d cases: %s", n, flat(strings.ReplaceAll(cases, "[case not run]", ";")))
			}
			return
		case "ok " + name + " # SKIP":
			r.Outcome, r.Reason = Skip, flat(notrun)
			return
		}
	}
	r.Outcome, r.Output = Fail, out
	if r.Reason = firstDifference(out); r.Reason == "" && err != nil {
		r.Reason = err.Error()
	}
}

// firstDifference returns the first lines that a test printed, or did not, other than expected.
func firstDifference(diff string) string {
	var first []string
	for line := range strings.Lines(diff) {
		changed := strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-")
		if !changed || strings.HasPrefix(line, "+++") || strings.HasPrefix(line, "---") {
			if len(first) > 0 {
				break
			}
			continue
		}
		if first = append(first, strings.TrimSpace(line)); len(first) == 4 {
			break
		}
	}
	return flat(strings.Join(first, " "))
}

// flat makes one line of a text, and not too long a one.
func flat(s string) string {
	s = strings.Trim(strings.Join(strings.Fields(s), " "), "; ")
	if len(s) > 240 {
		s = s[:240] + "..."
	}
	return s
}

// endStrays ends the programs that a test has left, which are those that have its folder in their
// environment, and returns how many there were. Daemons are in no process group of ours.
func endStrays(marker string) (n int) {
	dirs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return 0
	}
	for _, file := range dirs {
		env, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrPermission) || !bytes.Contains(append(env, 0), []byte(marker+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}
