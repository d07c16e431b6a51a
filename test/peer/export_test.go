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

// BenchmarkExport compares hv's NBD server with qemu-nbd on copies of one image, with
// QEMU's client for both, in turns.
func BenchmarkExport(b *testing.B) {
	for _, c := range []struct {
		name  string
		n     int
		flags []string
	}{
		{"read-4k-depth-1", 10000, []string{"-d", "1", "-s", "4096"}}, {"read-4k-depth-32", 30000, []string{"-d", "32", "-s", "4096"}},
		{"write-4k-depth-1", 10000, []string{"-w", "-d", "1", "-s", "4096"}}, {"write-4k-depth-32", 30000, []string{"-w", "-d", "32", "-s", "4096"}},
		{"read-1m-depth-4", 500, []string{"-d", "4", "-s", "1048576"}}, {"write-1m-depth-4", 500, []string{"-w", "-d", "4", "-s", "1048576"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			servers := map[string]string{"hv": export(b), "qemu-nbd": qemuNBD(b)}
			rates := map[string][]float64{}
			for range b.N {
				for range 3 {
					for name, uri := range servers {
						rates[name] = append(rates[name], float64(c.n)/bench(b, uri, c.n, c.flags).Seconds())
					}
				}
			}
			for name := range servers {
				b.ReportMetric(median(rates[name]), name+"-iops")
			}
			b.ReportMetric(median(rates["hv"])/median(rates["qemu-nbd"]), "hv/qemu-nbd")
		})
	}
}

// full makes an image without holes.
func full(b *testing.B) string {
	b.Helper()
	path := hvrun.Image(b, b.TempDir(), 64)
	data := make([]byte, 64<<20)
	for i := range data {
		data[i] = byte(i) | 1
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// export starts hv with an export and returns its address.
func export(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	qmp, socket := filepath.Join(dir, "q"), filepath.Join(dir, "nbd")
	hvrun.Start(b, hvrun.Binary(b), "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "unix:"+qmp+",server=on,wait=off",
		"-blockdev", "driver=raw,node-name=f,file.driver=file,file.filename="+full(b))
	conn := connect(b, qmp)
	b.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, `{"execute":"qmp_capabilities"}{"execute":"nbd-server-start","arguments":{"addr":{"type":"unix","data":{"path":%q}}}}`, socket)
	fmt.Fprint(conn, `{"execute":"block-export-add","arguments":{"type":"nbd","id":"e","node-name":"f","writable":true}}`)
	exported(b, "nbd+unix:///f?socket="+socket)
	return "nbd+unix:///f?socket=" + socket
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

func qemuNBD(b *testing.B) string {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "nbd")
	hvrun.Start(b, hvrun.Tool(b, "qemu-nbd"), "-t", "-f", "raw", "-e", "8", "--aio", "io_uring", "-k", socket, full(b))
	uri := "nbd+unix://?socket=" + socket
	exported(b, uri)
	return uri
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
