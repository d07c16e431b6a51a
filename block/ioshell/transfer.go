package ioshell

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/graph"
)

// maxRequest is how many bytes one request has at most, as in QEMU.
const maxRequest = 1<<31 - 512

// settings is what the options of a command say.
type settings struct {
	flags                                graph.Flags
	pattern                              byte
	hasPattern, quiet, verbose, terse    bool
	zero, compressed, invalid            bool
	source                               string // of -s
	patternOff, patternLen               int64
	hasPatternOff, hasPatternLen, hasSrc bool
}

// settings reads options; a read's -s is a number.
func (r *run) settings(args []string, pattern byte, reads bool) (x settings, rest []string, ok bool) {
	x.pattern = pattern
	opts, rest, ok := r.parse(args)
	for i := 0; i < len(opts) && ok; i++ {
		ok = x.set(r, opts[i], reads)
	}
	return x, rest, ok
}

func (x *settings) set(r *run, o option, reads bool) (ok bool) {
	ok = true
	switch o.letter {
	case 'P':
		p, err := parsePattern(o.value)
		if x.pattern, x.hasPattern = p, true; err != nil {
			r.printf("%s\n", err)
			return false
		}
	case 's':
		if !reads {
			x.source, x.hasSrc = o.value, true
			break
		}
		x.hasPatternOff = true
		x.patternOff, ok = r.number(o.value)
	case 'l':
		x.hasPatternLen = true
		x.patternLen, ok = r.number(o.value)
	default:
		x.flag(o.letter)
	}
	return ok
}

func (x *settings) flag(letter byte) {
	switch letter {
	case 'q':
		x.quiet = true
	case 'v':
		x.verbose = true
	case 'C':
		x.terse = true
	case 'z':
		x.zero = true
	case 'c':
		x.compressed = true
	case 'i':
		x.invalid = true
	case 'f':
		x.flags |= graph.FUA
	case 'n':
		x.flags |= graph.NoFallback
	case 'u':
		x.flags |= graph.MayUnmap
	}
}

func transferCommands() []*command {
	return []*command{
		{
			name: "read", short: "r", min: 2, max: -1, options: "Cl:pP:qs:v", args: "[-Cqv] [-P pattern [-s off] [-l len]] off len",
			what: "reads a number of bytes at a specified offset", do: (*run).read, help: readHelp,
		},
		{
			name: "readv", min: 2, max: -1, options: "CP:qv", args: "[-Cqv] [-P pattern] off len [len..]",
			what: "reads a number of bytes at a specified offset", do: (*run).readv, help: vectorHelp + readHelp,
		},
		{
			name: "write", short: "w", perm: graph.Write, min: 2, max: -1, options: "cCfnpP:qs:uz", args: "[-cCfnquz] [-P pattern | -s source_file] off len",
			what: "writes a number of bytes at a specified offset", do: (*run).write, help: writeHelp,
		},
		{
			name: "writev", perm: graph.Write, min: 2, max: -1, options: "CfqP:", args: "[-Cfq] [-P pattern] off len [len..]",
			what: "writes a number of bytes at a specified offset", do: (*run).writev, help: vectorHelp + writeHelp,
		},
		{
			name: "discard", short: "d", perm: graph.Write, min: 2, max: -1, options: "Cq", args: "[-Cq] off len",
			what: "discards a number of bytes at a specified offset", do: (*run).discard, help: commonHelp,
		},
	}
}

const (
	commonHelp = " -C  numbers alone, with commas between them\n -q  no output unless it fails\n"
	readHelp   = commonHelp + " -v  print what was read\n -P  compare with a byte; with -s from an offset on, with -l so many bytes\n"
	writeHelp  = commonHelp + " -P  the byte to write, 0xcd by default\n -s  write what is in a file, again and again\n -z  write zeroes; with -u space may be given back," +
		" with -n only if they need not be written as data\n -c  compress\n -f  have it be durable\n"
	vectorHelp = " The data is in as many buffers as there are lengths.\n"
)

// place reads offset and length; limit is what follows the number when that is too large,
// unless it may be.
func (r *run) place(rest []string, limit string) (off, n int64, ok bool) {
	if len(rest) != 2 {
		r.usage()
		return 0, 0, false
	}
	if off, ok = r.number(rest[0]); !ok {
		return 0, 0, false
	}
	if n, ok = r.number(rest[1]); ok && n > maxRequest && limit != "" {
		r.printf("length cannot exceed %d%s given %s\n", maxRequest, limit, rest[1])
		return 0, 0, false
	}
	return off, n, ok
}

// vector reads an offset and the lengths of buffers.
func (r *run) vector(rest []string, fill byte) (off int64, v [][]byte, ok bool) {
	if len(rest) < 2 {
		r.usage()
		return 0, nil, false
	}
	if off, ok = r.number(rest[0]); !ok {
		return 0, nil, false
	}
	var total int64
	sizes := make([]int64, len(rest)-1)
	for i, arg := range rest[1:] {
		n, ok := r.number(arg)
		switch {
		case !ok:
			return 0, nil, false
		case n > maxRequest:
			r.printf("Argument '%s' exceeds maximum size %d\n", arg, maxRequest)
			return 0, nil, false
		case total > maxRequest-n:
			r.printf("The total number of bytes exceed the maximum size %d\n", maxRequest)
			return 0, nil, false
		}
		sizes[i], total = n, total+n
	}
	all := filled(total, fill)
	for _, n := range sizes {
		v, all = append(v, all[:n]), all[n:]
	}
	return off, v, true
}

func filled(n int64, b byte) []byte {
	if b == 0 {
		return make([]byte, n)
	}
	return bytes.Repeat([]byte{b}, int(n))
}

func total(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// timed carries out a request, and tells of its failure.
func (r *run) timed(what string, f func() error) (time.Duration, bool) {
	began := time.Now()
	err := r.do(f)
	took := time.Since(began)
	if err != nil {
		r.printf("%s failed: %s\n", what, graph.ErrorText(err))
	}
	return took, err == nil
}

// result tells what was read.
func (x *settings) result(off int64, v [][]byte, took time.Duration) string {
	var b strings.Builder
	data := bytes.Join(v, nil)
	if len(v) == 1 {
		data = v[0]
	}
	if x.hasPattern {
		part := data[x.patternOff:]
		if x.hasPatternLen {
			part = part[:x.patternLen]
		}
		if bytes.Count(part, []byte{x.pattern}) != len(part) {
			fmt.Fprintf(&b, "Pattern verification failed at offset %d, %d bytes\n", off+x.patternOff, len(part))
		}
	}
	if x.quiet {
		return b.String()
	}
	if x.verbose {
		dump(&b, data, off)
	}
	rep := report{"read", off, int64(len(data)), took, x.terse}
	return b.String() + rep.String()
}

func (r *run) read(args []string) {
	x, rest, ok := r.settings(args, 0, true)
	if !ok {
		return
	}
	off, n, ok := r.place(rest, ",")
	if !ok {
		return
	}
	if !x.hasPattern && (x.hasPatternLen || x.hasPatternOff) {
		r.usage()
		return
	}
	if length := n - x.patternOff; length < 0 || x.hasPatternLen && x.patternLen > length {
		r.printf("pattern verification range exceeds end of read data\n")
		return
	}
	v := [][]byte{make([]byte, n)}
	if took, ok := r.timed("read", func() error { return r.child.Readv(off, v) }); ok {
		r.shell.print(x.result(off, v, took))
	}
}

func (r *run) readv(args []string) {
	x, rest, ok := r.settings(args, 0, true)
	if !ok {
		return
	}
	if off, v, ok := r.vector(rest, 0); ok {
		if took, ok := r.timed("readv", func() error { return r.child.Readv(off, v) }); ok {
			r.shell.print(x.result(off, v, took))
		}
	}
}

// contradiction tells what options of a write do not go together, nothing if all do.
func (x *settings) contradiction() string {
	chosen := 0
	for _, b := range []bool{x.zero, x.hasPattern, x.hasSrc} {
		if b {
			chosen++
		}
	}
	switch {
	case x.flags&graph.FUA != 0 && x.compressed:
		return "-f and -b or -c cannot be specified at the same time\n"
	case x.flags&graph.NoFallback != 0 && !x.zero:
		return "-n requires -z to be specified\n"
	case x.flags&graph.MayUnmap != 0 && !x.zero:
		return "-u requires -z to be specified\n"
	case chosen > 1:
		return "Only one of -z, -P, and -s can be specified at the same time\n"
	}
	return ""
}

func (r *run) write(args []string) {
	x, rest, ok := r.settings(args, 0xcd, false)
	if !ok {
		return
	}
	if len(rest) != 2 {
		r.usage()
		return
	}
	if wrong := x.contradiction(); wrong != "" {
		r.shell.print(wrong)
		return
	}
	limit := " without -n,"
	if x.flags&graph.NoFallback != 0 {
		limit = ""
	}
	off, n, ok := r.place(rest, limit)
	if !ok || x.compressed && !r.sectors(off, n) {
		return
	}
	f, ok := r.writer(&x, off, n)
	if !ok {
		return
	}
	if took, ok := r.timed("write", f); ok && !x.quiet {
		r.shell.print((&report{"wrote", off, n, took, x.terse}).String())
	}
}

// sectors tells if a place is not aligned to sectors.
func (r *run) sectors(off, n int64) bool {
	switch {
	case off%512 != 0:
		r.printf("%d is not a sector-aligned value for 'offset'\n", off)
	case n%512 != 0:
		r.printf("%d is not a sector-aligned value for 'count'\n", n)
	default:
		return true
	}
	return false
}

// writer returns what a write does.
func (r *run) writer(x *settings, off, n int64) (func() error, bool) {
	if x.zero {
		return func() error { return r.child.WriteZeroes(off, n, x.flags) }, true
	}
	var data []byte
	if x.hasSrc {
		var err error
		if data, err = fromFile(x.source, n); err != nil {
			r.shell.complain("%s: %s\n", x.source, err)
			return nil, false
		}
	} else {
		data = filled(n, x.pattern)
	}
	if x.compressed {
		if r.child.Node().Driver() != "qcow2" {
			return func() error { return unix.ENOTSUP }, true
		}
		x.flags |= graph.Compressed
	}
	return func() error { return r.child.Writev(off, [][]byte{data}, x.flags) }, true
}

// fromFile returns n bytes of what is in a file, again and again.
func fromFile(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s", graph.ErrorText(err))
	}
	data, err := io.ReadAll(io.LimitReader(f, n))
	if e := f.Close(); err == nil {
		err = e
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s", graph.ErrorText(err))
	case len(data) == 0 && n > 0:
		return nil, fmt.Errorf("file is empty")
	}
	for have := len(data); int64(have) < n; have = len(data) {
		data = append(data, data[:min(int64(have), n-int64(have))]...)
	}
	return data, nil
}

func (r *run) writev(args []string) {
	x, rest, ok := r.settings(args, 0xcd, false)
	if !ok {
		return
	}
	off, v, ok := r.vector(rest, x.pattern)
	if !ok {
		return
	}
	if took, ok := r.timed("writev", func() error { return r.child.Writev(off, v, x.flags) }); ok && !x.quiet {
		r.shell.print((&report{"wrote", off, total(v), took, x.terse}).String())
	}
}

func (r *run) discard(args []string) {
	x, rest, ok := r.settings(args, 0, false)
	if !ok {
		return
	}
	off, n, ok := r.place(rest, ",")
	if !ok {
		return
	}
	if took, ok := r.timed("discard", func() error { return r.child.Discard(off, n) }); ok && !x.quiet {
		r.shell.print((&report{"discard", off, n, took, x.terse}).String())
	}
}
