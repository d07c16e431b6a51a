package ioshell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hv/block/account"
	"hv/block/blkdebugdrv"
	"hv/block/filedrv"
	"hv/block/graph"
)

// output is what a shell prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.b.String()
	o.b.Reset()
	return s
}

// bench is a shell on a file, through blkdebug.
type bench struct {
	shell    *Shell
	out, err output
	control  sync.Mutex // in the place of a VM's control goroutine
	graph    graph.Graph
	node     *graph.Node
	stats    *account.Stats
	waits    bool
	held     int
	reopened Reopening
}

func (b *bench) Hold(perm graph.Perm) (*graph.Child, error) {
	c, err := b.node.Use(func() string { return "a test" }, nil, perm, graph.AllPerms)
	if err == nil {
		b.held++
	}
	return c, err
}

func (b *bench) Release(c *graph.Child) error { b.held--; return c.Close() }
func (b *bench) Stats() *account.Stats        { return b.stats }
func (b *bench) Reopen(x Reopening) error {
	b.reopened = x
	return nil
}

func (b *bench) Waits() bool { return b.waits }

func (b *bench) do(_ context.Context, f func()) error {
	b.control.Lock()
	defer b.control.Unlock()
	f()
	return nil
}

func newBench(t *testing.T, image string, o graph.Options) *bench {
	t.Helper()
	b := &bench{waits: true}
	b.shell = New(Config{Out: &b.out, Err: &b.err, Do: b.do, Post: func(f func()) { go func() { _ = b.do(context.Background(), f) }() }})
	name := func() string { return image }
	file, err := b.graph.Open(graph.Spec{Name: "file", Driver: "file", Options: o, Filename: name, Open: func([]*graph.Child) (graph.Driver, error) {
		return filedrv.Open(filedrv.Config{Path: image, Options: o, AutoReadOnly: true, OpenFile: os.OpenFile})
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.node, err = b.graph.Open(graph.Spec{Name: "debug", Driver: "blkdebug", Options: o, Filename: name, Children: []graph.Edge{{Name: "image", Role: graph.Filtered, Node: file}},
		Open: func(c []*graph.Child) (graph.Driver, error) { return blkdebugdrv.Open(blkdebugdrv.Config{}, c[0]), nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.control.Lock()
		defer b.control.Unlock()
		if err := errors.Join(b.shell.Close(), b.node.Unref(), file.Unref()); err != nil || b.held != 0 {
			t.Errorf("%v, %d holds are left", err, b.held)
		}
	})
	return b
}

// run carries out a command and returns all that it printed.
func (b *bench) run(t *testing.T, line string) string {
	var failed string
	if err := b.shell.Run(t.Context(), b, line); err != nil {
		failed = "hv: " + err.Error() + "\n"
	}
	return b.err.take() + failed + b.out.take()
}

func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// times are what two programs never have in common.
var times = regexp.MustCompile(`[0-9:.]+( sec)? \([0-9.]+ [KMGTPEi]*(B|bytes)/sec and [0-9.]+ ops/sec\)|,[0-9:.]+,[0-9.]+,[0-9.]+\n`)

// alike leaves out what differs between us and qemu-io however good both are.
func alike(s string) string {
	s = times.ReplaceAllString(s, "X\n")
	s = strings.ReplaceAll(s, "[-abCqv] [-P pattern [-s off] [-l len]] off len", "[-Cqv] [-P pattern [-s off] [-l len]] off len")
	s = strings.ReplaceAll(s, "[-bcCfnquz] [-P", "[-cCfnquz] [-P")
	s = strings.ReplaceAll(s, "[-i", "[-")
	s = strings.ReplaceAll(s, "qemu-io: ", "hv: ")
	lines := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(lines) // stderr is apart from stdout
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" || l == "X" }), "\n")
}

var qemuCommands = []string{
	"read 0 512", "read -v 0 40", "read -v 1048570 6", "read -C 0 4k", "read -q 0 4k", "read -P 0x30 0 1", "read -P 0x31 0 16", "read -P 0x30 -s 16 -l 1 0 1k",
	"read -s 1 0 512", "read -P 1 -s 600 0 512", "read -l 5 -P 1 -s 510 0 512", "read 1M 512", "read 1023k 1k", "read 1023k 2k", "read -1 512", "read x 512",
	"read 0 0x200", "read 0 1.5k", "read 0 1.5", "read 0 3g", "read 0 9999999999999999999", "read 0 8e", "read 0", "read 0 1 2", "read -x 0 512", "read -P", "read 0 512 -P 1",
	"r 512 512", "read -P 256 0 1", "read -P x 0 1", "read 0 0", "read -v 0 0", "read 0b 1b", "read 0 1kk", "read 0 .5k",
	"write -P 7 1000 24", "read -v 1000 32", "write -qP9 0 16", "read -v 0 16", "write 0 64k", "write -z 4k 4k", "write -z -u 8k 4k", "write -n 0 512", "write -u 0 512",
	"write -z -P 1 0 512", "write -f 0 512", "write -c 0 512", "write -c 1 512", "write -c 0 511", "write -f -c 0 512", "write -s /none 0 512", "write 1M 1", "write 0 512 512", "write -z 1M 1",
	"write -C 0 100", "w 5 5", "writev -P 3 100 10 20 30", "readv -v 90 20 30", "readv -P 3 100 60", "readv -P 4 100 60", "readv 0", "writev 0 3g", "writev 0 1g 1g", "readv 1M 1 2", "writev 0 x",
	"discard 0 4k", "discard -q 0 4k", "discard -C 0 4k", "discard 1M 4k", "discard 0 3g", "discard 0", "d 0 1k",
	"length", "l", "alloc 0", "alloc 0 64k", "alloc 1M", "alloc 1023k 2k", "alloc x", "a 1 2 3", "map", "map 1", "flush", "f 1", "sleep 1", "sleep x", "sleep -1",
	"aio_write 0 512", "aio_write -P 5 0 4k 4k", "aio_read -P 5 0 8k", "aio_read -P 6 0 8k", "aio_write -z 0 8k", "aio_write -z 0 1 2", "aio_write -u 0 1",
	"aio_read -v 0 20", "aio_read 1M 1", "aio_write 1M 1", "aio_read -i 0 1", "aio_write -i 0 1", "aio_write 0", "aio_read -q 0 1", "aio_flush", "aio_write -C 0 1",
	"resume x", "remove_break x", "break nowhere x", "nonsense", "help nonsense", "truncate 512k", "truncate -m nowhere 1", "truncate x", "truncate 1M", "length", "map",
}

// TestLikeQEMU compares each command's output, and the image in the end, with qemu-io's.
func TestLikeQEMU(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Fatal("qemu-io is needed: apt-get install qemu-utils")
	}
	ours, theirs := image(t), image(t)
	b := newBench(t, ours, graph.Options{})
	for _, cmd := range qemuCommands {
		c := exec.Command("qemu-io", "--image-opts", "driver=blkdebug,image.driver=file,image.filename="+theirs, "-c", cmd)
		out, _ := c.CombinedOutput()
		if strings.HasPrefix(cmd, "wait") {
			continue
		}
		if got, want := alike(b.run(t, cmd)), alike(string(out)); got != want {
			t.Errorf("%s:\n%s\nqemu-io:\n%s", cmd, got, want)
		}
	}
	a, errA := os.ReadFile(ours)
	q, errQ := os.ReadFile(theirs)
	if err := errors.Join(errA, errQ); err != nil || !bytes.Equal(a, q) {
		t.Errorf("%v: the images differ", err)
	}
}

// TestSource writes what is in a file.
func TestSource(t *testing.T) {
	b := newBench(t, image(t), graph.Options{})
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.run(t, "write -q -s "+source+" 0 10") + b.run(t, "read -v 0 16"); !strings.Contains(got, "abcabcabca") {
		t.Error(got)
	}
	if err := os.Truncate(source, 0); err != nil {
		t.Fatal(err)
	}
	if got := b.run(t, "write -s "+source+" 0 10"); !strings.Contains(got, "file is empty") {
		t.Error(got)
	}
}

// TestReopen looks at what a command makes of its options.
func TestReopen(t *testing.T) {
	b := newBench(t, image(t), graph.Options{})
	for line, want := range map[string]string{
		"reopen": "map[] -", "reopen -r": "map[read-only:true] -", "reopen -w -o a.b=c,,d,e": "map[a:map[b:c,d] e:on read-only:false] -",
		"reopen -c none": "map[cache:map[direct:true no-flush:false]] false", "reopen -c writethrough": "map[cache:map[direct:false no-flush:false]] true",
		"reopen -r -w": "hv: Only one -r/-w option may be given", "reopen -c fast": "hv: Invalid cache option: fast",
		"reopen -r -o read-only=on": "hv: Cannot set both -r/-w and 'read-only'", "reopen -c none -o cache.direct=on": "hv: Cannot set both -c and the cache options",
		"reopen x": "reopen [(-r|-w)] [-c cache] [-o options] -- reopens an image with new options",
	} {
		got := strings.TrimSpace(b.run(t, line))
		if got == "" {
			got = fmt.Sprint(map[string]any(b.reopened.Options), " -")
			if w := b.reopened.WriteThrough; w != nil {
				got = fmt.Sprint(map[string]any(b.reopened.Options), " ", *w)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func TestReadOnly(t *testing.T) {
	b := newBench(t, image(t), graph.Options{ReadOnly: true})
	if got := b.run(t, "write 0 512"); got != "hv: Block node is read-only\n" {
		t.Error(got)
	}
	if got := b.run(t, "read -q 0 512"); got != "" {
		t.Error(got)
	}
}

// TestEnded hears of a request before what came of it is printed, and gets the hold back with the answer.
func TestEnded(t *testing.T) {
	b := newBench(t, image(t), graph.Options{})
	said, ended := "", 0
	b.shell.cfg.Ended = func(context.Context) { said += b.out.take(); ended++ }
	if got := b.run(t, "read 0 512"); ended != 1 || said != "" || !strings.HasPrefix(got, "read 512") {
		t.Errorf("%d, %q, then %q", ended, said, got)
	}
	if got := b.run(t, "read 1M 512"); ended != 2 || said != "" || !strings.Contains(got, "read failed") {
		t.Errorf("%d, %q, then %q", ended, said, got)
	}
	for i := range 200 {
		_ = b.run(t, "read -q 0 1")
		b.control.Lock()
		held := b.held
		b.control.Unlock()
		if held != 0 {
			t.Fatalf("run %d: the node is held after the answer", i)
		}
	}
}

// TestBreakpoints has requests wait while others go on, and ends them all with the shell.
func TestBreakpoints(t *testing.T) {
	b := newBench(t, image(t), graph.Options{})
	b.waits, b.stats = false, account.New(account.Config{})
	for _, c := range [][2]string{
		{"break pwritev A", ""}, {"aio_write -P 1 0 512", ""}, {"wait_break A", ""}, {"read -q -P 0x30 0 1", ""}, {"resume B", "Could not resume request: No such file or directory\n"},
	} {
		if got := b.run(t, c[0]); got != c[1] {
			t.Errorf("%s: %s", c[0], got)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	b.shell.Run(short, b, "aio_flush") // which must not hang
	if got := b.run(t, "resume A") + b.run(t, "aio_flush"); !strings.HasPrefix(got, "wrote 512/512") {
		t.Error(got)
	}
	if n := b.stats.Total(account.Write); n.Operations != 1 || n.Bytes != 512 {
		t.Errorf("%+v", n)
	}
	b.run(t, "aio_read -i 0 512")
	if n := b.stats.Total(account.Read); n.Invalid != 1 {
		t.Errorf("%+v", n)
	}
	b.run(t, "break pwritev B")
	b.run(t, "aio_write 0 512")
	b.run(t, "wait_break B")
	b.run(t, "break pwritev C")
	sync, end := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, end)
	b.shell.Run(sync, b, "write 0 512") // given up by whoever asked, and goes on
}

// TestConcurrent has many commands at once.
func TestConcurrent(t *testing.T) {
	b := newBench(t, image(t), graph.Options{})
	var users sync.WaitGroup
	for u := range 8 {
		users.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(u), 1))
			for range 50 {
				b.shell.Run(t.Context(), b, []string{"read 0 4k", "write 4k 4k", "aio_write 8k 512", "aio_read 0 512", "aio_flush", "map", "flush"}[rng.IntN(7)])
			}
		})
	}
	users.Wait()
	if got := b.err.take(); got != "" {
		t.Error(got)
	}
}

func FuzzLine(f *testing.F) {
	for _, c := range qemuCommands {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Fields(line)
		if len(args) == 0 {
			return
		}
		cmd := find(args[0])
		if cmd == nil {
			return
		}
		var out output
		r := &run{shell: New(Config{Out: &out, Err: &out}), cmd: cmd}
		if _, rest, ok := r.settings(args, 0, true); ok && len(rest) > 0 {
			if n, err := parseSize(rest[0]); err == nil && n < 0 {
				t.Errorf("%s is %d", rest[0], n)
			}
		}
	})
}
