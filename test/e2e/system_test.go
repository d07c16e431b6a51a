package e2e

import (
	"bytes"
	"context"
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// query makes a call that has to succeed.
func query[A, R any, PA qapi.Codec[A], PR qapi.Codec[R]](t *testing.T, v *vm, cmd qapi.Command[A, R], a A) R {
	t.Helper()
	r, err := tryQuery[A, R, PA, PR](v, cmd, a)
	if err != nil {
		t.Fatalf("%s: %v", cmd.Name, err)
	}
	return r
}

func tryQuery[A, R any, PA qapi.Codec[A], PR qapi.Codec[R]](v *vm, cmd qapi.Command[A, R], a A) (R, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	return client.Call[A, R, PA, PR](ctx, v.c, cmd, a)
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const kernelAt = 1 << 20 // where the guest program is, at the same linear address

// TestSaveMemory compares the ways to read the memory of a guest that stands still.
func TestSaveMemory(t *testing.T) {
	dir := t.TempDir()
	v := start(t, bare(t, "print=up; idle")...)
	v.Expect(t, "guest: up")
	v.do(t, "stop")
	linear, physical, core := filepath.Join(dir, "linear"), filepath.Join(dir, "physical"), filepath.Join(dir, "core")
	const size = 40000
	query(t, v, qapi.CmdMemsave, qapi.MemsaveArgs{Val: kernelAt, Size: size, Filename: linear})
	query(t, v, qapi.CmdPmemsave, qapi.PmemsaveArgs{Val: kernelAt, Size: size, Filename: physical})
	b := read(t, linear)
	if len(b) != size || !bytes.Equal(b, read(t, physical)) || len(bytes.Trim(b, "\x00")) < size/4 {
		t.Errorf("linear and physical memory differ, or are empty: %d bytes", len(b))
	}
	query(t, v, qapi.CmdDumpGuestMemory, qapi.DumpGuestMemoryArgs{Protocol: "file:" + core})
	var done qapi.DumpCompletedEvent
	if err := done.DecodeQAPI(v.event(t, "DUMP_COMPLETED").Data); err != nil || done.Result.Status != qapi.DumpStatusCompleted || done.Error != nil {
		t.Errorf("%+v, %v", done, err)
	}
	f, err := elf.NewFile(bytes.NewReader(read(t, core)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if _, err := f.Progs[1].ReadAt(got, kernelAt); err != nil || !bytes.Equal(got, b) || f.Progs[1].Filesz != 64<<20 {
		t.Errorf("the core file has other memory: %+v, %v", f.Progs[1].ProgHeader, err)
	}
	if s := v.status(t); s != qapi.RunStatePaused {
		t.Errorf("a dump left a stopped VM in state %s", s)
	}
	for _, a := range []qapi.MemsaveArgs{
		{Val: 1 << 46, Size: 1, Filename: linear}, {Val: 0, Size: 1, Filename: "/nonexistent/f"}, {Size: 1, Filename: linear, CpuIndex: new(int64(1))},
	} {
		if _, err := tryQuery(v, qapi.CmdMemsave, a); err == nil {
			t.Errorf("%+v succeeded", a)
		}
	}
}

// TestDetachedDump dumps a running VM into a pipe that is read late: commands are answered
// meanwhile, and the VM goes on afterwards.
func TestDetachedDump(t *testing.T) {
	v := start(t, bare(t, "print=up; idle")...)
	v.Expect(t, "guest: up")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(fifo, os.O_RDWR, 0) // without a reader the dump is refused
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	on := true
	query(t, v, qapi.CmdDumpGuestMemory, qapi.DumpGuestMemoryArgs{Protocol: "file:" + fifo, Detach: &on, Paging: true})
	v.event(t, "STOP")
	if s := query(t, v, qapi.CmdQueryDump, qapi.Empty{}); s.Status != qapi.DumpStatusActive || s.Total != 64<<20 || s.Completed == s.Total {
		t.Errorf("%+v", s)
	}
	for _, c := range []string{"stop", "cont"} {
		if err := v.try(c); err == nil || err.Error() != "There is a dump in process, please wait." {
			t.Errorf("%s during a dump: %v", c, err)
		}
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil || string(head) != elf.ELFMAG {
		t.Errorf("%q, %v", head, err)
	}
	n, err := io.CopyN(io.Discard, r, 64<<20)
	if err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	v.event(t, "DUMP_COMPLETED")
	v.event(t, "RESUME")
	if s := query(t, v, qapi.CmdQueryDump, qapi.Empty{}); s.Status != qapi.DumpStatusCompleted || s.Completed != s.Total {
		t.Errorf("%+v", s)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestQuitDuringDump checks that a dump that nobody reads does not keep a VM from ending.
func TestQuitDuringDump(t *testing.T) {
	v := start(t, bare(t, "print=up; idle")...)
	v.Expect(t, "guest: up")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	on := true
	query(t, v, qapi.CmdDumpGuestMemory, qapi.DumpGuestMemoryArgs{Protocol: "file:" + fifo, Detach: &on})
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestStatistics reads what KVM counts.
func TestStatistics(t *testing.T) {
	v := start(t, bare(t, "print=up; ioexit n=1000; print=done; idle", "-smp", "2")...)
	v.Expect(t, "guest: done")
	schemas := query(t, v, qapi.CmdQueryStatsSchemas, qapi.QueryStatsSchemasArgs{})
	if len(schemas) != 2 || schemas[0].Target != qapi.StatsTargetVcpu || schemas[1].Target != qapi.StatsTargetVm {
		t.Fatalf("%+v", schemas)
	}
	cpus := query(t, v, qapi.CmdQueryCpusFast, qapi.Empty{})
	names := qapi.StrList{"exits"}
	filter := qapi.StatsFilter{Target: qapi.StatsTargetVcpu, Providers: qapi.StatsRequestList{{Provider: qapi.StatsProviderKvm, Names: names}}, Vcpu: &qapi.StatsVCPUFilter{}}
	both := query(t, v, qapi.CmdQueryStats, filter)
	if len(both) != 2 || *both[1].QomPath != cpus[0].QomPath || *both[1].Stats[0].Value.Scalar < 1000 {
		t.Errorf("%+v", both)
	}
	filter.Vcpu.Vcpus = qapi.StrList{cpus[1].QomPath}
	if one := query(t, v, qapi.CmdQueryStats, filter); len(one) != 1 || *one[0].QomPath != cpus[1].QomPath || len(one[0].Stats) != 1 {
		t.Errorf("%+v", one)
	}
	filter.Providers[0].Names = qapi.StrList{}
	if none := query(t, v, qapi.CmdQueryStats, filter); len(none) != 0 {
		t.Errorf("%+v", none)
	}
	vm := query(t, v, qapi.CmdQueryStats, qapi.StatsFilter{Target: qapi.StatsTargetVm})
	if len(vm) != 1 || vm[0].QomPath != nil || len(vm[0].Stats) != len(schemas[1].Stats) {
		t.Errorf("%+v", vm)
	}
}

// TestWatchdog has the guest's watchdog run out, once for each action.
func TestWatchdog(t *testing.T) {
	args := func(action string, commands string) []string {
		return bare(t, commands, "-device", "i6300esb", "-watchdog-action", action)
	}
	t.Run("pause", func(t *testing.T) {
		v := start(t, args("pause", "watchdog ms=20; idle")...)
		var e qapi.WatchdogEvent
		if err := e.DecodeQAPI(v.event(t, "WATCHDOG").Data); err != nil || e.Action != qapi.WatchdogActionPause {
			t.Errorf("%+v, %v", e, err)
		}
		v.event(t, "STOP")
		if s := v.status(t); s != qapi.RunStateWatchdog {
			t.Errorf("state %s", s)
		}
		v.do(t, "cont")
	})
	t.Run("reset", func(t *testing.T) {
		v := start(t, args("none", "watchdog ms=200; idle")...)
		query(t, v, qapi.CmdWatchdogSetAction, qapi.WatchdogSetActionArgs{Action: qapi.WatchdogActionReset})
		v.event(t, "WATCHDOG")
		v.event(t, "RESET")
		v.Expect(t, "guest: watchdog timeout=1")
	})
	t.Run("poweroff", func(t *testing.T) { start(t, args("poweroff", "watchdog ms=20; idle")...).ends(t, 0) })
	t.Run("inject-nmi", func(t *testing.T) {
		v := start(t, args("inject-nmi", "watchdog ms=20; idle")...)
		v.event(t, "WATCHDOG")
		v.do(t, "inject-nmi")
	})
}

// TestLooking asks for the state of a disk behind a port.
func TestLooking(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	v := start(t, bare(t, "blk.read; print=read; idle", "-device", "pcie-root-port,id=rp", "-drive", "file="+disk+",format=raw,if=none,id=d",
		"-device", "virtio-blk-pci,drive=d,id=disk,bus=rp")...)
	v.Expect(t, "guest: read")
	list := query(t, v, qapi.CmdXQueryVirtio, qapi.Empty{})
	if len(list) != 1 || list[0].Name != "virtio-blk" {
		t.Fatalf("%+v", list)
	}
	path := list[0].Path
	if s := query(t, v, qapi.CmdXQueryVirtioStatus, qapi.VirtioPathArgs{Path: path}); !s.Started || !s.VmRunning || s.Broken {
		t.Errorf("%+v", s)
	}
	if q := query(t, v, qapi.CmdXQueryVirtioQueueStatus, qapi.VirtioQueueArgs{Path: path}); q.UsedIdx != 1 || *q.LastAvailIdx != 1 || q.Inuse != 0 {
		t.Errorf("%+v", q)
	}
	if e := query(t, v, qapi.CmdXQueryVirtioQueueElement, qapi.VirtioQueueElementArgs{Path: path, Index: new(uint16)}); len(e.Descs) != 3 || e.Used.Idx != 1 {
		t.Errorf("%+v", e)
	}
	pci := query(t, v, qapi.CmdQueryPci, qapi.Empty{})
	var bridge *qapi.PciBridgeInfo
	for _, d := range pci[0].Devices {
		if d.QdevId == "rp" {
			bridge = d.PciBridge
		}
	}
	if bridge == nil || len(bridge.Devices) != 1 || bridge.Devices[0].QdevId != "disk" || bridge.Devices[0].Regions[0].Address < bridge.Bus.MemoryRange.Base {
		t.Errorf("%+v", bridge)
	}
	for _, c := range []string{"x-query-irq", "x-query-ramblock", "x-query-numa", "rtc-reset-reinjection", "inject-nmi"} {
		v.do(t, c)
	}
	if err := v.c.Execute(context.Background(), "set_link", &qapi.SetLinkArgs{Name: "x"}, nil); qapi.ClassOf(err) != qapi.QapiErrorClassDeviceNotFound {
		t.Errorf("set_link: %v", err)
	}
}

// TestGenerationID finds the identifier in the guest's memory, before and after a reset.
func TestGenerationID(t *testing.T) {
	const id = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
	v := start(t, bare(t, "print=up; idle", "-device", "vmgenid,guid="+id)...)
	for range 2 {
		v.Expect(t, "guest: up")
		if r := query(t, v, qapi.CmdQueryVmGenerationId, qapi.Empty{}); r.Guid != id {
			t.Errorf("%+v", r)
		}
		file := filepath.Join(t.TempDir(), "m")
		query(t, v, qapi.CmdPmemsave, qapi.PmemsaveArgs{Val: 0xf0000, Size: 0x10000, Filename: file})
		want := []byte{0xaf, 0x6e, 0x4e, 0x32, 0xd1, 0xd1, 0xf6, 0x4b, 0xbf, 0x41, 0xb9, 0xbb, 0x6c, 0x91, 0xfb, 0x87}
		if at := bytes.Index(read(t, file), want); at < 0 || at%4096 != 0 {
			t.Errorf("identifier at %#x", at)
		}
		v.do(t, "system_reset")
		v.event(t, "RESET")
	}
	if _, err := tryQuery(start(t, bare(t, "idle")...), qapi.CmdQueryVmGenerationId, qapi.Empty{}); err == nil {
		t.Error("an identifier without a device")
	}
}

// TestDumpToDescriptor has the dump written into a pipe that a client passed.
func TestDumpToDescriptor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "q")
	v := start(t, bare(t, "print=up; idle", "-qmp", "unix:"+socket+",server=on,wait=off")...)
	v.Expect(t, "guest: up")
	k := connect(t, "unix", socket)
	k.negotiate()
	const dump = `{"execute": "dump-guest-memory", "arguments": {"paging": false, "protocol": "fd:core", "begin": 1048576, "length": 8192}}`
	k.say(dump)
	k.hear("File descriptor named 'core' has not been found")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	k.pass(`{"execute": "getfd", "arguments": {"fdname": "core"}}`, w)
	k.hear(`{"return": {}}`)
	w.Close()
	k.say(dump)
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	k.hear("DUMP_COMPLETED")
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil || len(f.Progs) != 2 || f.Progs[1].Paddr != kernelAt || f.Progs[1].Filesz != 8192 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	v.event(t, "RESUME")
}
