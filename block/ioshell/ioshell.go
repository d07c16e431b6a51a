// Package ioshell carries out commands that read and write block nodes, such as
// "write -P 0xaa 0 64k": those of QEMU's qemu-io, with its output.
//
// A Shell belongs to a program; commands may come from any goroutine, also concurrently.
// Requests are carried out by goroutines of the shell, which Close waits for: a command
// waits for its request unless that is asynchronous, but no longer than its context. What
// looks at the graph is run where Config.Do has it. It depends on block/graph,
// block/account and block/blockopts.
package ioshell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"hv/block/account"
	"hv/block/graph"
)

// Target is what commands are about.
type Target interface {
	// Hold returns what requests go through, which do what perm says. Release is called
	// once they are done.
	Hold(perm graph.Perm) (*graph.Child, error)
	Release(c *graph.Child) error
	// Stats counts asynchronous requests; nil for nobody.
	Stats() *account.Stats
	// Reopen has the target be as it says, and is run where the graph may be used.
	Reopen(x Reopening) error
	// Waits reports whether a command waits for its asynchronous requests, too.
	Waits() bool
}

// Config is what a shell needs of its program.
type Config struct {
	Out, Err io.Writer
	// Do runs a function where the graph may be used, and returns when it is done; Post does
	// not wait.
	Do   func(ctx context.Context, f func()) error
	Post func(f func())
	// Ended, unless it is nil, is called before it is printed what came of a request: what the
	// program says of it comes first.
	Ended func(ctx context.Context)
}

// Shell carries out commands.
type Shell struct {
	cfg Config

	out      sync.Mutex
	requests sync.WaitGroup // goroutines that carry requests out

	mu   sync.Mutex
	runs map[*run]bool // with a hold
	idle chan struct{} // closed when no asynchronous request is under way
	busy int

	changed chan struct{} // of room for one: there may be fewer requests that Settle waits for
}

// New returns a shell.
func New(cfg Config) *Shell {
	s := &Shell{cfg: cfg, runs: map[*run]bool{}, idle: make(chan struct{}), changed: make(chan struct{}, 1)}
	close(s.idle)
	return s
}

// Run carries out a command line. It returns why that could not be begun, or ended, which is
// told by whoever runs it; what came of its requests is on Config.Out.
func (s *Shell) Run(ctx context.Context, t Target, line string) error {
	args := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
	if len(args) == 0 {
		return nil
	}
	cmd := find(args[0])
	if cmd == nil {
		s.complain("command \"%s\" not found\n", args[0])
		return nil
	}
	if n := len(args) - 1; n < cmd.min || cmd.max >= 0 && n > cmd.max {
		s.complain("bad argument count %d to %s, expected %s\n", n, args[0], cmd.expected())
		return nil
	}
	r := &run{shell: s, ctx: ctx, target: t, cmd: cmd, refs: 1}
	if cmd.global {
		cmd.do(r, args)
		return r.failed
	}
	if err := r.hold(cmd.perm); err != nil {
		return err
	}
	cmd.do(r, args)
	if t.Waits() {
		r.wait(&r.pending)
	}
	r.end(true)
	return r.failed
}

// Close ends all requests, and gives back what they are about. No command may come any
// more. It is called where the graph may be used.
func (s *Shell) Close() error {
	s.mu.Lock()
	runs := make([]*run, 0, len(s.runs))
	for r := range s.runs {
		runs = append(runs, r)
	}
	s.mu.Unlock()
	for _, r := range runs {
		r.child.Node().Drain()()
	}
	s.requests.Wait()
	var last error
	for _, r := range runs {
		if err := r.release(); err != nil {
			last = err
		}
	}
	return last
}

// print writes to the program's output, all of a text at once.
func (s *Shell) print(text string) {
	s.out.Lock()
	defer s.out.Unlock()
	_, _ = io.WriteString(s.cfg.Out, text)
}

func (s *Shell) complain(format string, a ...any) {
	s.out.Lock()
	defer s.out.Unlock()
	fmt.Fprintf(s.cfg.Err, format, a...)
}

// run is the execution of a command, and of the requests that it began.
type run struct {
	shell   *Shell
	ctx     context.Context
	target  Target
	cmd     *command
	child   *graph.Child
	size    int64          // of the node, when the command began
	pending sync.WaitGroup // asynchronous requests

	mu   sync.Mutex
	refs int // the command itself, and its requests

	failed error // of the command itself
}

func (r *run) printf(format string, a ...any) { r.shell.print(fmt.Sprintf(format, a...)) }

// fail notes what went wrong with the command.
func (r *run) fail(err error) { r.failed = errors.Join(r.failed, err) }

// on runs f where the graph may be used.
func (r *run) on(f func() error) error {
	var err error
	if e := r.shell.cfg.Do(r.ctx, func() { err = f() }); e != nil {
		return e
	}
	return err
}

func (r *run) hold(perm graph.Perm) error {
	return r.on(func() (err error) {
		if r.child, err = r.target.Hold(perm); err == nil {
			r.size = r.child.Size()
			r.shell.mu.Lock()
			r.shell.runs[r] = true
			r.shell.mu.Unlock()
		}
		return err
	})
}

// release gives the hold back, unless that was done. It runs where the graph may be used.
func (r *run) release() error {
	r.shell.mu.Lock()
	held := r.shell.runs[r]
	delete(r.shell.runs, r)
	r.shell.mu.Unlock()
	if !held {
		return nil
	}
	return r.target.Release(r.child)
}

// begin notes a request.
func (r *run) begin() {
	r.mu.Lock()
	r.refs++
	r.mu.Unlock()
}

// end notes the end of a request, or of the command, which waits for what there is to do.
func (r *run) end(wait bool) {
	r.mu.Lock()
	r.refs--
	last := r.refs == 0
	r.mu.Unlock()
	switch {
	case !last:
	case wait:
		if err := r.on(r.release); err != nil && r.ctx.Err() == nil {
			r.fail(err)
		}
	default:
		r.shell.cfg.Post(func() { _ = r.release() })
	}
}

// do carries out a request and returns its result, or that of the context.
func (r *run) do(f func() error) error {
	r.begin()
	done := make(chan error, 1)
	r.shell.requests.Go(func() {
		err := f()
		r.end(false) // before the command, so that it gives the hold back itself
		done <- err
	})
	select {
	case err := <-done:
		if r.shell.cfg.Ended != nil {
			r.shell.cfg.Ended(r.ctx)
		}
		return err
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// start carries out a request, and then says what it did.
func (r *run) start(f func() error, then func(error)) {
	r.begin()
	r.pending.Add(1)
	r.shell.mu.Lock()
	if r.shell.busy++; r.shell.busy == 1 {
		r.shell.idle = make(chan struct{})
	}
	r.shell.mu.Unlock()
	r.shell.requests.Go(func() {
		then(f())
		r.shell.mu.Lock()
		if r.shell.busy--; r.shell.busy == 0 {
			close(r.shell.idle)
		}
		r.shell.mu.Unlock()
		r.shell.Changed()
		r.end(false)
		r.pending.Done()
	})
}

// wait waits for requests, but no longer than the context.
func (r *run) wait(requests *sync.WaitGroup) {
	done := make(chan struct{})
	r.shell.requests.Go(func() {
		requests.Wait()
		close(done)
	})
	select {
	case <-done:
	case <-r.ctx.Done():
	}
}

// Changed tells a Settle to count again those that need not end.
func (s *Shell) Changed() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Settle waits, for a limited time, until no more asynchronous requests are under way than
// others say wait for something.
func (s *Shell) Settle(waiting func() int, limit time.Duration) {
	over := time.NewTimer(limit)
	defer over.Stop()
	for {
		s.mu.Lock()
		busy := s.busy
		s.mu.Unlock()
		if busy <= waiting() {
			return
		}
		select {
		case <-s.changed:
		case <-over.C:
			return
		}
	}
}

// lift has no request wait for limits until drop is called.
func (r *run) lift() (drop func()) {
	var drops []func()
	_ = r.on(func() error {
		r.shell.mu.Lock()
		defer r.shell.mu.Unlock()
		for x := range r.shell.runs {
			drops = append(drops, x.child.Lift())
		}
		return nil
	})
	return func() {
		for _, f := range drops {
			f()
		}
	}
}

// quiet waits for all asynchronous requests, as a drain does.
func (r *run) quiet() {
	defer r.lift()()
	r.shell.mu.Lock()
	idle := r.shell.idle
	r.shell.mu.Unlock()
	select {
	case <-idle:
	case <-r.ctx.Done():
	}
}
