package linux

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The bed's own kernel suffers from its emulated processor too: it crashes, or stands
// still. Inside, a line on standard error says every now and then that it lives; outside, a
// bed that has said nothing for long is ended, and another one tried.
const (
	alive       = "the bed is alive\n"
	aliveEvery  = 10 * time.Second
	aliveLimit  = 2 * time.Minute
	bedBoots    = 3 * time.Minute // before the first line
	bedFailed   = 125             // the testbed's status when the bed ended before the tests did, and theirs when they see that it failed
	beds        = 6               // how many are tried
	endingLimit = 20 * time.Second
)

// sayAlive writes the line until the process ends.
func sayAlive() {
	for range time.Tick(aliveEvery) {
		_, _ = os.Stderr.WriteString(alive)
	}
}

// listener passes standard error on, without the signs of life.
type listener struct {
	out io.Writer

	mu   sync.Mutex
	last time.Time
}

// Write notes signs of life and passes on the rest.
func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.last = time.Now()
	l.mu.Unlock()
	if rest := bytes.ReplaceAll(p, []byte(alive), nil); len(rest) > 0 {
		if _, err := l.out.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (l *listener) silent() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.last)
}

// passes passes standard output on and keeps the names of the tests that passed, so that
// they are not run again when the bed fails later.
type passes struct {
	out   io.Writer
	line  []byte
	names []string
}

var passed = regexp.MustCompile(`^--- PASS: (\w+) \(`)

// Write looks for the lines by which -test.v tells of an end.
func (p *passes) Write(b []byte) (int, error) {
	p.line = append(p.line, b...)
	for {
		end := bytes.IndexByte(p.line, '\n')
		if end < 0 {
			break
		}
		if m := passed.FindSubmatch(p.line[:end]); m != nil {
			p.names = append(p.names, string(m[1]))
		}
		p.line = p.line[end+1:]
	}
	return p.out.Write(b)
}

// skip returns the flag that leaves out what passed, none if nothing did.
func (p *passes) skip() []string {
	if len(p.names) == 0 {
		return nil
	}
	return []string{"-test.skip=^(" + strings.Join(p.names, "|") + ")$"}
}

func TestPasses(t *testing.T) {
	p := &passes{out: io.Discard}
	if p.skip() != nil {
		t.Error("something passed before it ran")
	}
	for _, s := range []string{"=== RUN   TestA\n--- PA", "SS: TestA (0.1s)\n    --- PASS: TestB/sub (0s)\n", "--- FAIL: TestB (1s)\n--- PASS: TestC (2s)\n--- PASS: TestD"} {
		if _, err := p.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.skip(); len(got) != 1 || got[0] != "-test.skip=^(TestA|TestC)$" {
		t.Errorf("left out are %q", got)
	}
}

// runBed runs the testbed and returns its status; a bed that stands still counts as one
// that failed.
func runBed(out io.Writer, bed string, args ...string) (int, error) {
	l := &listener{out: os.Stderr, last: time.Now().Add(bedBoots)}
	cmd := exec.Command(bed, args...)
	cmd.Stdout, cmd.Stderr = out, l
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return cmd.ProcessState.ExitCode(), nil
		case <-tick.C:
		}
		if l.silent() > aliveLimit {
			end(cmd.Process.Pid, ended)
			fmt.Fprintln(os.Stderr, "the bed stood still")
			return bedFailed, nil
		}
	}
}

// end ends the testbed and all that it started.
func end(pid int, ended <-chan struct{}) {
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(endingLimit):
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-ended
	}
}
