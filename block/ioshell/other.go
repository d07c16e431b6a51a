package ioshell

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/graph"
)

func otherCommands() []*command {
	return []*command{
		{name: "flush", short: "f", what: "flush all in-core file state to disk", do: func(r *run, _ []string) {
			_ = r.do(r.child.Flush) // as in QEMU, nobody is told
		}},
		{
			name: "truncate", short: "t", min: 1, max: 3, options: "m:", args: "[-m prealloc_mode] off", what: "truncates the current file at the given offset",
			do: (*run).truncate,
		},
		{name: "length", short: "l", what: "gets the length of the current file", do: func(r *run, _ []string) {
			r.printf("%s\n", size(float64(r.size)))
		}},
		{
			name: "alloc", short: "a", min: 1, max: 2, args: "offset [count]", what: "checks if offset is allocated in the file",
			do: (*run).alloc,
		},
		{name: "map", what: "prints the allocated areas of a file", do: (*run).showMap},
		{
			name: "sleep", min: 1, max: 1, what: "waits for the given value in milliseconds", global: true, do: (*run).sleep,
		},
	}
}

func (r *run) truncate(args []string) {
	opts, rest, ok := r.parse(args)
	if !ok {
		return
	}
	for _, o := range opts {
		if o.value != "off" {
			r.fail(fmt.Errorf("Invalid preallocation mode '%s'", o.value))
			return
		}
	}
	if len(rest) != 1 {
		r.usage()
		return
	}
	n, ok := r.number(rest[0])
	if !ok {
		return
	}
	if err := r.on(func() error { return r.child.Node().Resize(n) }); err != nil {
		r.fail(err)
	}
}

// allocated returns whether a node has something from off on, and how far that goes.
func (r *run) allocated(off, n int64) (is bool, length int64, err error) {
	if off >= r.size {
		return false, 0, nil
	}
	e, err := r.child.BlockStatus(off, min(n, r.size-off))
	return e.Status&graph.Allocated != 0, e.N, err
}

func (r *run) alloc(args []string) {
	off, ok := r.number(args[1])
	if !ok {
		return
	}
	count := int64(512)
	if len(args) == 3 {
		if count, ok = r.number(args[2]); !ok {
			return
		}
	}
	var sum, done int64
	err := r.do(func() error {
		for done < count {
			is, n, err := r.allocated(off+done, count-done)
			if err != nil || n == 0 {
				return err
			}
			if is {
				sum += n
			}
			done += n
		}
		return nil
	})
	if err != nil {
		r.printf("is_allocated failed: %s\n", graph.ErrorText(err))
		return
	}
	r.printf("%d/%d bytes allocated at offset %s\n", sum, done, size(float64(off)))
}

func (r *run) showMap([]string) {
	err := r.do(func() error {
		for off, end := int64(0), r.size; off < end; {
			is, n, err := r.allocated(off, end-off)
			for err == nil && n > 0 && off+n < end {
				next, more, e := r.allocated(off+n, end-off-n)
				if err = e; next != is || more == 0 {
					break
				}
				n += more
			}
			if err != nil || n == 0 {
				return errors.Join(err)
			}
			text := "not allocated"
			if is {
				text = "    allocated"
			}
			r.printf("%s (0x%x) bytes %s at offset %s (0x%x)\n", size(float64(n)), n, text, size(float64(off)), off)
			off += n
		}
		return nil
	})
	if err != nil {
		r.fail(fmt.Errorf("Failed to get allocation status: %s", graph.ErrorText(err)))
	}
}

func (r *run) sleep(args []string) {
	ms, err := strconv.ParseInt(args[1], 0, 32)
	if err != nil || ms < 0 {
		r.printf("%s is not a valid number\n", args[1])
		return
	}
	t := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.ctx.Done():
	}
}

func breakCommands() []*command {
	return []*command{
		{
			name: "break", min: 2, max: 2, args: "event tag", what: "sets a breakpoint on event and tags the stopped request as tag",
			do: func(r *run, args []string) {
				r.debug("Could not set breakpoint", func(d graph.Debugger) bool {
					e, ok := graph.ParseEvent(args[1])
					if ok {
						d.Break(e, args[2])
					}
					return ok
				})
			},
		},
		{
			name: "remove_break", min: 1, max: 1, args: "tag", what: "remove a breakpoint by tag",
			do: func(r *run, args []string) {
				r.debug("Could not remove breakpoint "+args[1], func(d graph.Debugger) bool { return d.RemoveBreak(args[1]) })
			},
		},
		{
			name: "resume", min: 1, max: 1, args: "tag", what: "resumes the request tagged as tag",
			do: func(r *run, args []string) {
				r.debug("Could not resume request", func(d graph.Debugger) bool { return d.Resume(args[1]) })
			},
		},
		{
			name: "wait_break", min: 1, max: 1, args: "tag", what: "waits for the suspension of a request",
			do: func(r *run, args []string) {
				var there <-chan struct{}
				r.debug("Could not wait for request", func(d graph.Debugger) bool { there = d.Suspended(args[1]); return true })
				if there == nil {
					return
				}
				select {
				case <-there:
				case <-r.ctx.Done():
				}
			},
		},
	}
}

// debug does something with what holds requests up, and tells if that cannot be.
func (r *run) debug(what string, f func(d graph.Debugger) bool) {
	err := r.on(func() error {
		d := r.child.Node().Debugger()
		switch {
		case d == nil:
			return unix.ENOTSUP
		case !f(d):
			return unix.ENOENT
		}
		return nil
	})
	if err != nil {
		r.printf("%s: %s\n", what, graph.ErrorText(err))
	}
}
