package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hv/test/hvrun"
	"hv/test/vhostback"
)

// sharedMemory is options of a machine whose memory another process can map.
func sharedMemory() []string {
	return []string{"-object", "memory-backend-memfd,id=ram,size=64M,share=on", "-machine", "q35,memory-backend=ram"}
}

// TestVhostUser has another process move a NIC's packets, which dies and comes back.
func TestVhostUser(t *testing.T) {
	var next atomic.Pointer[vhostback.Backend]
	p := vhostback.NewPort(t, func() *vhostback.Backend { return next.Swap(nil) })
	b := vhostback.New(t)
	next.Store(b)
	v, sh := startShell(t, append(sharedMemory(), "-chardev", "socket,id=c0,path="+p.Path+",reconnect=1", "-netdev", "vhost-user,id=n0,chardev=c0,queues=2",
		"-device", "virtio-net-pci,netdev=n0,id=nic,mq=on,mac=52:54:00:00:00:07")...)
	linked := func(want int) {
		t.Helper()
		limit := time.Now().Add(hvrun.Patience)
		for got := ""; !strings.Contains(got, fmt.Sprintf("mac=52:54:00:00:00:07 link=%d ", want)); got = sh.does(t, "net.info") {
			if time.Now().After(limit) {
				t.Fatal(got)
			}
		}
	}
	echoes := func() {
		t.Helper()
		linked(1)
		sh.does(t, "net.flood n=200 size=900")
		if got := sh.does(t, "net.rx n=200 ms=20000"); !strings.Contains(got, "n=200 bytes=180000 ") {
			t.Error(got)
		}
	}
	echoes()
	v.do(t, "stop")
	v.do(t, "cont")
	echoes()
	v.works(t, "set_link", `{"name":"nic","up":false}`)
	linked(0)
	sh.does(t, "net.flood n=50 size=100") // lost
	v.works(t, "set_link", `{"name":"nic","up":true}`)
	echoes()
	for range 3 {
		b.Kill()
		linked(0)
		sh.does(t, "net.flood n=50 size=100")
		b = vhostback.New(t)
		next.Store(b)
		b.AwaitServed()
		echoes()
	}
	v.works(t, "netdev_del", `{"id":"n0"}`)
	linked(0)
	sh.does(t, "net.flood n=50 size=100")
	v.works(t, "chardev-remove", `{"id":"c0"}`)
	next.Store(vhostback.New(t))
	v.works(t, "chardev-add", `{"id":"c1","backend":{"type":"socket","data":{"addr":{"type":"unix","data":{"path":"`+p.Path+`"}},"server":false}}}`)
	v.works(t, "netdev_add", `{"type":"vhost-user","id":"n0","chardev":"c1","queues":2}`)
	echoes()
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestVhostRefusals is what cannot be had, and how that is said.
func TestVhostRefusals(t *testing.T) {
	p := vhostback.NewPort(t, func() *vhostback.Backend { return vhostback.New(t) })
	socket := "socket,id=c,path=" + p.Path
	nic := "virtio-net-pci,netdev=n"
	for want, options := range map[string]string{
		`chardev "c" not found`:                                  "-netdev vhost-user,id=n,chardev=c",
		`chardev "c" is not reconnectable`:                       "-chardev null,id=c -netdev vhost-user,id=n,chardev=c",
		`chardev "c" does not support FD passing`:                "-chardev socket,id=c,host=127.0.0.1,port=0,server=on,wait=off -netdev vhost-user,id=n,chardev=c",
		"Parameter 'chardev' is missing":                         "-netdev vhost-user,id=n",
		"vhost-user number of queues must be in range [1, 1024]": "-chardev " + socket + " -netdev vhost-user,id=n,chardev=c,queues=0",
		"you are asking more queues than supported: 8":           "-chardev " + socket + " -netdev vhost-user,id=n,chardev=c,queues=9",
		"memory-backend-memfd,share=on":                          "-chardev " + socket + " -netdev vhost-user,id=n,chardev=c -device " + nic,
		"used by n":                                              "-chardev " + socket + " -netdev vhost-user,id=n,chardev=c -netdev vhost-user,id=m,chardev=c",
	} {
		t.Run(want, func(t *testing.T) {
			v := hvrun.Start(t, hvrun.Binary(t), append(bare(t, "exit"), strings.Fields(options)...)...)
			v.Expect(t, strings.NewReplacer("[", `\[`, "]", `\]`).Replace(want))
			if v.Wait(t) == 0 {
				t.Error("it started")
			}
		})
	}
}

// TestVhostNet: without the kernel's device, packets take the other way unless that is forbidden.
func TestVhostNet(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		tap := func(more string) []string {
			return []string{"-netdev", "tap,id=n0,ifname=hvv0,script=no,downscript=no," + more, "-device", "virtio-net-pci,netdev=n0"}
		}
		v := start(t, bare(t, "net.echo ip=10.0.9.2", tap("vhost=on")...)...)
		if !hasVhost(t) {
			v.Expect(t, "tap: open vhost char device failed: No such file or directory")
		}
		v.Expect(t, "net.echo")
		ip(t, "addr add 10.0.9.1/24 dev hvv0")
		ip(t, "link set hvv0 up")
		pings(t, guestEcho, true)
		v.do(t, "stop")
		v.do(t, "cont")
		pings(t, guestEcho, true)
		v.do(t, "quit")
		v.ends(t, 0)
		for want, more := range map[string]string{
			"vhostfd\\(s\\)= is not valid without vhost":    "vhost=off,vhostfd=5",
			"vhostfds= is invalid if fds= wasn't specified": "vhostfds=5",
		} {
			p := hvrun.Start(t, hvrun.Binary(t), append(bare(t, "exit"), tap(more)...)...)
			if p.Expect(t, want); p.Wait(t) == 0 {
				t.Errorf("%s: it started", more)
			}
		}
		p := hvrun.Start(t, hvrun.Binary(t), append(bare(t, "exit"), tap("vhostforce=on")...)...)
		if status := p.Wait(t); (status == 0) != hasVhost(t) {
			t.Errorf("vhostforce: exit status %d\n%s", status, p.Output())
		}
	})
}

func hasVhost(t *testing.T) bool {
	t.Helper()
	found, err := filepath.Glob("/dev/vhost-net")
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}
