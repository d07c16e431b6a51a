package linux

import (
	"cmp"
	"fmt"
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
		b.Run("vhost="+vhost, func(b *testing.B) { throughput(b, "vhost="+vhost) })
	}
}

// contender is a program with a guest on a tap and a subnet of its own.
type contender struct{ name, program, tap, subnet string }

func (c contender) host() string  { return c.subnet + ".1" }
func (c contender) guest() string { return c.subnet + ".2" }

// throughput has both programs' guests take turns, as one in the bed differs from the next
// run of itself by more than the programs do.
func throughput(b *testing.B, netdev string) {
	const rounds = 8
	contenders := []contender{
		{"hv", hvrun.Binary(b), "hvtcp0", "10.79.0"},
		{"qemu", qemu, "hvtcp1", "10.79.1"},
	}
	for _, c := range contenders {
		netlab.Tap(b, c.tap, 1)
		run(b, "ip", "addr", "add", c.host()+"/24", "dev", c.tap)
	}
	rates := map[string][]float64{}
	left := rounds * b.N
	enduring(b, func() { takeTurns(b, contenders, netdev, rates, &left) }, func() int { return left })
	for _, way := range []string{"send", "receive"} {
		hv, qemu := median(rates["hv-"+way]), median(rates["qemu-"+way])
		b.ReportMetric(hv, "hv-"+way+"-Mbit/s")
		b.ReportMetric(qemu, "qemu-"+way+"-Mbit/s")
		b.ReportMetric(hv/qemu, "hv/qemu-"+way)
	}
}

func median[T cmp.Ordered](of []T) T {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// takeTurns measures each way of each guest until no rounds are left.
func takeTurns(b *testing.B, contenders []contender, netdev string, rates map[string][]float64, left *int) {
	guests := make([]*console, len(contenders))
	for i, c := range contenders {
		defer iperfServer(b, c.host())()
		guest := converse(b, nil, c.program, join(obeying(1), []string{
			"-netdev", fmt.Sprintf("tap,id=n0,ifname=%s,script=no,downscript=no,%s", c.tap, netdev), "-device", "virtio-net-pci,netdev=n0",
		})...)
		defer guest.Kill(b)
		guest.do(b, "ip addr add "+c.guest()+"/24 dev eth0\nip link set eth0 up")
		guests[i] = guest
	}
	for ; *left > 0; *left-- {
		for _, way := range []struct{ name, flag string }{{"send", ""}, {"receive", " -R"}} {
			for k := range contenders {
				i := (k + *left) % len(contenders) // each is first as often as second
				c := contenders[i]
				m := receiver.FindStringSubmatch(guests[i].do(b, "iperf3 -f m -t 4 -O 1 -c "+c.host()+way.flag))
				rate, err := strconv.ParseFloat(m[1], 64)
				if err != nil {
					b.Fatal(err)
				}
				rates[c.name+"-"+way.name] = append(rates[c.name+"-"+way.name], rate)
			}
		}
	}
}
