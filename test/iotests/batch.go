package iotests

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Job is a test to run with an image format.
type Job struct{ Format, Test string }

// Jobs reads a list of tests: names as `check` takes them, each for all formats, or
// FORMAT:NAME for that one alone.
func Jobs(names, formats []string) (jobs []Job) {
	for _, name := range names {
		if format, test, ok := strings.Cut(name, ":"); ok {
			jobs = append(jobs, Job{format, test})
			continue
		}
		for _, format := range formats {
			jobs = append(jobs, Job{format, name})
		}
	}
	return jobs
}

// ParseList reads a list with a line for each format, which comes first in it; `#` begins a comment.
func ParseList(text string) (jobs []Job) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 1 {
			jobs = append(jobs, Jobs(words[1:], words[:1])...)
		}
	}
	return jobs
}

// emulator are words of tests that start the emulator; the others test qemu-img and its kin alone.
var emulator = []string{"_launch_qemu", "run_qemu", "$QEMU ", "\"$QEMU\"", "iotests.VM", "qemu_pipe", "QMPTestCase", "VM("}

// All returns the names of the tests in dir that start an emulator.
func All(dir string) (names []string, err error) {
	for _, pattern := range []string{"[0-9][0-9][0-9]", "tests/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			starts := func(word string) bool { return strings.Contains(string(text), word) }
			if !strings.Contains(filepath.Base(path), ".") && slices.ContainsFunc(emulator, starts) {
				names = append(names, filepath.Base(path))
			}
		}
	}
	return names, nil
}

// RunAll runs tests, parallel of them at a time, and calls done with each result, one after the other.
func (s *Suite) RunAll(ctx context.Context, jobs []Job, parallel int, done func(Result)) {
	todo := make(chan Job)
	var mu sync.Mutex // held over done
	var all sync.WaitGroup
	for range max(parallel, 1) {
		all.Go(func() {
			for j := range todo {
				r := s.Run(ctx, j.Format, j.Test)
				mu.Lock()
				done(r)
				mu.Unlock()
			}
		})
	}
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		todo <- j
	}
	close(todo)
	all.Wait()
}

// Report prints results as they come and counts them.
type Report struct {
	Out     io.Writer
	Verbose bool // print what failed in full
	count   map[Outcome]int
	failed  []string
}

// Add prints a result.
func (r *Report) Add(res Result) {
	if r.count == nil {
		r.count = map[Outcome]int{}
	}
	r.count[res.Outcome]++
	line := fmt.Sprintf("%-6s %-28s %-8s %5.1fs  %s", res.Format, res.Test, res.Outcome, res.Took.Seconds(), res.Reason)
	fmt.Fprintln(r.Out, strings.TrimRight(line, " "))
	if res.Outcome == Fail || res.Outcome == Timeout {
		r.failed = append(r.failed, res.Format+":"+res.Test)
		if r.Verbose {
			fmt.Fprintln(r.Out, res.Output)
		}
	}
}

// Sum prints the counts and reports whether no test failed.
func (r *Report) Sum() bool {
	fmt.Fprintf(r.Out, "%d passed, %d failed, %d skipped\n", r.count[Pass], len(r.failed), r.count[Skip])
	if len(r.failed) > 0 {
		fmt.Fprintf(r.Out, "failed: %s\n", strings.Join(r.failed, " "))
	}
	return len(r.failed) == 0
}
