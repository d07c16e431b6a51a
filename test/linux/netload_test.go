package linux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/qmp/client"
	"hv/test/flow"
	"hv/test/hvrun"
	"hv/test/netlab"
)

const (
	loadHost  = "10.78.0.1"
	loadGuest = "10.78.0.2"
	loadPort  = ":7007"
)

// load is a kind of traffic: what the guest runs, for $S seconds.
type load struct{ name, guest string }

var loads = []load{
	{"streams", "netguest streams " + loadHost + loadPort + " $S 4"},
	{"jumbo streams", "ip link set eth0 mtu 9000; netguest streams " + loadHost + loadPort + " $S 4; ip link set eth0 mtu 1500"},
	{"datagrams", "netguest datagrams " + loadHost + loadPort + " $S 1400"},
	{"flood", "netguest datagrams " + loadHost + loadPort + " $S 22"}, // frames of 64 bytes
	{"iperf3", "iperf3 -c " + loadHost + " -t $S -P 2"},
	{"iperf3 back", "iperf3 -c " + loadHost + " -t $S -R"},
	// It gives up if the first datagram of all is lost.
	{"iperf3 UDP", "for i in 1 2 3; do iperf3 -c " + loadHost + " -t $S -u -b 0 -l 1400 && break; done"},
}

// TestNetworkLoad moves data of every kind, which both ends check, while the VM is paused and
// resumed, its NIC's cable drawn and its netdev exchanged: nothing hangs, no byte is
// wrong, and no descriptor is left.
func TestNetworkLoad(t *testing.T) {
	for name, netdev := range map[string]string{"own": "", "vhost": `,"vhost":true`} {
		t.Run(name, func(t *testing.T) {
			netlab.Tap(t, "hvload", 4)
			run(t, "ip", "addr", "add", loadHost+"/24", "dev", "hvload")
			run(t, "ip", "link", "set", "hvload", "mtu", "9000")
			serveLoads(t)
			left := loads
			if netdev != "" && !hvrun.Soak() {
				left = loads[1:4]
			}
			// What a guest has done before the bed lost it counts.
			enduring(t, func() { netLoad(t, netdev, &left) }, func() int { return len(left) })
		})
	}
}

// tapOptions are netdev options in JSON, for -netdev and netdev_add.
func tapOptions(more string) string {
	return `{"type":"tap","id":"n0","ifname":"hvload","script":"no","downscript":"no","queues":4` + more + `}`
}

// serveLoads has all that the guest connects to.
func serveLoads(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", loadHost+loadPort)
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", loadHost+loadPort)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ended, end := context.WithCancel(context.Background())
	wg.Go(func() { flow.Echo(p) })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				// A guest that the bed lost leaves its connections open.
				defer context.AfterFunc(ended, func() { c.Close() })()
				// The guest tells of a connection that was broken off, if it is not lost itself.
				m, err := flow.Answer(c)
				if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.ETIMEDOUT) {
					t.Errorf("stream after %+v: %v", m, err)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.Close()
		end()
		wg.Wait()
	})
}

// iperfServer starts iperf3's server, which goes on until end is called. One that has served a
// lost guest is busy with it for long, so that each guest has one of its own.
func iperfServer(t testing.TB, address string) (end func()) {
	t.Helper()
	server := hvrun.Start(t, "iperf3", "-s", "-B", address, "--forceflush")
	server.Expect(t, "listening")
	return func() { server.Kill(t) }
}

var moved = regexp.MustCompile(`(?:received|back)=(\d+)`)

func netLoad(t *testing.T, options string, left *[]load) {
	defer iperfServer(t, loadHost)()
	socket := scratch(t) + "/qmp"
	// A kernel that hangs is to show where.
	c := converse(t, nil, hvrun.Binary(t), join(obeying(4, "loglevel=5"), []string{
		"-qmp", "unix:" + socket + ",server=on,wait=off", "-netdev", tapOptions(options), "-device", "virtio-net-pci,id=nic0,netdev=n0,mq=on",
	})...)
	q := hvrun.Dial(t, c.Proc, socket)
	seconds := hvrun.Count(2, 60)
	c.do(t, "ip addr add "+loadGuest+"/24 dev eth0\nip link set eth0 up\nS="+strconv.Itoa(seconds))
	before := 0
	for ; len(*left) > 0; *left = (*left)[1:] {
		l := (*left)[0]
		out := disturbed(t, c, q, l, time.Duration(seconds)*time.Second, tapOptions(options))
		if m := moved.FindStringSubmatch(out); m != nil && m[1] == "0" {
			t.Errorf("%s: nothing came back: %s", l.name, out)
		}
		t.Logf("%s: %s", l.name, moved.FindString(out))
		if before == 0 {
			before = descriptors(t, c.Cmd.Process.Pid)
		}
	}
	// The last netdev that went may be on its way still.
	tick := time.NewTicker(every)
	defer tick.Stop()
	limit := time.After(hvrun.Patience)
	for after := before + 1; after > before; {
		select {
		case <-tick.C:
			after = descriptors(t, c.Cmd.Process.Pid)
		case <-limit:
			t.Fatalf("%d descriptors after the first load, %d after the last", before, after)
		}
	}
	execute(t, q, "quit")
	c.Wait(t)
}

// disturbed has the guest make a load, and returns what it printed. What was lost is sent again
// later and later: the end is undisturbed.
func disturbed(t *testing.T, c *console, q *client.Client, l load, long time.Duration, netdev string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- disturb(ctx, q, netdev) }()
	out := c.do(t, l.guest)
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("%s: %v", l.name, err)
	}
	return out
}

// every is how often something is done to a VM under load.
const every = 250 * time.Millisecond

// disturb pauses the VM, draws its cable and exchanges its netdev, in no order, until ctx ends.
// It leaves the VM as it was.
func disturb(ctx context.Context, q *client.Client, netdev string) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	pairs := [][2][2]string{
		{{"stop", "{}"}, {"cont", "{}"}},
		{{"set_link", `{"name":"nic0","up":false}`}, {"set_link", `{"name":"nic0","up":true}`}},
		{{"netdev_del", `{"id":"n0"}`}, {"netdev_add", netdev}},
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, command := range pairs[rand.IntN(len(pairs))] {
			if err := q.Execute(context.Background(), command[0], json.RawMessage(command[1]), nil); err != nil {
				return fmt.Errorf("%s: %w", command[0], err)
			}
			for len(q.Events()) > 0 {
				<-q.Events()
			}
		}
	}
}
