package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"hv/test/hvrun"
)

// nbdLoads are loads of QEMU's client, by the image that is exported. Places are far from each other
// unless requests are large.
var nbdLoads = []struct {
	image string
	loads []nbdLoad
}{{"raw", nbdAll}, {"qcow2", nbdAll}, {"empty", nbdAllocating}}

type nbdLoad struct {
	name  string
	n     int
	flags []string
}

var (
	nbdAll = []nbdLoad{
		{"read 4 KiB, depth 1", 5000, []string{"-d", "1", "-s", "4096", "-S", "69632"}}, {"read 4 KiB, depth 32", 20000, []string{"-d", "32", "-s", "4096", "-S", "69632"}},
		{"write 4 KiB, depth 1", 5000, []string{"-w", "-d", "1", "-s", "4096", "-S", "69632"}}, {"write 4 KiB, depth 32", 20000, []string{"-w", "-d", "32", "-s", "4096", "-S", "69632"}},
		{"read 1 MiB in sequence", 500, []string{"-d", "4", "-s", "1048576"}}, {"write 1 MiB in sequence", 500, []string{"-w", "-d", "4", "-s", "1048576"}},
	}
	nbdAllocating = []nbdLoad{
		{"write 4 KiB, depth 1", 3000, []string{"-w", "-d", "1", "-s", "4096", "-S", "65536"}},
		{"write 4 KiB, depth 32", 6000, []string{"-w", "-d", "32", "-s", "4096", "-S", "65536", "-o", "1073741824"}},
	}
)

// BenchmarkExport compares hv's NBD server with qemu-nbd on copies of one image, with
// QEMU's client for both.
func BenchmarkExport(b *testing.B) {
	servers := map[string]func(b *testing.B, format, image string) (string, *hvrun.Proc){"hv": export, "qemu-nbd": qemuNBD}
	t := table{peer: "qemu-nbd"}
	for range b.N {
		for _, x := range nbdLoads {
			turns(blkRounds, [2]string{"hv", "qemu-nbd"}, func(who string) {
				format, image := x.image, ""
				if x.image == "empty" {
					format, image = "qcow2", empty(b, b.TempDir(), "64G")
				} else {
					image = filled(b, b.TempDir(), format, 0)
				}
				defer os.RemoveAll(filepath.Dir(image))
				uri, p := servers[who](b, format, image)
				defer stop(b, p)
				for _, l := range x.loads {
					t.add(x.image+", "+l.name, who, float64(l.n)/bench(b, uri, l.n, l.flags).Seconds())
				}
			})
		}
	}
	t.report(b)
}

// export starts hv with an export and returns its address.
func export(b *testing.B, format, image string) (string, *hvrun.Proc) {
	b.Helper()
	dir := b.TempDir()
	qmp, socket := filepath.Join(dir, "q"), filepath.Join(dir, "nbd")
	p := hvrun.Start(b, hvrun.Binary(b), "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "unix:"+qmp+",server=on,wait=off",
		"-blockdev", "driver="+format+",node-name=f,file.driver=file,file.filename="+image)
	conn := connect(b, qmp)
	b.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, `{"execute":"qmp_capabilities"}{"execute":"nbd-server-start","arguments":{"addr":{"type":"unix","data":{"path":%q}}}}`, socket)
	fmt.Fprint(conn, `{"execute":"block-export-add","arguments":{"type":"nbd","id":"e","node-name":"f","writable":true}}`)
	exported(b, "nbd+unix:///f?socket="+socket)
	return "nbd+unix:///f?socket=" + socket, p
}

// exported waits until an export can be used.
func exported(b *testing.B, uri string) {
	b.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		if exec.Command(hvrun.Tool(b, "nbdinfo"), "--size", uri).Run() == nil {
			return
		}
		<-tick.C
	}
	b.Fatalf("no export at %s", uri)
}

func qemuNBD(b *testing.B, format, image string) (string, *hvrun.Proc) {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "nbd")
	p := hvrun.Start(b, hvrun.Tool(b, "qemu-nbd"), "-t", "-f", format, "-e", "8", "--aio", "io_uring", "-k", socket, image)
	uri := "nbd+unix://?socket=" + socket
	exported(b, uri)
	return uri, p
}

var seconds = regexp.MustCompile(`in ([0-9.]+) seconds`)

// bench returns how long n requests of QEMU's client take.
func bench(b *testing.B, uri string, n int, flags []string) time.Duration {
	b.Helper()
	args := append([]string{"bench", "-f", "raw", "-t", "none", "-c", strconv.Itoa(n)}, flags...)
	out, err := exec.Command(hvrun.Tool(b, "qemu-img"), append(args, uri)...).CombinedOutput()
	m := seconds.FindSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("%v: %s", err, out)
	}
	s, _ := strconv.ParseFloat(string(m[1]), 64)
	return time.Duration(s * float64(time.Second))
}
