// Package hvrun starts hv, or QEMU beside it, for tests: it collects what the
// VM prints, speaks QMP to it and sees that it ends.
//
// A Proc belongs to one test. Its methods may be called from several
// goroutines of that test.
//
// It depends on qmp/client.
package hvrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long anything that is expected may take before a test gives
// up. Nested in an emulated processor everything is slow.
const Patience = 240 * time.Second

// watchEvery is how often a waiter calls Proc.Watch.
const watchEvery = 3 * time.Second

// Binary returns the path of the hv that `make build` made.
func Binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("HV_BIN")
	if path == "" {
		path = filepath.Join(Root(t), "bin", "hv")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	return path
}

// Root returns the top of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, serr := os.Stat(filepath.Join(dir, "go.mod")); serr == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			err = errors.New("no go.mod above the working directory")
		}
		dir = up
	}
	t.Fatal(err)
	return ""
}

// Proc is a running VM.
type Proc struct {
	Cmd *exec.Cmd
	// Watch, if not nil, is called every few seconds of a wait, on the waiter's goroutine,
	// and may end it by a panic.
	Watch func()
	// Stuck, if not nil, is called by Kill when the process stays though none of its threads waits
	// for anything that a signal doesn't end: when the kernel doesn't run it.
	Stuck func()

	mu     sync.Mutex
	out    bytes.Buffer
	grown  chan struct{} // closed and replaced at every write
	ended  chan struct{}
	status error
}

// Start runs a program with arguments; its standard output and standard error
// are collected together. The test's end ends it.
func Start(t testing.TB, program string, args ...string) *Proc {
	t.Helper()
	return StartWith(t, nil, program, args...)
}

// StartWith is Start with open files for the program, whose descriptors begin at 3.
func StartWith(t testing.TB, files []*os.File, program string, args ...string) *Proc {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles = files
	return StartCmd(t, cmd)
}

// StartCmd is Start for a command that was prepared.
func StartCmd(t testing.TB, cmd *exec.Cmd) *Proc {
	t.Helper()
	p := &Proc{Cmd: cmd, grown: make(chan struct{}), ended: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = p, p
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.status = p.Cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Kill(t)
		if t.Failed() {
			t.Logf("%s %q printed:\n%s", filepath.Base(cmd.Path), cmd.Args[1:], tail(p.Output(), 6000))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// Write collects output. It is for the process's pipes.
func (p *Proc) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b)
	close(p.grown)
	p.grown = make(chan struct{})
	return len(b), nil
}

var _ io.Writer = (*Proc)(nil)

// Output returns what was printed so far.
func (p *Proc) Output() string {
	s, _ := p.snapshot()
	return s
}

func (p *Proc) snapshot() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String(), p.grown
}

// Expect waits until the output matches a pattern and returns its submatches.
func (p *Proc) Expect(t testing.TB, pattern string) []string {
	t.Helper()
	return p.ExpectAfter(t, 0, pattern)
}

// ExpectAfter is Expect for what is printed after the first from bytes.
func (p *Proc) ExpectAfter(t testing.TB, from int, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(Patience)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s, grown := p.snapshot()
		if m := re.FindStringSubmatch(s[from:]); m != nil {
			return m
		}
		select {
		case <-grown:
		case <-tick.C:
			p.watch()
		case <-p.ended:
			if s, _ := p.snapshot(); re.MatchString(s[from:]) {
				return re.FindStringSubmatch(s[from:])
			}
			t.Fatalf("ended (%v) without printing %q", p.status, pattern)
		case <-deadline:
			t.Fatalf("no %q within %s", pattern, Patience)
		}
	}
}

// Wait returns the exit status once the process has ended by itself.
func (p *Proc) Wait(t testing.TB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	status, err := p.WaitContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// WaitContext is Wait with a limit of the caller's.
func (p *Proc) WaitContext(ctx context.Context) (int, error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return p.Cmd.ProcessState.ExitCode(), nil
		case <-tick.C:
			p.watch()
		case <-ctx.Done():
			return 0, fmt.Errorf("process %d has not ended: %w", p.Cmd.Process.Pid, ctx.Err())
		}
	}
}

func (p *Proc) watch() {
	if p.Watch != nil {
		p.Watch()
	}
}

// Kill ends the process and waits for that. If the kernel does not let it go the test fails, and
// shows what the process's threads wait for.
func (p *Proc) Kill(t testing.TB) {
	t.Helper()
	_ = p.Cmd.Process.Kill()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		where, waits := threads(p.Cmd.Process.Pid)
		t.Errorf("%s was killed %s ago and is still there:\n%s", filepath.Base(p.Cmd.Path), Patience, where)
		if !waits && p.Stuck != nil {
			p.Stuck()
		}
	}
}

// threads returns where in the kernel the threads of a process are, in which states, and whether
// one is in an uninterruptible wait.
func threads(pid int) (where string, waits bool) {
	var all strings.Builder
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		status, _ := os.ReadFile(task + "/status")
		state, _, _ := strings.Cut(string(status[max(0, bytes.Index(status, []byte("State:"))):]), "\n")
		stack, err := os.ReadFile(task + "/stack")
		fmt.Fprintf(&all, "%s: %s, stack %v\n%s\n", task, state, err, stack)
		waits = waits || strings.HasPrefix(state, "State:\tD")
	}
	return all.String(), waits
}

// Ended is closed when the process is gone.
func (p *Proc) Ended() <-chan struct{} { return p.ended }

// Tool returns the path of a program that `make deps` installs; without it the test fails.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run `make deps` to install what the tests need", err)
	}
	return path
}

// Image makes an empty raw image of mib MiB in dir.
func Image(t testing.TB, dir string, mib int64) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "*.img")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(mib << 20); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// Soak reports whether the full counts are wanted instead of a sample.
func Soak() bool { return os.Getenv("HV_SOAK") != "" }

// Count returns full under `make soak` and sample otherwise.
func Count(sample, full int) int {
	if Soak() {
		return full
	}
	return sample
}
