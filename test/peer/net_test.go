package peer

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"hv/test/hvrun"
	"hv/test/netlab"
)

// guestMAC is the NIC's, unless it is told otherwise.
const guestMAC = "52:54:00:12:34:56"

// wire is what a NIC is on: netdev options and files for a program, and the
// place to send from and receive at.
type wire struct {
	netdev  string
	open    func(b *testing.B) []*os.File
	station *netlab.Station
}

// eachWire runs a benchmark over a tap and over a macvtap on a veth pair, both without vhost.
func eachWire(b *testing.B, bench func(b *testing.B, w *wire)) {
	b.Run("tap", func(b *testing.B) {
		netlab.Tap(b, "hvpeertap", 1)
		bench(b, &wire{
			netdev: "tap,id=n,ifname=hvpeertap,script=no,downscript=no", open: func(*testing.B) []*os.File { return nil },
			station: netlab.On(b, "hvpeertap", netlab.IPv4),
		})
	})
	b.Run("macvtap", func(b *testing.B) {
		lab := netlab.New(b, "hvpeer")
		files := lab.Macvtap(b, "hvpeermvt", "bridge", guestMAC, 1)
		bench(b, &wire{netdev: "tap,id=n,fd=3", open: func(*testing.B) []*os.File { return files }, station: lab.Station(b, netlab.IPv4)})
	})
}

// boot starts a monitor whose NIC is on the wire.
func (w *wire) boot(b *testing.B, program, commands string) *hvrun.Proc {
	b.Helper()
	return boot(b, w.open(b), program, commands, "-netdev", w.netdev, "-device", "virtio-net-pci,netdev=n,mac="+guestMAC)
}

// measure returns the number that the guest prints, having waited for its end.
func (w *wire) measure(b *testing.B, program, commands, key string) float64 {
	b.Helper()
	p := w.boot(b, program, commands+"; poweroff")
	defer func() { <-p.Ended() }()
	return printed(b, p, key)
}

var sizes = []int{64, 1500}

// BenchmarkNetSend is packets that the guest sends as fast as they are taken.
func BenchmarkNetSend(b *testing.B) {
	eachWire(b, func(b *testing.B, w *wire) {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
				compare(b, "pps", func(program string) float64 {
					return w.measure(b, program, fmt.Sprintf("net.flood n=200000 size=%d", size), "pps")
				})
			})
		}
	})
}

// frame returns a frame to the guest.
func (w *wire) frame(size int) []byte {
	to, _ := net.ParseMAC(guestMAC)
	return w.station.Frame(to, make([]byte, size-14))
}

// flood sends a frame over and over until the function that it returns is called.
func (w *wire) flood(b *testing.B, size int) (end func()) {
	frame, stop := w.frame(size), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for range 64 {
				if err := w.station.Send(frame); err != nil {
					b.Error(err)
					return
				}
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}

// BenchmarkNetReceive is packets of which the host sends more than the guest can take.
func BenchmarkNetReceive(b *testing.B) {
	eachWire(b, func(b *testing.B, w *wire) {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
				compare(b, "pps", func(program string) float64 {
					p := w.boot(b, program, "net.info irq=1; net.rx n=1000 ms=60000; net.rx n=200000 ms=60000; poweroff")
					p.Expect(b, `net\.info`)
					defer w.flood(b, size)()
					p.Expect(b, `net\.rx dev=0 n=1000 `)
					defer func() { <-p.Ended() }()
					return printed(b, p, `n=200000 bytes=\d+ cycles=\d+ tsc_khz=\d+ pps`)
				})
			})
		}
	})
}

// BenchmarkNetLatency is how long a ping from the host takes to come back.
func BenchmarkNetLatency(b *testing.B) {
	eachWire(b, func(b *testing.B, w *wire) {
		for name, how := range map[string]string{"guest-polls": "", "guest-halts": "irq=1"} {
			b.Run(name, func(b *testing.B) {
				compare(b, "us", func(program string) float64 {
					p := w.boot(b, program, "net.echo "+how)
					p.Expect(b, `net\.echo .* ready`)
					defer stop(b, p)
					guest, _ := net.ParseMAC(guestMAC)
					times, err := w.station.Volley(guest, 3000, 64)
					if err != nil {
						b.Fatal(err)
					}
					return us(median(times))
				})
			})
		}
	})
}

// BenchmarkNetControl is how long the commands take that the guest gives its NIC as fast as it
// can, while a client queries the receive filter whenever it is told of a change.
func BenchmarkNetControl(b *testing.B) {
	eachWire(b, func(b *testing.B, w *wire) {
		compare(b, "p99-us", func(program string) float64 {
			path := filepath.Join(b.TempDir(), "q")
			p := boot(b, w.open(b), program, "net.ctrl promisc=off; net.storm ms=1000; poweroff",
				"-netdev", w.netdev, "-device", "virtio-net-pci,id=nic0,netdev=n,mac="+guestMAC, "-qmp", "unix:"+path+",server=on,wait=off")
			conn := connect(b, path)
			defer conn.Close()
			go answerEvents(conn)
			defer func() { <-p.Ended() }()
			return printed(b, p, "p99_us")
		})
	})
}

// answerEvents queries at every change, until the connection ends.
func answerEvents(c net.Conn) {
	_, _ = c.Write([]byte(`{"execute": "qmp_capabilities"}` + "\n"))
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if bytes.Contains(lines.Bytes(), []byte("NIC_RX_FILTER_CHANGED")) {
			_, _ = c.Write([]byte(`{"execute": "query-rx-filter", "arguments": {"name": "nic0"}}` + "\n"))
		}
	}
}

// BenchmarkFilterSync is how long it takes from a guest's change of its address until a packet
// that was sent when hvctl had made the host's link follow is in the guest.
func BenchmarkFilterSync(b *testing.B) {
	for range b.N {
		lab := netlab.New(b, "hvpeer")
		path := filepath.Join(b.TempDir(), "q")
		p := boot(b, lab.Macvtap(b, "hvpeermvt", "bridge", guestMAC, 1), hvrun.Binary(b), "net.ctrl promisc=off; print=ready; spin ms=1000; net.follow n=1000",
			"-netdev", "tap,id=n,fd=3", "-device", "virtio-net-pci,id=nic0,netdev=n,mac="+guestMAC, "-qmp", "unix:"+path+",server=on,wait=off")
		lab.Follow(b, "hvpeermvt")
		p.Expect(b, "guest: ready")
		sync := hvrun.Start(b, filepath.Join(filepath.Dir(hvrun.Binary(b)), "hvctl"), "rxfilter", "sync", path, "--policy", "full")
		for _, key := range []string{"p50_us", "p99_us"} {
			b.ReportMetric(printed(b, p, "net.follow .* "+key), key)
		}
		b.ReportMetric(printed(b, p, "net.follow .* lost"), "lost")
		stop(b, p)
		<-sync.Ended()
	}
}

// BenchmarkNetIdle is how often threads wake up for a guest that halts and whose NIC waits for
// packets, which do not come.
func BenchmarkNetIdle(b *testing.B) {
	eachWire(b, func(b *testing.B, w *wire) {
		compare(b, "wakeups/s", func(program string) float64 {
			p := w.boot(b, program, "net.info irq=1; print=up; idle")
			p.Expect(b, "guest: up")
			defer stop(b, p)
			time.Sleep(time.Second) // what a start leaves to do
			const window = 3 * time.Second
			before := wakeups(b, p)
			time.Sleep(window)
			return (wakeups(b, p) - before) / window.Seconds()
		})
	})
}

// wakeups adds up how often the threads of a process waited.
func wakeups(b *testing.B, p *hvrun.Proc) (sum float64) {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.Cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		if m := waits.FindSubmatch(text); m != nil {
			n, _ := strconv.ParseFloat(string(m[1]), 64)
			sum += n
		}
	}
	return sum
}

var waits = regexp.MustCompile(`\nvoluntary_ctxt_switches:\s*(\d+)`)
