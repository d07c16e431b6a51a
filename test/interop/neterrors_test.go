package interop

import (
	"strings"
	"testing"

	"hv/test/hvrun"
)

// netCommands are commands about networking; most of them fail.
const netCommands = `
netdev_add {}
netdev_add {'type': 'tap'}
netdev_add {'type': 'no-such', 'id': 'x'}
netdev_add {'type': 'dgram', 'id': 'x'}
netdev_add {'type': 'dgram', 'id': '7up'}
netdev_add {'type': 'dgram', 'id': ''}
netdev_add {'type': 'dgram', 'id': 'x', 'local': {'type': 'inet', 'host': '127.0.0.1', 'port': '0'}}
netdev_add {'type': 'dgram', 'id': 'x', 'local': {'type': 'fd', 'str': 'a'}, 'remote': {'type': 'inet', 'host': '127.0.0.1', 'port': '1'}}
netdev_add {'type': 'dgram', 'id': 'x', 'local': {'type': 'unix', 'path': 'a'}, 'remote': {'type': 'inet', 'host': '127.0.0.1', 'port': '1'}}
netdev_add {'type': 'dgram', 'id': 'x', 'local': {'type': 'inet', 'host': '1.2', 'port': '0'}, 'remote': {'type': 'inet', 'host': '300.0.0.1', 'port': '1'}}
netdev_add {'type': 'dgram', 'id': 'x', 'local': {'type': 'inet', 'host': '127.0.0.1', 'port': 'x'}, 'remote': {'type': 'inet', 'host': '127.0.0.1', 'port': '1'}}
netdev_add {'type': 'dgram', 'id': 'x', 'local': {'type': 'fd', 'str': 'none'}}
netdev_add {'type': 'dgram', 'id': 'x', 'remote': {'type': 'inet', 'host': '230.1.1.1', 'port': '1'}, 'local': {'type': 'inet', 'host': 'x', 'port': '1'}}
netdev_add {'type': 'stream', 'id': 'x'}
netdev_add {'type': 'stream', 'id': 'x', 'addr': {'type': 'carrier-pigeon'}}
netdev_add {'type': 'stream', 'id': 'x', 'addr': {'type': 'unix', 'path': 'a'}, 'server': 'yes'}
netdev_add {'type': 'socket', 'id': 'x'}
netdev_add {'type': 'socket', 'id': 'x', 'listen': ':1', 'udp': ':2'}
netdev_add {'type': 'socket', 'id': 'x', 'listen': ':1', 'localaddr': ':2'}
netdev_add {'type': 'socket', 'id': 'x', 'listen': '1'}
netdev_add {'type': 'socket', 'id': 'x', 'connect': '127.0.0.1:x'}
netdev_add {'type': 'socket', 'id': 'x', 'udp': '127.0.0.1:1'}
netdev_add {'type': 'socket', 'id': 'x', 'udp': '127.0.0.1:1', 'localaddr': '127.0.0.1'}
netdev_add {'type': 'socket', 'id': 'x', 'mcast': '10.0.0.1:5'}
netdev_add {'type': 'socket', 'id': 'x', 'mcast': '230.0.0.1:5', 'localaddr': 'y'}
netdev_add {'type': 'socket', 'id': 'x', 'fd': 'none'}
netdev_add {'type': 'tap', 'id': 'x', 'fd': 'none'}
netdev_add {'type': 'tap', 'id': 'x', 'fd': 'a', 'ifname': 'b'}
netdev_add {'type': 'tap', 'id': 'x', 'fds': 'a', 'queues': 2}
netdev_add {'type': 'tap', 'id': 'x', 'fds': 'none'}
netdev_add {'type': 'tap', 'id': 'x', 'helper': 'a', 'script': 'b'}
netdev_add {'type': 'tap', 'id': 'x', 'vhostfds': 'a'}
netdev_add {'type': 'tap', 'id': 'x', 'queues': -1}
netdev_add {'type': 'tap', 'id': 'x', 'sndbuf': '1M'}
netdev_add {'type': 'socket', 'id': 'x', 'udp': '127.0.0.1:9', 'localaddr': '127.0.0.1:0'}
netdev_add {'type': 'socket', 'id': 'x', 'udp': '127.0.0.1:9', 'localaddr': '127.0.0.1:0'}
query-rx-filter {}
query-rx-filter {'name': 'x'}
query-rx-filter {'name': 'y'}
query-rx-filter {'name': 1}
device_add {'driver': 'virtio-net-pci', 'bus': 'rp', 'netdev': 'y', 'id': 'n'}
device_add {'driver': 'virtio-net-pci', 'bus': 'rp', 'netdev': 'b', 'id': 'n'}
set_link {'name': 'y', 'up': true}
set_link {'name': 'x', 'up': false}
set_link {'name': 'x', 'up': true}
set_link {'name': 'nic', 'up': false}
set_link {'name': 'nic', 'up': true}
set_link {'up': true}
query-rx-filter {'name': 'nic'}
query-rx-filter {}
announce-self {}
announce-self {'initial': 1, 'max': 1, 'rounds': 0, 'step': 1}
announce-self {'initial': 1, 'max': 1, 'rounds': 1, 'step': 1, 'interfaces': ['none'], 'id': 'a'}
announce-self {'initial': 50, 'max': 550, 'rounds': 10, 'step': 'x'}
object-add {'qom-type': 'filter-dump', 'id': 'd'}
object-add {'qom-type': 'filter-dump', 'id': 'd', 'netdev': 'y', 'file': '/dev/null'}
object-add {'qom-type': 'filter-dump', 'id': 'd', 'netdev': 'x', 'file': '/dev/null', 'maxlen': 0}
object-add {'qom-type': 'filter-dump', 'id': 'd', 'netdev': 'x', 'file': '/dev/null', 'status': 'maybe'}
object-add {'qom-type': 'filter-dump', 'id': 'd', 'netdev': 'x', 'file': '/dev/null', 'queue': 'both'}
object-add {'qom-type': 'filter-dump', 'id': 'd', 'netdev': 'x', 'file': '/dev/null'}
netdev_del {'id': 'x'}
object-del {'id': 'd'}
netdev_del {'id': 'x'}
netdev_del {}
netdev_del {'id': 'nic'}
netdev_del {'id': 'b'}
query-rx-filter {'name': 'nic'}
`

// TestNetworkErrors compares what is said about networking with QEMU's words.
func TestNetworkErrors(t *testing.T) {
	args := []string{"-netdev", "socket,id=b,udp=127.0.0.1:9,localaddr=127.0.0.1:0", "-device", "virtio-net-pci,netdev=b,id=nic,mac=52:54:00:00:00:01", "-device", "pcie-root-port,id=rp"}
	ours, theirs := serve(t, hvrun.Binary(t), args...), serve(t, hvrun.Tool(t, qemu), args...)
	c := conversation{name: "network", steps: []string{negotiate}}
	for line := range strings.Lines(strings.TrimSpace(netCommands)) {
		name, arguments, _ := strings.Cut(strings.TrimSpace(line), " ")
		c.steps = append(c.steps, "{'execute': '"+name+"', 'arguments': "+arguments+"}")
	}
	a, b := said(t, ours, ours.plain, c), said(t, theirs, theirs.plain, c)
	for i, step := range c.steps {
		if a[i] != b[i] {
			t.Errorf("%s:\nhv   %.300s\nQEMU %.300s", step, a[i], b[i])
		}
	}
}
