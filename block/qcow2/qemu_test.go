package qcow2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// qemuIO runs commands of qemu-io.
func qemuIO(t testing.TB, path string, cmds ...string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Fatal("no qemu-io: apt-get install qemu-utils")
	}
	cmd := exec.Command("qemu-io", "-f", "qcow2", path)
	cmd.Stdin = strings.NewReader(strings.Join(cmds, "\n") + "\nquit\n")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "failed") {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
}

type rawBacking struct{ b []byte }

func (r rawBacking) Size() int64 { return int64(len(r.b)) }
func (r rawBacking) Readv(off int64, v [][]byte) error {
	for _, b := range v {
		off += int64(copy(b, r.b[off:]))
	}
	return nil
}

// qemuOps has qemu-io do random operations and returns them.
func qemuOps(rng *rand.Rand, want []byte, cluster int64, touched map[int64]bool) []string {
	var cmds []string
	for i := range 60 {
		u := []int64{512, 4096, cluster}[rng.IntN(3)]
		off := rng.Int64N(int64(len(want))) / u * u
		n := min((rng.Int64N(5)+1)*u, int64(len(want))-off)
		p := byte(rng.Int())
		switch op := rng.IntN(8); {
		case op < 4:
			cmds = append(cmds, fmt.Sprintf("write -P %d %d %d", p, off, n))
		case i < 10 && touched != nil:
			// QEMU compresses into unallocated clusters only, and 7.2 may do so into a data
			// cluster once a compressed one has been freed.
			if touched[off/cluster] {
				continue
			}
			off = off / cluster * cluster
			n = min(cluster, int64(len(want))-off)
			cmds = append(cmds, fmt.Sprintf("write -c -P %d %d %d", p, off, n))
		default:
			p = 0
			cmds = append(cmds, fmt.Sprintf("write -z %s %d %d", []string{"", "-u"}[rng.IntN(2)], off, n))
		}
		for c := off / cluster; touched != nil && c <= (off+n-1)/cluster; c++ {
			touched[c] = true
		}
		copy(want[off:off+n], bytes.Repeat([]byte{p}, int(n)))
	}
	return cmds
}

// TestQEMUWrites reads what QEMU wrote, goes on writing, and has QEMU write again.
func TestQEMUWrites(t *testing.T) {
	for i, opts := range []string{
		"", "compat=0.10", "cluster_size=512", "cluster_size=4096,refcount_bits=1", "compression_type=zstd",
		"extended_l2=on", "extended_l2=on,cluster_size=16384,lazy_refcounts=on", "data_file=DATA", "data_file=DATA,data_file_raw=on",
		"preallocation=metadata", "cluster_size=2M,refcount_bits=64", "lazy_refcounts=on", "BACKING", "BACKING,extended_l2=on", "BACKING,cluster_size=1024",
	} {
		t.Run(opts, func(t *testing.T) {
			t.Parallel()
			dir := plainDir(t)
			path := filepath.Join(dir, "a.qcow2")
			rng := rand.New(rand.NewPCG(uint64(i), 3))
			size := int64(2<<20 + 512)
			want := make([]byte, size)
			o := Options{}
			if strings.Contains(opts, "BACKING") {
				b := bytes.Repeat([]byte{0xb5}, 1<<20+700)
				copy(want, b)
				o.Backing = rawBacking{b}
				if err := os.WriteFile(filepath.Join(dir, "base"), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			data := filepath.Join(dir, "data")
			args := strings.NewReplacer("DATA", data, "BACKING", "backing_file="+filepath.Join(dir, "base")+",backing_fmt=raw").Replace(opts)
			qemuImg(t, "create", "-f", "qcow2", "-o", strings.TrimSuffix("size="+fmt.Sprint(size)+","+args, ","), path)
			if strings.Contains(opts, "data_file") {
				o.DataFile = openFile(t, data)
			}
			h, err := ParseHeader(openFile(t, path))
			if err != nil {
				t.Fatal(err)
			}
			touched := map[int64]bool{}
			if o.DataFile != nil || strings.Contains(opts, "preallocation") {
				touched = nil
			}
			for range 2 {
				qemuIO(t, path, qemuOps(rng, want, 1<<h.ClusterBits, touched)...)
				touched = nil // ours are to come
				im, err := Open(openFile(t, path), o)
				if err != nil {
					t.Fatal(err)
				}
				d := &disk{im: im, want: want, rng: rng}
				if err := d.compare(0, size); err != nil {
					t.Fatal("QEMU's writes: ", err)
				}
				for i := range 60 {
					if err := d.step(); err != nil {
						t.Fatalf("step %d: %v", i, err)
					}
				}
				compareMap(t, path, im)
				if err := im.Close(); err != nil {
					t.Fatal(err)
				}
				o := o
				o.ReadOnly = true
				if im, err = Open(openFile(t, path), o); err != nil {
					t.Fatal(err)
				}
				verify(t, path, im, want)
				compareMap(t, path, im)
			}
		})
	}
}

// compareMap sets BlockStatus against qemu-img map.
func compareMap(t *testing.T, path string, im *Image) {
	t.Helper()
	if !im.opt.ReadOnly || im.geo.external {
		return
	}
	var theirs []struct {
		Start, Length int64
		Depth         int
		Zero, Data    bool
		Compressed    bool
		Offset        *int64
	}
	if err := json.Unmarshal([]byte(qemuImg(t, "map", "-U", "--output=json", "-f", "qcow2", path)), &theirs); err != nil {
		t.Fatal(err)
	}
	for _, m := range theirs {
		for off := m.Start; off < m.Start+m.Length; {
			x, err := im.BlockStatus(off, m.Start+m.Length-off)
			if err != nil {
				t.Fatal(err)
			}
			ours := x.Status&Allocated != 0
			if ours && (m.Depth != 0 || m.Zero != (x.Status&Zero != 0) || m.Data != (x.Status&Data != 0)) || !ours && m.Depth == 0 && m.Data {
				t.Errorf("at %d: %+v, QEMU says %+v", off, x, m)
			}
			if x.Status&OffsetValid != 0 && x.Status&Data != 0 && (m.Offset == nil || *m.Offset+off-m.Start != x.Offset) {
				t.Errorf("at %d: %+v, QEMU has offset %v", off, x, m.Offset)
			}
			off += x.N
		}
	}
}

// TestSnapshotsWithQEMU takes, applies and deletes snapshots, and has QEMU do the same.
func TestSnapshotsWithQEMU(t *testing.T) {
	for _, v := range variants {
		if v.o.DataFile != "" || v.o.RefcountBits == 1 || v.o.RefcountBits == 2 || v.o.ClusterSize == 2<<20 {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			size := int64(1<<20 + 512)
			path, f, _ := v.create(t, size)
			d := &disk{want: make([]byte, size), rng: rand.New(rand.NewPCG(7, 7))}
			states := map[string][]byte{}
			const limit = 4
			for round := range 8 {
				im, err := Open(f, Options{})
				if err != nil {
					t.Fatal(err)
				}
				d.im = im
				for i := range 40 {
					if err := d.step(); err != nil {
						t.Fatalf("round %d step %d: %v", round, i, err)
					}
				}
				name := fmt.Sprintf("s%d", round)
				take := len(states) < limit
				if take {
					if round%2 == 0 {
						if _, err := im.CreateSnapshot(Snapshot{Name: name}); err != nil {
							t.Fatal(err)
						}
						states[name] = bytes.Clone(d.want)
					}
				}
				for k := range states {
					if round%4 == 3 && k != name && im.findSnapshot(k) >= 0 {
						if err := im.ApplySnapshot(k); err != nil {
							t.Fatal(err)
						}
						copy(d.want, states[k])
						break
					}
				}
				if err := d.compare(0, size); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if err := im.Close(); err != nil {
					t.Fatal(err)
				}
				if take && round%2 == 1 {
					qemuImg(t, "snapshot", "-c", name, path)
					states[name] = bytes.Clone(d.want)
				}
				d.dropOne(t, f, path, round, states)
				checkSnapshots(t, f, path, states)
				ro, err := Open(f, Options{ReadOnly: true})
				if err != nil {
					t.Fatal(err)
				}
				verify(t, path, ro, d.want)
			}
		})
	}
}

// dropOne deletes a snapshot, by QEMU or by ours.
func (d *disk) dropOne(t *testing.T, f Storage, path string, round int, states map[string][]byte) {
	t.Helper()
	for k := range states {
		if round < 3 {
			return
		}
		delete(states, k)
		if round%2 == 0 {
			qemuImg(t, "snapshot", "-d", k, path)
			return
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.DeleteSnapshot(k); err != nil {
			t.Fatal(err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
}

func checkSnapshots(t *testing.T, f Storage, path string, states map[string][]byte) {
	t.Helper()
	for k, want := range states {
		im, err := OpenSnapshot(f, Options{}, k)
		if err != nil {
			t.Fatal(err)
		}
		d := &disk{im: im, want: want, rng: rand.New(rand.NewPCG(1, 1))}
		if err := d.compare(0, int64(len(want))); err != nil {
			t.Fatalf("snapshot %s: %v", k, err)
		}
		raw := filepath.Join(t.TempDir(), "raw")
		qemuImg(t, "convert", "-l", "snapshot.name="+k, "-f", "qcow2", "-O", "raw", path, raw)
		if got, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("snapshot %s: QEMU reads something else (%v), %d bytes instead of %d, at %d", k, err, len(got), len(want), diff(got, want))
		}
	}
}

// plainDir is a directory whose name has no comma, which QEMU's options would need doubled.
func plainDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "qcow2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
