package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"hv/qmp/qapi"
)

const mib = 1 << 20

// resized waits for the event that so much memory of a device is plugged. Ones before that
// tell of the way there.
func (v *vm) resized(t testing.TB, id string, size int64) {
	t.Helper()
	for {
		d := v.event(t, qapi.EventMemoryDeviceSizeChange.Name).Data
		n, _ := d.Get("size").Int64()
		if got, path := string(d.Get("id").Text()), string(d.Get("qom-path").Text()); got != id || path != "/machine/peripheral/"+id {
			t.Errorf("event of %q, %q", got, path)
		}
		if n == size {
			return
		}
	}
}

// request sets the requested size of a device.
func (v *vm) request(t testing.TB, id string, size int64) {
	t.Helper()
	v.works(t, "qom-set", fmt.Sprintf(`{"path":"%s","property":"requested-size","value":%d}`, id, size))
}

// dumped dumps guest memory, of which there must be so much.
func (v *vm) dumped(t testing.TB, size int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "core")
	v.works(t, "dump-guest-memory", fmt.Sprintf(`{"paging":false,"protocol":"file:%s"}`, path))
	st, err := os.Stat(path)
	if err != nil || st.Size() < size || st.Size() > size+mib {
		t.Errorf("dump of %v bytes, %v", st.Size(), err)
	}
}

// TestMemoryDevice has the guest follow what is requested, and lose it at a reset.
func TestMemoryDevice(t *testing.T) {
	for name, backend := range map[string]string{
		"ram": "memory-backend-ram", "memfd": "memory-backend-memfd",
		"file": "memory-backend-file,share=on,mem-path=" + t.TempDir(),
	} {
		t.Run(name, func(t *testing.T) {
			v := start(t, bare(t, "vmem rounds=3; print=done; idle", "-m", "64,slots=1,maxmem=2G", "-S",
				"-object", backend+",id=m,size=1G", "-device", "virtio-mem-pci,id=vm,memdev=m,requested-size=32M,prealloc=on")...)
			v.do(t, "cont")
			v.resized(t, "vm", 32*mib)
			v.request(t, "vm", 8*mib)
			v.resized(t, "vm", 8*mib)
			v.request(t, "vm", 64*mib)
			v.resized(t, "vm", 64*mib)
			v.Expect(t, `guest: vmem .* plugged=67108864 .* bad=0\r\nguest: done`)
			v.do(t, "stop")
			v.dumped(t, 128*mib)
			if got := ask(t, v, qapi.CmdXQueryNuma, qapi.Empty{}).HumanReadableText; got != "1 nodes\nnode 0 cpus: 0\nnode 0 size: 128 MB\nnode 0 plugged: 64 MB\n" {
				t.Errorf("nodes %q", got)
			}
			v.do(t, "system_reset")
			v.resized(t, "vm", 0)
			v.failing(t, "virtio based memory devices cannot be unplugged", "device_del", `{"id":"vm"}`)
			v.failing(t, "object 'm' is in use", "object-del", `{"id":"m"}`)
			v.failing(t, "multiples of 'block-size'", "qom-set", `{"path":"vm","property":"requested-size","value":1}`)
			v.failing(t, "cannot exceed", "qom-set", `{"path":"vm","property":"requested-size","value":2147483648}`)
			v.do(t, "quit")
			v.ends(t, 0)
		})
	}
}

// TestMemoryDevicePlug adds devices to the running machine, next to each other.
func TestMemoryDevicePlug(t *testing.T) {
	v := start(t, bare(t, "shell", "-m", "64,slots=2,maxmem=576M", "-device", "virtio-balloon-pci", "-device", "pcie-root-port,id=rp0,slot=1",
		"-device", "pcie-root-port,id=rp1,slot=2", "-object", "memory-backend-ram,id=m0,size=256M")...)
	v.failing(t, "'memdev' property is not set", "device_add", `{"driver":"virtio-mem-pci","bus":"rp0","id":"vm0"}`)
	v.failing(t, "can't find value 'm1'", "device_add", `{"driver":"virtio-mem-pci","bus":"rp0","id":"vm0","memdev":"m1"}`)
	v.failing(t, "Bus 'nowhere' not found", "device_add", `{"driver":"virtio-mem-pci","bus":"nowhere","id":"vm0","memdev":"m0"}`)
	v.failing(t, "usable range for memory devices [0x100000000:0xa0000000]", "device_add",
		`{"driver":"virtio-mem-pci","bus":"rp0","id":"vm0","memdev":"m0","memaddr":8589934592}`)
	v.failing(t, "'memaddr' property has to be multiples of 'block-size' (0x8000000)", "device_add",
		`{"driver":"virtio-mem-pci","bus":"rp0","id":"vm0","memdev":"m0","memaddr":4362076160,"block-size":134217728}`)
	v.failing(t, "must be aligned to 0x200000", "device_add",
		`{"driver":"virtio-mem-pci","bus":"rp0","id":"vm0","memdev":"m0","memaddr":4363124736,"block-size":1048576}`)
	v.works(t, "device_add", `{"driver":"virtio-mem-pci","bus":"rp0","id":"vm0","memdev":"m0","memaddr":4362076160,"requested-size":4194304}`)
	v.failing(t, "busy memdev: m0", "device_add", `{"driver":"virtio-mem-pci","bus":"rp1","id":"vm1","memdev":"m0"}`)
	v.works(t, "object-add", `{"qom-type":"memory-backend-ram","id":"m1","size":536870912}`)
	v.failing(t, "not enough space, currently 0x10000000 in use of total space for memory devices 0x20000000", "device_add",
		`{"driver":"virtio-mem-pci","bus":"rp1","id":"vm1","memdev":"m1"}`)
	v.works(t, "object-del", `{"id":"m1"}`)
	v.works(t, "object-add", `{"qom-type":"memory-backend-ram","id":"m1","size":268435456}`)
	v.failing(t, "conflicts with", "device_add", `{"driver":"virtio-mem-pci","bus":"rp1","id":"vm1","memdev":"m1","memaddr":4494196736}`)
	v.works(t, "device_add", `{"driver":"virtio-mem-pci","bus":"rp1","id":"vm1","memdev":"m1"}`)
	for id, addr := range map[string]int64{"vm0": 4362076160, "vm1": 4630511616} {
		if n, _ := ask(t, v, qapi.CmdQomGet, qapi.QomGetArgs{Path: id, Property: "memaddr"}).Int64(); n != addr {
			t.Errorf("%s is at %#x, not %#x", id, n, addr)
		}
	}
	for _, c := range ask(t, v, qapi.CmdQueryCpusFast, qapi.Empty{}) {
		if c.Props.NodeId == nil || *c.Props.NodeId != 0 {
			t.Errorf("CPU %d is in no node", c.CpuIndex)
		}
	}
	list := ask(t, v, qapi.CmdQueryMemoryDevices, qapi.Empty{})
	if len(list) != 2 {
		t.Fatalf("%d memory devices", len(list))
	}
	first, second := list[0].VirtioMem.Data, list[1].VirtioMem.Data
	if *first.Id != "vm0" || first.RequestedSize != 4*mib || first.MaxSize != 256*mib || first.BlockSize != 2*mib || *second.Id != "vm1" ||
		second.Memaddr != 4630511616 || second.Memdev != "/objects/m1" {
		t.Errorf("memory devices %+v, %+v", first, second)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}
