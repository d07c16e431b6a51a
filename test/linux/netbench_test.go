package linux

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"hv/test/hvrun"
	"hv/test/netlab"
)

var receiver = regexp.MustCompile(`([0-9.]+) Mbits/sec +receiver`)

// BenchmarkTCP is one TCP connection of iperf3 between a stock guest and this machine by a
// tap, each way, with the packets moved by the monitor and by the kernel's vhost.
func BenchmarkTCP(b *testing.B) {
	for _, vhost := range []string{"off", "on"} {
		b.Run("vhost="+vhost, func(b *testing.B) { throughput(b, "tap,id=n0,ifname=hvtcp,script=no,downscript=no,vhost="+vhost) })
	}
}

func throughput(b *testing.B, netdev string) {
	const rounds = 3
	netlab.Tap(b, "hvtcp", 1)
	if out, err := exec.Command("ip", "addr", "add", loadHost+"/24", "dev", "hvtcp").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for range b.N {
		rates := map[string][]float64{}
		for range rounds {
			for name, program := range map[string]string{"hv": hvrun.Binary(b), "qemu": qemu} {
				surviving(b, func() {
					defer iperfServer(b, loadHost)()
					c := converse(b, nil, program, join(obeying(1), []string{"-netdev", netdev, "-device", "virtio-net-pci,netdev=n0"})...)
					c.do(b, "ip addr add "+loadGuest+"/24 dev eth0\nip link set eth0 up")
					for way, flag := range map[string]string{"send": "", "receive": " -R"} {
						m := receiver.FindStringSubmatch(c.do(b, "iperf3 -f m -t 4 -O 1 -c "+loadHost+flag))
						rate, err := strconv.ParseFloat(m[1], 64)
						if err != nil {
							b.Fatal(err)
						}
						rates[name+"-"+way] = append(rates[name+"-"+way], rate)
					}
					_ = c.Cmd.Process.Kill()
					<-c.Ended()
				})
			}
		}
		for what := range rates {
			slices.Sort(rates[what])
			b.ReportMetric(rates[what][rounds/2], what+"-Mbit/s")
		}
		for _, way := range []string{"send", "receive"} {
			b.ReportMetric(rates["hv-"+way][rounds/2]/rates["qemu-"+way][rounds/2], "hv/qemu-"+way)
		}
	}
}
