package ioshell

import (
	"time"

	"hv/block/account"
	"hv/block/graph"
)

func asyncCommands() []*command {
	return []*command{
		{
			name: "aio_read", min: 2, max: -1, options: "CP:iqv", args: "[-Ciqv] [-P pattern] off len [len..]",
			what: "asynchronously reads a number of bytes", do: (*run).aioRead, help: asyncHelp + vectorHelp + readHelp,
		},
		{
			name: "aio_write", perm: graph.Write, min: 2, max: -1, options: "CfiqP:uz", args: "[-Cfiquz] [-P pattern] off len [len..]",
			what: "asynchronously writes a number of bytes", do: (*run).aioWrite, help: asyncHelp + vectorHelp + writeHelp,
		},
		{name: "aio_flush", what: "completes all outstanding aio requests", do: (*run).aioFlush},
	}
}

const asyncHelp = " The command does not wait for the request; aio_flush does.\n -i  count a request that cannot be carried out\n"

// count has a request be counted by whoever counts, once the function is called.
func (r *run) count(k account.Kind, n int64) func(err error) {
	s := r.target.Stats()
	if s == nil {
		return func(error) {}
	}
	began := s.Now()
	return func(err error) { s.Done(k, n, began, err != nil) }
}

// invalid counts a request that cannot be carried out.
func (r *run) invalid(k account.Kind) {
	if s := r.target.Stats(); s != nil {
		s.Invalid(k)
	}
}

func (r *run) aioRead(args []string) {
	x, rest, ok := r.settings(args, 0, true)
	switch {
	case !ok:
		return
	case x.invalid:
		r.printf("injecting invalid read request\n")
		r.invalid(account.Read)
		return
	}
	off, v, ok := r.vector(rest, 0)
	if !ok {
		return
	}
	began, counted := time.Now(), r.count(account.Read, total(v))
	r.start(func() error { return r.child.Readv(off, v) }, func(err error) {
		took := time.Since(began)
		counted(err)
		if err != nil {
			r.printf("readv failed: %s\n", graph.ErrorText(err))
		} else {
			r.shell.print(x.result(off, v, took))
		}
	})
}

func (r *run) aioWrite(args []string) {
	x, rest, ok := r.settings(args, 0xcd, false)
	switch {
	case !ok:
		return
	case x.invalid:
		r.printf("injecting invalid write request\n")
		r.invalid(account.Write)
		return
	case len(rest) < 2:
		r.usage()
		return
	case x.zero && len(rest) != 2:
		r.printf("-z supports only a single length parameter\n")
		return
	case x.flags&graph.MayUnmap != 0 && !x.zero:
		r.printf("-u requires -z to be specified\n")
		return
	}
	if x.zero {
		if off, n, ok := r.place(rest, ""); ok {
			r.startWrite(&x, off, n, func(error) {}, func() error { return r.child.WriteZeroes(off, n, x.flags) })
		}
		return
	}
	if off, v, ok := r.vector(rest, x.pattern); ok {
		n := total(v)
		r.startWrite(&x, off, n, r.count(account.Write, n), func() error { return r.child.Writev(off, v, x.flags) })
	}
}

func (r *run) startWrite(x *settings, off, n int64, counted func(error), f func() error) {
	began := time.Now()
	r.start(f, func(err error) {
		took := time.Since(began)
		counted(err)
		switch {
		case err != nil:
			r.printf("aio_write failed: %s\n", graph.ErrorText(err))
		case !x.quiet:
			r.shell.print((&report{"wrote", off, n, took, x.terse}).String())
		}
	})
}

func (r *run) aioFlush([]string) {
	counted := r.count(account.Flush, 0)
	r.quiet()
	counted(nil)
}
