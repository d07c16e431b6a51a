package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hv/block/blockopts"
	"hv/block/throttle"
	"hv/devices/qdev"
	"hv/qmp/qapi"
)

type diskConfig struct {
	Drive  string `prop:"drive"`
	Serial string `prop:"serial"`
	Queues uint16 `prop:"num-queues" default:"1"`
}

type nicConfig struct {
	Netdev string `prop:"netdev"`
	MAC    string `prop:"mac"`
}

func testEnv() Env {
	return Env{
		Devices: qdev.NewRegistry(
			&qdev.Driver{Name: "virtio-blk-pci", Aliases: []string{"virtio-blk"}, Bus: "PCI", NewConfig: func() any { return new(diskConfig) }},
			&qdev.Driver{Name: "virtio-net-pci", Bus: "PCI", Category: qdev.Network, NewConfig: func() any { return new(nicConfig) }},
		),
		Machine: func(name string) error {
			if name != "q35" {
				return fmt.Errorf("unsupported machine type %q", name)
			}
			return nil
		},
		CPU:      func(string) error { return nil },
		SMBIOS:   func(map[string]string) error { return nil },
		ReadFile: os.ReadFile,
	}
}

func parse(t *testing.T, line string) *Config {
	t.Helper()
	c, err := Parse(strings.Fields(line), testEnv())
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c := parse(t, "")
	if c.Memory.Size != 128<<20 || c.SMP != (SMP{1, 1, 1, 1, 1, 1}) || c.Panic != qapi.PanicActionShutdown || c.Paused {
		t.Errorf("%+v", c)
	}
}

func TestMemory(t *testing.T) {
	for arg, want := range map[string]Memory{
		"512": {Size: 512 << 20}, "2G": {Size: 2 << 30}, "1.5G": {Size: 3 << 29}, "size=64M,slots=2,maxmem=1G": {64 << 20, 1 << 30, 2},
	} {
		if c := parse(t, "-m "+arg); c.Memory != want {
			t.Errorf("-m %s: %+v", arg, c.Memory)
		}
	}
}

// TestSMP follows QEMU's rules for machines from version 6.2 on.
func TestSMP(t *testing.T) {
	for arg, want := range map[string]SMP{
		"4":                           {4, 4, 1, 1, 4, 1},
		"2,maxcpus=8":                 {2, 8, 1, 1, 8, 1},
		"8,sockets=2":                 {8, 8, 2, 1, 4, 1},
		"8,sockets=2,threads=2":       {8, 8, 2, 1, 2, 2},
		"8,cores=2,threads=2":         {8, 8, 2, 1, 2, 2},
		"sockets=2,cores=3,threads=2": {12, 12, 2, 1, 3, 2},
		"8,dies=2,cores=2,threads=2":  {8, 8, 1, 2, 2, 2},
		"maxcpus=4,cpus=1,sockets=4":  {1, 4, 4, 1, 1, 1},
	} {
		if c := parse(t, "-smp "+arg); c.SMP != want {
			t.Errorf("-smp %s: %+v", arg, c.SMP)
		}
	}
}

func TestDevicesAndBackends(t *testing.T) {
	c := parse(t, "-drive file=a,,b.img,if=none,id=d0,format=raw,cache=none -device virtio-blk,drive=d0,addr=0x4.1,num-queues=4,id=x "+
		"-netdev tap,id=n0,ifname=tap0,script=no -device {\"driver\":\"virtio-net-pci\",\"netdev\":\"n0\",\"bus\":\"pcie.0\"} "+
		"-global virtio-blk-pci.serial=abc -set device.x.num-queues=2 -nic tap,ifname=t1,mac=52:54:00:00:00:09")
	if d := c.Drives[0]; d.File != "a,b.img" || d.Options.Sub("cache")["direct"] != "on" || d.WriteThrough || d.ID != "d0" {
		t.Errorf("drive %+v", d)
	}
	blk := c.Devices[0]
	if blk.Addr != "0x4.1" || blk.ID != "x" || *blk.Config.(*diskConfig) != (diskConfig{"d0", "abc", 2}) {
		t.Errorf("disk %+v with %+v", blk, blk.Config)
	}
	if nic := c.Devices[1]; nic.Bus != "pcie.0" || nic.Config.(*nicConfig).Netdev != "n0" {
		t.Errorf("NIC %+v", nic)
	}
	if n := c.Netdevs[1]; *n.Tap.Ifname != "t1" || c.Devices[2].Config.(*nicConfig).Netdev != n.Id || c.Devices[2].Config.(*nicConfig).MAC != "52:54:00:00:00:09" {
		t.Errorf("-nic made %+v", n)
	}
}

func TestDrive(t *testing.T) {
	for line, want := range map[string]Drive{
		"file=x": {ID: "virtio0", File: "x", Attach: true, Options: blockopts.Tree{"discard": "unmap", "auto-read-only": true, "read-only": false}},
		"if=none,id=d,driver=qcow2,file.driver=file,file.filename=y,l2-cache-size=1M,read-only,rerror=stop,werror=enospc": {ID: "d",
			ReadOnly: true, ReadError: "stop", WriteError: "enospc", Options: blockopts.Tree{"discard": "unmap", "auto-read-only": true, "read-only": true,
				"driver": "qcow2", "file": blockopts.Tree{"driver": "file", "filename": "y"}, "l2-cache-size": "1M"}},
		"if=none,file=x,format=raw,cache=directsync,cache.no-flush=on,aio=native,discard=ignore": {ID: "none0", File: "x", WriteThrough: true,
			AIO: "native", Options: blockopts.Tree{"driver": "raw", "discard": "ignore", "auto-read-only": true, "read-only": false,
				"cache": blockopts.Tree{"direct": "on", "no-flush": "on"}}},
		"if=none,id=cd,media=cdrom": {ID: "cd", ReadOnly: true, Options: blockopts.Tree{}},
	} {
		want.Text, want.Limits = line, throttle.None()
		if d := parse(t, "-drive "+line).Drives[0]; !reflect.DeepEqual(d, want) {
			t.Errorf("%s: %+v", line, d)
		}
	}
	for line, want := range map[string]string{
		"file=x,format=raw,driver=qcow2": "Cannot specify both 'driver' and 'format'", "file=x,cache=no": "invalid cache option",
		"file=x,aio=no": "invalid aio option", "file=x,rerror=enospc": "'enospc' invalid read error action",
		"file=x,werror=no": "'no' invalid write error action", "media=tape": "'tape' invalid media",
		"if=virtio": "Device needs media, but drive is empty", "file=x,a=1,a.b=2": "Parameter 'a.b' is unexpected",
		"if=none,file=x,serial=1": "serial= belongs to the -device", "file=x,read-only=perhaps": "Parameter 'read-only' expects 'on' or 'off'",
		"file=x,snapshot=1": "Parameter 'snapshot' expects 'on' or 'off'", "file=x,bps=1,throttling.bps-total=2": "can't be used at the same time",
		"file=x,read-only=on,readonly=on": "can't be used at the same time",
	} {
		if _, err := Parse([]string{"-drive", line}, testEnv()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func TestBlockdev(t *testing.T) {
	c := parse(t, `-blockdev {"driver":"file","filename":"x.img","node-name":"s","auto-read-only":true,"discard":"unmap","cache":{"direct":true}} `+
		`-blockdev {"node-name":"f","read-only":true,"driver":"raw","file":"s"} `+
		`-blockdev driver=raw,node-name=g,file.driver=host_device,file.filename=/dev/sdz,file.aio=threads,offset=1M`)
	encoded := func(o *qapi.BlockdevOptions) string {
		e := qapi.NewEncoder(false)
		o.EncodeQAPI(e)
		return string(e.Bytes())
	}
	for i, want := range []string{
		`{"auto-read-only": true, "cache": {"direct": true}, "discard": "unmap", "driver": "file", "filename": "x.img", "node-name": "s"}`,
		`{"driver": "raw", "file": "s", "node-name": "f", "read-only": true}`,
		`{"driver": "raw", "file": {"aio": "threads", "driver": "host_device", "filename": "/dev/sdz"}, "node-name": "g", "offset": 1048576}`,
	} {
		var got, wanted any
		if err := errors.Join(json.Unmarshal([]byte(encoded(c.Blockdevs[i].Options)), &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, wanted) {
			t.Errorf("%v, not %v", got, wanted)
		}
	}
	for line, want := range map[string]string{
		"driver=null-co":                                "'node-name' must be specified",
		"driver=none,node-name=n":                       "Parameter 'driver' does not accept value 'none'",
		"driver=null-co,node-name=n,size=big":           "Parameter 'size' expects integer",
		"driver=null-co,node-name=n,read-only=perhaps":  "Parameter 'read-only' expects 'on' or 'off'",
		"driver=null-co,node-name=n,colour=red":         "Parameter 'colour' is unexpected",
		"driver=raw,node-name=n,file=x,file.driver=raw": "Parameter 'file.driver' is unexpected",
		"driver=raw,node-name=n":                        "Parameter 'file' is missing",
	} {
		if _, err := Parse([]string{"-blockdev", line}, testEnv()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("-blockdev %s: %v, want %s", line, err, want)
		}
	}
}

func TestChardevsAndMonitors(t *testing.T) {
	c := parse(t, "-serial mon:stdio -serial none -qmp unix:/x/q.sock,server,nowait -chardev socket,id=m,host=localhost,port=4444,server=on,wait=off "+
		"-mon chardev=m,mode=control,pretty=on -serial chardev:m -qmp tcp:[::1]:5,server=on")
	if !slices.Equal(c.Serials, []string{"serial0", "", "m"}) {
		t.Errorf("serials %q", c.Serials)
	}
	if s := c.Chardevs[0]; !s.Mux || *s.Backend.Stdio.Data.Signal {
		t.Errorf("%+v", s)
	}
	if q := c.Chardevs[1].Backend.Socket.Data; q.Addr.Unix.Data.Path != "/x/q.sock" || !*q.Server || *q.Wait {
		t.Errorf("%+v", q)
	}
	if q := c.Chardevs[2].Backend.Socket.Data.Addr.Inet.Data; q.Host != "::1" || q.Port != "5" {
		t.Errorf("%+v", q)
	}
	want := []Monitor{
		{"serial0", Readline, false, true}, {"compat_monitor0", Control, false, false}, {"compat_monitor1", Control, false, false}, {"m", Control, true, false},
	}
	if !slices.Equal(c.Monitors, want) {
		t.Errorf("%+v", c.Monitors)
	}
}

func TestReadConfig(t *testing.T) {
	path := t.TempDir() + "/vm.conf"
	text := "# a VM\n[machine]\n  type = \"q35\"\n  kernel = \"/boot/k\"\n[memory]\n  size = \"1G\"\n[smp-opts]\n  cpus = \"2\"\n" +
		"[drive \"d0\"]\n  file = \"a,b\"\n  if = \"none\"\n[device \"disk\"]\n  driver = \"virtio-blk-pci\"\n  drive = \"d0\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := parse(t, "-readconfig "+path)
	if c.Kernel != "/boot/k" || c.Memory.Size != 1<<30 || c.SMP.CPUs != 2 || c.Drives[0].File != "a,b" || c.Devices[0].ID != "disk" {
		t.Errorf("%+v", c)
	}
}

func TestHelpTopics(t *testing.T) {
	for line, want := range map[string]Help{
		"-h": {"help", ""}, "--version": {"version", ""}, "-machine help": {"machine", ""}, "-cpu ?": {"cpu", ""},
		"-device help": {"device", ""}, "-device virtio-blk,help": {"device", "virtio-blk-pci"}, "-object help": {"object", ""},
		"-nodefaults -drive format=help": {"drive", ""}, "-chardev help": {"chardev", ""}, "-accel help": {"accel", ""},
	} {
		if c := parse(t, line); c.Help != want {
			t.Errorf("%s: %+v", line, c.Help)
		}
	}
}

// TestRefusals checks that what is wrong is named, and what is near.
func TestRefusals(t *testing.T) {
	for line, want := range map[string]string{
		"-foo":                                "-foo: invalid option",
		"-machin q35":                         "near: machine",
		"disk.img":                            "not an option",
		"-m":                                  "requires an argument",
		"-m 0x":                               "parameter 'size'",
		"-m 1G,slots=2":                       "maxmem",
		"-m 1G,slots=257,maxmem=2G":           "unsupported amount of memory slots: 257",
		"-m 1G,maxmem=2147483649":             "aligned to multiple of 4096 bytes",
		"-m 2G,maxmem=1G":                     "maxmem",
		"-smp 0":                              "greater than zero",
		"-smp 4,sockets=3":                    "must be maxcpus",
		"-smp 4,maxcpus=2":                    "less than cpus",
		"-machine q36":                        "q36",
		"-machine q35,usb=on":                 "usb",
		"-machine q35,accell=kvm":             "near: accel",
		"-accel tcg":                          "only qtest and kvm",
		"-device virtio-blc-pci":              "near: virtio-blk-pci",
		"-device virtio-blk-pci,foo=1":        "'virtio-blk-pci.foo' not found",
		"-device virtio-blk-pci,num-queues=x": "num-queues",
		"-device virtio-blk-pci,num_queues=1": "near: num-queues",
		"-device virtio-blk-pci,id=1x":        "identifier",
		"-drive if=ide,file=x":                "ide",
		"-drive if=none,file=x,cache=foo":     "cache",
		"-drive if=none,file=x,id=a -drive if=none,file=y,id=a": "Duplicate",
		"-netdev hubport,id=n":                                "Parameter 'type' does not accept value 'hubport'",
		"-netdev tap":                                         "Parameter 'id' is missing",
		"-netdev tap,id=1n":                                   "Parameter 'id' expects an identifier",
		"-netdev tap,id=n,vhost=maybe":                        "Parameter 'vhost' expects 'on' or 'off'",
		"-netdev tap,id=n,sndbuf=1Q":                          "Parameter 'sndbuf' expects",
		"-netdev tap,id=n -netdev tap,id=n":                   "Duplicate ID 'n' for netdev",
		"-nic tap,model=e1000":                                "Unsupported NIC model: e1000",
		"-net nic -net nic -net tap":                          "no hubs",
		"-net nic,foo=1":                                      "Invalid parameter 'foo'",
		"-object memory-backend-rom,id=m":                     "near: memory-backend-ram",
		"-object memory-backend-ram,id=m":                     "size",
		"-object memory-backend-ram,id=m,size=1G,mem-path=/x": "mem-path",
		"-chardev socket,id=c":                                "socket",
		"-chardev pty,id=c,foo=1":                             "Invalid parameter 'foo'",
		"-chardev null,id=c -chardev null,id=c":               "already exists",
		"-mon chardev=x,mode=control":                         "\"x\" not found",
		"-serial chardev:x":                                   "not found",
		"-serial usb":                                         "not a valid char driver",
		"-mon chardev=x":                                      "not found",
		"-monitor telepathy":                                  "not a valid char driver",
		"-vga std":                                            "only 'none'",
		"-uuid 123":                                           "UUID",
		"-rtc base=yesterday":                                 "yesterday",
		"-action panic=explode":                               "explode",
		"-global virtio-blk-pci.x=1":                          "not found",
		"-set device.x.y=1":                                   "there is no device",
		"-readconfig /nonexistent":                            "/nonexistent",
		"-machine q35,memory-backend=m":                       "not found",
		"-device {\"driver\":1":                               "JSON",
		"-name a,b=1":                                         "Invalid parameter 'b'",
		"-overcommit cpu-pm=on":                               "cpu-pm",
		"-add-fd fd=1,set=2":                                  "fd=",
	} {
		_, err := Parse(strings.Fields(line), testEnv())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v (wanted %q in it)", line, err, want)
		}
	}
}

// TestLibvirt takes a command line as libvirt writes it.
func TestLibvirt(t *testing.T) {
	args := []string{
		"-name", "guest=t1,debug-threads=on", "-S",
		"-object", `{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/x/master-key.aes"}`,
		"-machine", "q35,usb=off,dump-guest-core=off,memory-backend=pc.ram", "-accel", "kvm", "-cpu", "host,migratable=on", "-m", "512",
		"-object", `{"qom-type":"memory-backend-memfd","id":"pc.ram","share":true,"x-use-canonical-path-for-ramblock-id":false,"size":536870912}`,
		"-overcommit", "mem-lock=off", "-smp", "1,maxcpus=2,sockets=2,cores=1,threads=1", "-uuid", "8b0bf2a5-6c8f-4c8e-9d57-0d1b4b1f9d4e",
		"-display", "none", "-no-user-config", "-nodefaults", "-chardev", "socket,id=charmonitor,fd=27,server=on,wait=off",
		"-mon", "chardev=charmonitor,id=monitor,mode=control", "-rtc", "base=utc,driftfix=slew", "-global", "kvm-pit.lost_tick_policy=delay",
		"-no-hpet", "-no-shutdown", "-global", "ICH9-LPC.disable_s3=1", "-boot", "strict=on",
		"-blockdev", `{"driver":"file","filename":"/x.img","node-name":"libvirt-1-storage","auto-read-only":true,"discard":"unmap"}`,
		"-blockdev", `{"node-name":"libvirt-1-format","read-only":false,"driver":"raw","file":"libvirt-1-storage"}`,
		"-device", `{"driver":"virtio-blk-pci","bus":"pci.3","addr":"0x0","drive":"libvirt-1-format","id":"virtio-disk0"}`,
		"-netdev", `{"type":"tap","fd":"31","id":"hostnet0"}`, "-audiodev", `{"id":"audio1","driver":"none"}`, "-msg", "timestamp=on",
	}
	c, err := Parse(args, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "t1" || !c.Paused || c.Shutdown != qapi.ShutdownActionPause || c.Machine.MemoryBackend != "pc.ram" || !c.Objects[1].Memory.Share ||
		*c.Blockdevs[1].Options.NodeName != "libvirt-1-format" || *c.Netdevs[0].Tap.Fd != "31" || c.SMP != (SMP{1, 2, 2, 1, 1, 1}) {
		t.Errorf("%+v", c)
	}
}

// TestLibvirtProbe takes the command line that libvirt asks a program about itself with.
func TestLibvirtProbe(t *testing.T) {
	c := parse(t, "-S -no-user-config -nodefaults -nographic -machine q35,accel=kvm:tcg -qmp unix:/x,server=on,wait=off -pidfile /y -daemonize")
	if len(c.Serials) != 0 || len(c.Monitors) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestPrintHelp(t *testing.T) {
	var b strings.Builder
	PrintHelp(&b, "hv")
	for _, o := range options() {
		if !strings.Contains(b.String(), "-"+o.name) || o.help == "" {
			t.Errorf("-%s is not explained", o.name)
		}
	}
}

// FuzzParse feeds command lines, arguments separated by line ends.
func FuzzParse(f *testing.F) {
	f.Add("-m\n1G\n-smp\n4,sockets=2\n-device\nvirtio-blk-pci,drive=x,addr=1.2")
	f.Add("-device\n{\"driver\":\"virtio-blk-pci\",\"drive\":[1,{\"a\":null}]}")
	f.Add("-drive\nfile=a,,b,if=virtio,serial=1\n-serial\ntcp:h:1,server\n-chardev\npty,id=x,")
	f.Add("-set\na.b.c=d\n-global\nx.y=z\n-rtc\nbase=2020-01-01\n-smbios\ntype=1,serial=2")
	f.Fuzz(func(t *testing.T, line string) {
		env := testEnv()
		env.ReadFile = func(string) ([]byte, error) { return []byte(line), nil }
		c, err := Parse(strings.Split(line, "\n"), env)
		if (c == nil) == (err == nil) {
			t.Fatalf("both or neither of %v and %v", c, err)
		}
		if err != nil && errors.Is(err, errHelp) {
			t.Fatal("the request for help came out as an error")
		}
	})
}

// FuzzPairs checks that pairs survive being written and read again.
func FuzzPairs(f *testing.F) {
	f.Add("a=b,c=,,d,e")
	f.Fuzz(func(t *testing.T, s string) {
		ps, err := parsePairs(s, "")
		if err != nil {
			return
		}
		again, err := parsePairs(ps.String(), "")
		if err != nil || !slices.Equal(ps, again) {
			t.Fatalf("%q: %q became %q, %v", s, ps, again, err)
		}
	})
}
