package formats

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hv/block/graph"
	"hv/test/hvrun"
)

// geometry is what an image of a chain is like.
type geometry struct {
	options []string // of qemu-img create
	cluster int64
	size    int64
	raw     bool
	plain   bool           // without compressed clusters
	data    bool           // with a data file
	touched map[int64]bool // clusters: QEMU compresses only into others, and not once any may have been freed
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// randomGeometry makes one up; small sizes keep many clusters in reach of few requests.
func randomGeometry(rng *rand.Rand, dir string, i int) geometry {
	g := geometry{cluster: pick[int64](rng, 512, 1024, 4096, 16384, 65536, 262144), size: 512 * (200 + rng.Int64N(4000)), touched: map[int64]bool{}}
	if i == 0 && rng.IntN(3) == 0 {
		g.raw = true
		return g
	}
	add := func(format string, args ...any) { g.options = append(g.options, fmt.Sprintf(format, args...)) }
	compat := rng.IntN(6) > 0
	if !compat {
		add("compat=0.10")
	} else {
		add("refcount_bits=%d", pick(rng, 8, 16, 32, 64))
		if g.cluster >= 16384 && rng.IntN(3) == 0 {
			add("extended_l2=on")
		}
		add("lazy_refcounts=%s", pick(rng, "on", "off"))
		add("compression_type=%s", pick(rng, "zlib", "zstd"))
		if rng.IntN(6) == 0 {
			g.data, g.plain = true, true
			add("data_file=%s/DATA%d", dir, i)
			add("data_file_raw=%s", pick(rng, "on", "off"))
		}
	}
	add("cluster_size=%d", g.cluster)
	if i == 0 && rng.IntN(5) == 0 {
		add("preallocation=%s", pick(rng, "metadata", "falloc"))
		g.plain = true
	}
	return g
}

// request is what is done to an image, by hv and by QEMU.
type request struct {
	op      string // write, zero, unmap, discard, compress, flush
	off, n  int64
	pattern byte
}

// randomRequests makes requests that both carry out alike.
func randomRequests(rng *rand.Rand, g *geometry, count int) []request {
	var l []request
	for range count {
		unit := pick(rng, 512, 4096, g.cluster, g.cluster*2)
		off := rng.Int64N(g.size) / unit * unit
		r := request{off: off, n: min((1+rng.Int64N(4))*unit, g.size-off), pattern: byte(1 + rng.IntN(255)), op: pick(rng, "write", "write", "write", "zero", "unmap", "discard", "flush", "compress")}
		if r.op == "compress" {
			r.off = off / g.cluster * g.cluster
			if r.n = g.cluster; r.off+r.n > g.size || g.plain || g.raw || g.touched[r.off/g.cluster] {
				r.op, r.n = "write", min(512, g.size-r.off)
			}
		}
		if r.op != "compress" && r.op != "flush" {
			g.plain = true
		}
		if r.n > 0 {
			for at := r.off / g.cluster; at <= (r.off+r.n-1)/g.cluster; at++ {
				g.touched[at] = true
			}
			l = append(l, r)
		}
	}
	return l
}

// command returns the request as qemu-io takes it.
func (r *request) command() string {
	switch r.op {
	case "write":
		return fmt.Sprintf("write -P %d %d %d", r.pattern, r.off, r.n)
	case "compress":
		return fmt.Sprintf("write -c -P %d %d %d", r.pattern, r.off, r.n)
	case "zero":
		return fmt.Sprintf("write -z %d %d", r.off, r.n)
	case "unmap":
		return fmt.Sprintf("write -z -u %d %d", r.off, r.n)
	case "discard":
		return fmt.Sprintf("discard %d %d", r.off, r.n)
	}
	return "flush"
}

// do carries the request out by a node.
func (r *request) do(c *graph.Child) error {
	data := func() [][]byte { return [][]byte{slices.Repeat([]byte{r.pattern}, int(r.n))} }
	switch r.op {
	case "write":
		return c.Writev(r.off, data(), 0)
	case "compress":
		return c.Writev(r.off, data(), graph.Compressed)
	case "zero":
		return c.WriteZeroes(r.off, r.n, 0)
	case "unmap":
		return c.WriteZeroes(r.off, r.n, graph.MayUnmap)
	case "discard":
		return c.Discard(r.off, r.n)
	}
	return c.Flush()
}

// byQEMU has qemu-io carry requests out.
func byQEMU(t testing.TB, dir string, g *geometry, path string, l []request) {
	t.Helper()
	format := "qcow2"
	if g.raw {
		format = "raw"
	}
	var lines []string
	for i := range l {
		lines = append(lines, l[i].command())
	}
	cmd := exec.Command(hvrun.Tool(t, "qemu-io"), "-d", "unmap", "-f", format, path)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(lines, "\n")+"\n")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "failed") {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
}

// byUs has hv carry requests out.
func byUs(t testing.TB, path string, l []request) {
	t.Helper()
	x := newOpener()
	n := open(t, x, `{"driver":"qcow2","discard":"unmap","file":{"driver":"file","filename":"`+path+`"}}`)
	c := user(t, n, graph.ConsistentRead|graph.Write)
	for i := range l {
		if err := l[i].do(c); err != nil {
			t.Errorf("request %d, %+v: %v", i, l[i], err)
		}
	}
	if err := errors.Join(c.Close(), n.Unref()); err != nil || len(x.Graph.Nodes()) > 0 {
		t.Error(err)
	}
}

// extent is a line of qemu-img map. Where data lies is up to who allocates it, but not whether
// there is a place.
type extent struct {
	Start, Length, Depth int64
	Present, Zero, Data  bool
	Offset               placed
}

// placed tells whether there is an offset.
type placed bool

// UnmarshalJSON takes any offset.
func (p *placed) UnmarshalJSON([]byte) error {
	*p = true
	return nil
}

// mapOf returns what qemu-img says lies where, with runs that are alike as one.
func mapOf(t testing.TB, dir, path string) []extent {
	t.Helper()
	var all, out []extent
	if err := json.Unmarshal([]byte(tool(t, dir, "qemu-img", "map", "--output=json", "-f", "qcow2", path)), &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if n := len(out); n > 0 {
			last := out[n-1]
			last.Start, last.Length = e.Start, e.Length
			if last == e {
				out[n-1].Length += e.Length
				continue
			}
		}
		out = append(out, e)
	}
	return out
}

// TestBesideQEMU builds chains of 1 to 20 images of random geometries, has hv and QEMU carry
// out the same requests on copies of the top one, and compares what is read and the maps.
func TestBesideQEMU(t *testing.T) {
	for seed := range uint64(hvrun.Count(24, 400)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { besideQEMU(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

// besideQEMU is one round.
func besideQEMU(t *testing.T, rng *rand.Rand) {
	dir := t.TempDir()
	below := ""
	depth := 1 + rng.IntN(pick(rng, 1, 3, 20))
	var g geometry
	var name string
	for i := range depth {
		g = randomGeometry(rng, dir, i)
		if i == depth-1 && g.raw {
			g = randomGeometry(rng, dir, 1)
		}
		name = fmt.Sprintf("image%d", i)
		format := "qcow2"
		if g.raw {
			format = "raw"
		}
		args := []string{"create", "-q", "-f", format}
		if below != "" {
			g.options = slices.DeleteFunc(g.options, func(o string) bool { return strings.HasPrefix(o, "data_file") || strings.HasPrefix(o, "preallocation") })
			g.data, g.plain = false, false
			args = append(args, "-b", strings.Fields(below)[0], "-F", strings.Fields(below)[1])
		}
		if len(g.options) > 0 {
			args = append(args, "-o", strings.Join(g.options, ","))
		}
		tool(t, dir, "qemu-img", append(args, name, fmt.Sprint(g.size))...)
		byQEMU(t, dir, &g, name, randomRequests(rng, &g, 12))
		if !g.raw && !g.data && rng.IntN(4) == 0 {
			tool(t, dir, "qemu-img", "snapshot", "-c", "s", name)
		}
		below = name + " " + format
	}
	ours, theirs := name+".hv", name+".qemu"
	for _, copied := range []string{ours, theirs} {
		copyImage(t, dir, name, copied, &g)
	}
	l := randomRequests(rng, &g, 60)
	byUs(t, filepath.Join(dir, ours), l)
	byQEMU(t, dir, &g, theirs, l)
	for _, image := range []string{ours, theirs} {
		tool(t, dir, "qemu-img", "check", "-q", "-f", "qcow2", image)
	}
	tool(t, dir, "qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", ours, theirs)
	if a, b := mapOf(t, dir, ours), mapOf(t, dir, theirs); !slices.Equal(a, b) {
		only := func(all, others []extent) []extent {
			return slices.DeleteFunc(slices.Clone(all), func(e extent) bool { return slices.Contains(others, e) })
		}
		t.Errorf("%v: the maps differ\nhv   %+v\nQEMU %+v\n%v", g.options, only(a, b), only(b, a), l)
	}
	if t.Failed() {
		t.Logf("depth %d, %+v", depth, g)
	}
}

// copyImage copies an image, and its data file.
func copyImage(t testing.TB, dir, from, to string, g *geometry) {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	path := filepath.Join(dir, to)
	if err := os.WriteFile(path, read(filepath.Join(dir, from)), 0o600); err != nil {
		t.Fatal(err)
	}
	if !g.data {
		return
	}
	i := slices.IndexFunc(g.options, func(o string) bool { return strings.HasPrefix(o, "data_file=") })
	data := strings.TrimPrefix(g.options[i], "data_file=")
	if err := os.WriteFile(path+".data", read(data), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, dir, "qemu-img", "amend", "-f", "qcow2", "-o", "data_file="+path+".data", to)
}
