package rxsync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hv/net/netspace"
	"hv/net/rxfilter"
	"hv/qmp/client"
	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

const (
	first  = "52:54:00:00:00:01"
	second = "52:54:00:00:00:02"
	group  = "33:33:00:00:12:34"
)

// fake is a VM with a QMP server and NICs that do nothing.
type fake struct {
	t       testing.TB
	path    string
	events  *events.Broker
	srv     *server.Server
	mu      sync.Mutex
	nics    []qapi.RxFilterInfo
	network string
	queries int
}

// Do implements server.Executor.
func (f *fake) Do(_ context.Context, run func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	run()
	return nil
}

func newFake(t testing.TB) *fake {
	f := &fake{t: t, path: filepath.Join(t.TempDir(), "vm.sock"), events: events.NewBroker()}
	table := dispatch.NewTable()
	dispatch.Register(table, qapi.CmdQueryRxFilter, f.query)
	dispatch.Register(table, qapi.CmdHumanMonitorCommand, func(_ context.Context, a qapi.HumanMonitorCommandArgs) (qapi.Text, error) {
		return qapi.Text(strings.ReplaceAll(f.network, "\n", "\r\n")), nil
	})
	f.srv = server.New(server.Config{Table: table, Events: f.events, Exec: f, Version: "test"})
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.srv.Serve(l, server.Monitor{Name: "test"}) }()
	t.Cleanup(func() {
		f.end()
		if err := <-served; err != nil {
			t.Error(err)
		}
		f.events.Close()
	})
	return f
}

// end ends the VM.
func (f *fake) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = f.srv.Close(ctx)
}

func (f *fake) query(ctx context.Context, a qapi.QueryRxFilterArgs) (out qapi.RxFilterInfoList, err error) {
	f.queries++
	for _, n := range f.nics {
		if a.Name == nil || *a.Name == n.Name {
			server.Arm(ctx, events.Key{Event: qapi.EventNicRxFilterChanged.Name, Source: "/" + n.Name})
			out = append(out, n)
		}
	}
	if a.Name != nil && len(out) == 0 {
		return nil, fmt.Errorf("invalid net client name: %s", *a.Name)
	}
	return out, nil
}

// has sets what NICs there are, and what is told of their links.
func (f *fake) has(network string, nics ...qapi.RxFilterInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.network, f.nics = network, nics
}

// change has the guest ask for something else, and tells of it.
func (f *fake) change(name string, change func(*qapi.RxFilterInfo)) {
	f.mu.Lock()
	for i := range f.nics {
		if f.nics[i].Name == name {
			change(&f.nics[i])
		}
	}
	f.mu.Unlock()
	events.Emit(f.events, qapi.EventNicRxFilterChanged, qapi.NicRxFilterChangedEvent{Name: &name, Path: "/" + name})
}

func info(name, mac string) qapi.RxFilterInfo {
	return qapi.RxFilterInfo{Name: name, MainMac: mac, Multicast: qapi.RxStateNormal, Unicast: qapi.RxStateNormal, Vlan: qapi.RxStateNormal}
}

// connect returns the VM as a client sees it.
func (f *fake) connect() *VM {
	f.t.Helper()
	conn, err := net.Dial("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := client.New(f.t.Context(), conn)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return &VM{Client: c, PID: Peer(conn)}
}

// run is Run in a namespace.
type run struct {
	t       testing.TB
	reports chan Report
	stop    context.CancelFunc
	ended   chan error
}

func start(t testing.TB, s *netspace.Space, cfg Config, policy string) *run {
	t.Helper()
	p, err := rxfilter.NewPolicy(policy, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, reports: make(chan Report, 1000), ended: make(chan error, 1)}
	cfg.Policy = func(string) rxfilter.Policy { return p }
	cfg.Report = func(rep Report) { r.reports <- rep }
	if cfg.Audit == 0 {
		cfg.Audit = time.Hour
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { s.Inside(func() { r.ended <- Run(ctx, cfg) }) }()
	t.Cleanup(func() { r.finish() })
	return r
}

// finish stops the run, if it is not over, and returns how it ended.
func (r *run) finish() error {
	r.stop()
	err := <-r.ended
	r.ended <- err
	return err
}

// await waits for a report, written "NIC LINK: what was done, or failed".
func (r *run) await(want string) {
	r.t.Helper()
	var seen []string
	for {
		select {
		case rep := <-r.reports:
			text := rep.NIC + " " + rep.Link + ": " + rep.Result.String()
			if rep.Err != nil {
				text += rep.Err.Error()
			}
			if text == want {
				return
			}
			seen = append(seen, text)
		case <-time.After(10 * time.Second):
			r.t.Fatalf("no report '%s', but %q", want, seen)
		}
	}
}

// address is tap0's address, and what it receives besides.
func address(s *netspace.Space) string {
	f := strings.Fields(s.Run("ip link show tap0"))
	out := f[slices.Index(f, "link/ether")+1]
	for _, flag := range []string{"ALLMULTI", "PROMISC"} {
		if strings.Contains(f[2], flag) {
			out += " " + flag
		}
	}
	return out
}

func TestFollows(t *testing.T) {
	s := netspace.New(t)
	s.Macvtap(first, "bridge")
	tap := s.OpenTap()
	f := newFake(t)
	f.has(fmt.Sprintf("n0: index=0,type=nic,model=virtio-net-pci,macaddr=%s\n \\ h0: index=0,type=tap,fd=%d\n"+
		"n1: index=0,type=nic,model=e1000,macaddr=%s\n \\ h1: index=0,type=stream,unix:/x\n", first, tap.Fd(), first),
		info("n0", second), info("n1", first))
	r := start(t, s, Config{VM: f.connect()}, "full")
	r.await("n1 : a netdev of type stream has no link")
	r.await("n0 tap0: address " + second)

	f.change("n0", func(i *qapi.RxFilterInfo) { i.MulticastTable = []string{group} })
	r.await("n0 tap0: add " + group)
	f.change("n0", func(i *qapi.RxFilterInfo) { i.Promiscuous, i.MulticastTable = true, nil })
	r.await("n0 tap0: promiscuous on, all groups on, remove " + group)

	s.Run("ip link set tap0 promisc off") // which the guest may have
	r.await("n0 tap0: promiscuous on")

	f.mu.Lock()
	f.nics[0].Promiscuous = false // without an event: it is told of after a reset only
	f.mu.Unlock()
	events.Emit(f.events, qapi.EventReset, qapi.ResetEvent{})
	r.await("n0 tap0: all groups off, promiscuous off")

	s.Run("ip link del tap0")
	r.await("n0 tap0: the link is gone")
	tap.Close()
	s.Run("ip link add link low name tap0 address %s type macvtap", first)
	s.Run("ip link set tap0 addrgenmode none")
	s.Run("ip link set tap0 up")
	f.mu.Lock()
	f.network = "n0: index=0,type=nic,model=virtio-net-pci,macaddr=" + first + "\n \\ h0: index=0,type=tap,ifname=tap0,script=no,downscript=no\n"
	f.mu.Unlock()
	r.await("n0 tap0: address " + second)

	f.mu.Lock()
	f.nics = f.nics[1:]
	f.mu.Unlock()
	events.Emit(f.events, qapi.EventDeviceDeleted, qapi.DeviceDeletedEvent{Path: "/n0"})
	r.await("n0 tap0: address " + first)
	if err := r.finish(); err != nil {
		t.Error(err)
	}
}

// TestEnds: whoever ends first, the link is as it was.
func TestEnds(t *testing.T) {
	for _, first := range []string{"VM", "run"} {
		s := netspace.New(t)
		s.Macvtap("52:54:00:00:00:01", "bridge")
		f := newFake(t)
		nic := info("n0", second)
		nic.Promiscuous = true
		f.has("", nic)
		r := start(t, s, Config{VM: f.connect(), Links: map[string]string{"n0": "tap0"}}, "full")
		r.await("n0 tap0: address " + second + ", promiscuous on, all groups on")
		if got, want := address(s), second+" ALLMULTI PROMISC"; got != want {
			t.Errorf("%s, not %s", got, want)
		}
		var err error
		if first == "VM" {
			f.end()
			r.await("n0 tap0: address 52:54:00:00:00:01, all groups off, promiscuous off")
			if err = r.finish(); !errors.Is(err, client.ErrClosed) {
				t.Error(err)
			}
		} else if err = r.finish(); err != nil {
			t.Error(err)
		}
		if got := address(s); got != "52:54:00:00:00:01" {
			t.Error(got)
		}
	}
}

// TestAudit: what the kernel does not tell of is found out.
func TestAudit(t *testing.T) {
	s := netspace.New(t)
	s.Macvtap(first, "bridge")
	f := newFake(t)
	nic := info("n0", first)
	nic.MulticastTable = []string{group}
	f.has("", nic)
	r := start(t, s, Config{VM: f.connect(), Links: map[string]string{"n0": "tap0"}, Audit: 20 * time.Millisecond}, "multicast")
	r.await("n0 tap0: add " + group)
	s.Run("ip maddr del %s dev tap0", group)
	r.await("n0 tap0: add " + group)
}

// TestOneQuery: however much a guest does, there is one query for an event, and the last
// state is found.
func TestOneQuery(t *testing.T) {
	s := netspace.New(t)
	s.Macvtap(first, "bridge")
	f := newFake(t)
	f.has("", info("n0", first))
	r := start(t, s, Config{VM: f.connect(), Links: map[string]string{"n0": "tap0"}}, "full")
	r.await("n0 tap0: ")
	for i := range 2000 {
		f.change("n0", func(n *qapi.RxFilterInfo) {
			n.MulticastTable = []string{fmt.Sprintf("33:33:00:01:%02x:%02x", i>>8, i&0xff)}
		})
	}
	f.change("n0", func(n *qapi.RxFilterInfo) { n.MulticastTable, n.Promiscuous = nil, true })
	last := func() bool {
		rep := <-r.reports
		return slices.Contains(rep.Result.Done, rxfilter.Op{Verb: rxfilter.PromiscOn})
	}
	for !last() {
	}
	if err := r.finish(); err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queries > 2003 {
		t.Errorf("%d queries", f.queries)
	}
}

// TestRefused: a VM without the command ends it.
func TestRefused(t *testing.T) {
	vm := &VM{}
	conn, other := net.Pipe()
	go func() {
		defer other.Close()
		fmt.Fprintln(other, `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 7}, "package": ""}, "capabilities": []}}`)
		b := make([]byte, 4096)
		for i := 1; ; i++ {
			if _, err := other.Read(b); err != nil {
				return
			}
			reply := `{"return": {}, "id": 1}`
			if i > 1 {
				reply = `{"error": {"class": "CommandNotFound", "desc": "The command query-rx-filter has not been found"}, "id": 2}`
			}
			fmt.Fprintln(other, reply)
		}
	}()
	var err error
	if vm.Client, err = client.New(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	defer vm.Client.Close()
	err = Run(t.Context(), Config{VM: vm, Audit: time.Hour})
	if refused := (*qapi.Error)(nil); !errors.As(err, &refused) {
		t.Error(err)
	}
}

func TestParseNetwork(t *testing.T) {
	text := "n0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\r\n \\ h0: index=0,type=tap,fd=3:4\r\n" +
		"n0: index=1,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\r\n \\ h0: index=1,type=tap,fd=3:4\r\n" +
		"n1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:02\r\nfree: index=0,type=tap,ifname=t9\r\n" +
		"n2: index=0,type=nic,model=virtio-net-device,macaddr=52:54:00:00:00:03\r\n \\ h2: index=0,type=tap,ifname=t2,script=no,downscript=no\r\n" +
		"n3: index=0,type=nic,model=x,macaddr=y\n \\ h3: index=0,type=stream,unix:/s\nnoise\n"
	vm := &VM{}
	for i, want := range []string{
		"n0 virtio-net-pci 52:54:00:00:00:01 h0 tap: , the VM does not tell which link descriptor 3 is",
		"n1 virtio-net-pci 52:54:00:00:00:02  : , it has no netdev",
		"n2 virtio-net-device 52:54:00:00:00:03 h2 tap: t2, <nil>",
		"n3 x y h3 stream: , a netdev of type stream has no link",
	} {
		list := parseNetwork(text)
		if len(list) != 4 {
			t.Fatalf("%+v", list)
		}
		n := list[i]
		link, err := vm.Link(&n)
		if got := fmt.Sprintf("%s %s %s %s %s: %s, %v", n.Name, n.Model, n.MAC, n.Netdev, n.Kind, link, err); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

func FuzzParseNetwork(f *testing.F) {
	f.Add("n0: index=0,type=nic,model=m,macaddr=a\n \\ h0: index=0,type=tap,fd=3\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, n := range parseNetwork(text) {
			if strings.Contains(n.Name+n.Netdev, "\n") {
				t.Errorf("%q", n)
			}
		}
	})
}

// TestDescriptors: a tap is found by what the kernel tells of its descriptor, and what is no
// tap is not taken for one.
func TestDescriptors(t *testing.T) {
	s := netspace.New(t)
	s.Macvtap(first, "vepa")
	tap := s.OpenTap()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	s.Inside(func() {
		if name, err := linkOfFD(os.Getpid(), int(tap.Fd())); name != "tap0" || err != nil {
			t.Error(name, err)
		}
	})
	for _, fd := range []int{int(null.Fd()), 1 << 20} {
		if name, err := linkOfFD(os.Getpid(), fd); err == nil {
			t.Error(fd, name)
		}
	}
}

// BenchmarkFollow is from a guest's change to the host's link.
func BenchmarkFollow(b *testing.B) {
	hurry, err := rxfilter.NewHurry("/sys/kernel/rcu_expedited")
	if err != nil {
		b.Fatal(err)
	}
	defer hurry.Close()
	for _, c := range []struct {
		name   string
		hurry  *rxfilter.Hurry
		change func(n *qapi.RxFilterInfo, i int)
	}{
		{"address", nil, func(n *qapi.RxFilterInfo, i int) { n.MainMac = fmt.Sprintf("52:54:00:01:00:%02x", i&0xff) }},
		{"address-hurried", hurry, func(n *qapi.RxFilterInfo, i int) { n.MainMac = fmt.Sprintf("52:54:00:01:00:%02x", i&0xff) }},
		{"group", nil, func(n *qapi.RxFilterInfo, i int) {
			n.MulticastTable = []string{fmt.Sprintf("33:33:00:01:00:%02x", i&0xff)}
		}},
		{"promiscuous", nil, func(n *qapi.RxFilterInfo, i int) { n.Promiscuous = i%2 == 0 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := netspace.New(b)
			s.Macvtap(first, "bridge")
			f := newFake(b)
			f.has("", info("n0", first))
			r := start(b, s, Config{VM: f.connect(), Links: map[string]string{"n0": "tap0"}, Hurry: c.hurry}, "full")
			r.await("n0 tap0: ")
			times := make([]time.Duration, 0, 10000)
			for i := 0; b.Loop(); i++ {
				begin := time.Now()
				f.change("n0", func(n *qapi.RxFilterInfo) { c.change(n, i) })
				<-r.reports
				times = append(times, time.Since(begin))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
			_ = r.finish()
		})
	}
}

// TestOpen: a tap is left alone.
func TestOpen(t *testing.T) {
	s := netspace.New(t)
	s.Run("ip tuntap add dev tap0 mode tap")
	before := address(s)
	f := newFake(t)
	f.has("n0: index=0,type=nic,model=virtio-net-pci,macaddr="+first+"\n \\ h0: index=0,type=tap,ifname=tap0,script=no,downscript=no\n", info("n0", first))
	r := start(t, s, Config{VM: f.connect()}, "full")
	if rep := <-r.reports; !rep.Open || rep.Link != "tap0" {
		t.Errorf("%+v", rep)
	}
	f.change("n0", func(i *qapi.RxFilterInfo) { i.Promiscuous = true })
	if err := r.finish(); err != nil || len(r.reports) > 0 || address(s) != before {
		t.Error(err, len(r.reports), address(s))
	}
}
