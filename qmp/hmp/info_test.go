package hmp

import "testing"

// TestInfo prints what QEMU cannot be brought to tell easily in TestAgainstQEMU.
func TestInfo(t *testing.T) {
	for _, c := range []struct{ line, command, result, want string }{
		{"info virtio-vhost-queue-status /d 1", "x-query-virtio-vhost-queue-status",
			`{"name":"vhost-vsock","kick":3,"call":4,"num":128,"desc":4096,"desc-phys":8192,"desc-size":2048,"avail":1,"avail-phys":2,"avail-size":3,"used":5,"used-phys":6,"used-size":7}`,
			"/d:\n  device_name:          vhost-vsock (vhost)\n  kick:                 3\n  call:                 4\n  VRing:\n    num:         128\n" +
				"    desc:        0x0000000000001000\n    desc_phys:   0x0000000000002000\n    desc_size:   2048\n    avail:       0x0000000000000001\n" +
				"    avail_phys:  0x0000000000000002\n    avail_size:  3\n    used:        0x0000000000000005\n    used_phys:   0x0000000000000006\n    used_size:   7\n"},
		{"info virtio-queue-status /d 0", "x-query-virtio-queue-status",
			`{"name":"vhost-vsock","queue-index":0,"inuse":1,"used-idx":2,"signalled-used":3,"signalled-used-valid":true,"last-avail-idx":4,"vring-num":8,"vring-num-default":9,"vring-align":10,"vring-desc":11,"vring-avail":12,"vring-used":13}`,
			"/d:\n  device_name:          vhost-vsock\n  queue_index:          0\n  inuse:                1\n  used_idx:             2\n  signalled_used:       3\n" +
				"  signalled_used_valid: true\n  last_avail_idx:       4\n  VRing:\n    num:          8\n    num_default:  9\n    align:        10\n" +
				"    desc:         0x000000000000000b\n    avail:        0x000000000000000c\n    used:         0x000000000000000d\n"},
		{"info virtio-queue-element /d 0 2", "x-query-virtio-queue-element",
			`{"name":"virtio-net","index":2,"descs":[{"addr":4096,"len":12,"flags":["next","write"]},{"addr":16,"len":1,"flags":[]}],"avail":{"flags":1,"idx":2,"ring":3},"used":{"flags":4,"idx":5}}`,
			"/d:\n  device_name: virtio-net\n  index:   2\n  desc:\n    descs:\n        addr 0x1000 len 12 (next, write),\n        addr 0x10 len 1\n" +
				"  avail:\n    flags: 1\n    idx:   2\n    ring:  3\n  used:\n    flags: 4\n    idx:   5\n"},
		{"info virtio-status /d", "x-query-virtio-status",
			`{"name":"vhost-vsock","device-id":19,"status":{"statuses":["OK"],"unknown-statuses":16},"guest-features":{"transports":["A","B"],"dev-features":["C"],"unknown-dev-features":255},` +
				`"host-features":{"transports":[]},"backend-features":{"transports":["D"],"dev-features":[]},"vhost-dev":{"nvqs":2,"vq-index":0,"max-queues":0,"n-mem-sections":1,"n-tmp-sections":1,` +
				`"backend-cap":0,"log-enabled":false,"log-size":0,"features":{"transports":["E"]},"acked-features":{"transports":["F"]},"backend-features":{"transports":[]},"protocol-features":{"protocols":["G"],"unknown-protocols":1}}}`,
			"/d:\n  device_name:             vhost-vsock (vhost)\n  device_id:               19\n  status:\n\tOK\n  unknown-statuses(0x0000000000000010)\n" +
				"  Guest features:\n\tA,\n\tB\n\tC\n  unknown-features(0x00000000000000ff)\n  Host features:\n\n  Backend features:\n\tD\n" +
				"  VHost:\n    nvqs:           2\n    vq_index:       0\n    max_queues:     0\n    n_mem_sections: 1\n    n_tmp_sections: 1\n    backend_cap:    0\n" +
				"    log_enabled:    false\n    log_size:       0\n    Features:\n\tE\n    Acked features:\n\tF\n    Backend features:\n\n    Protocol features:\n\tG\n  unknown-protocols(0x0000000000000001)\n"},
		{"info virtio", "x-query-virtio", `[]`, "No VirtIO devices\n"},
		{"info migrate", "query-migrate",
			`{"status":"failed","error-desc":"no route","total-time":5,"downtime":6,"setup-time":7,"blocked-reasons":["a disk"],"cpu-throttle-percentage":20,` +
				`"ram":{"transferred":2048,"mbps":1,"remaining":0,"total":4096,"page-size":4096,"postcopy-requests":0,"dirty-pages-rate":3},"disk":{"transferred":1024,"remaining":0,"total":1024},` +
				`"socket-address":[{"type":"inet","host":"h","port":"1"},{"type":"unix","path":"/p"}]}`,
			"Outgoing migration blocked:\n  a disk\nMigration status: failed (no route)\ntotal time: 5 ms\ndowntime: 6 ms\nsetup: 7 ms\n" +
				"transferred ram: 2 kbytes\nthroughput: 1.00 mbps\nremaining ram: 0 kbytes\ntotal ram: 4 kbytes\npage size: 4 kbytes\ndirty pages rate: 3 pages\n" +
				"transferred disk: 1 kbytes\nremaining disk: 0 kbytes\ntotal disk: 1 kbytes\ncpu throttle percentage: 20\nsocket address: [\n\ttcp:h:1\n\tunix:/p\n]\n"},
		{"info memory-devices", "query-memory-devices",
			`[{"type":"dimm","data":{"id":"d1","addr":4294967296,"slot":0,"node":0,"size":1024,"memdev":"/objects/m","hotplugged":true,"hotpluggable":false}},{"type":"virtio-mem","data":{"memaddr":4096,"node":1,"requested-size":1,"size":2,"max-size":3,"block-size":4,"memdev":"m"}}]`,
			"Memory device [dimm]: \"d1\"\n  addr: 0x100000000\n  slot: 0\n  node: 0\n  size: 1024\n  memdev: /objects/m\n  hotplugged: true\n  hotpluggable: false\n" +
				"Memory device [virtio-mem]: \"\"\n  memaddr: 0x1000\n  node: 1\n  requested-size: 1\n  size: 2\n  max-size: 3\n  block-size: 4\n  memdev: m\n"},
		{"info memdev", "query-memdev", `[{"id":"m","size":1,"merge":true,"policy":"bind","host-nodes":[0,1,2,5,7,8]}]`,
			"memory backend: m\n  size:  1\n  merge: true\n  dump: false\n  prealloc: false\n  share: false\n  policy: bind\n  host nodes: 0-2,5,7-8\n\n"},
		{"info block-jobs", "query-block-jobs", `[{"type":"stream","device":"d0","len":10,"offset":5,"speed":0},{"type":"mirror","device":"d1","len":1,"offset":0,"speed":2}]`,
			"Streaming device d0: Completed 5 of 10 bytes, speed limit 0 bytes/s\nType mirror, device d1: Completed 0 of 1 bytes, speed limit 2 bytes/s\n"},
		{"info block -v", "query-block",
			`[{"device":"","qdev":"/q","removable":true,"locked":true,"tray_open":true,"io-status":"failed"},{"device":"d0","inserted":{"file":"f","drv":"qcow2","ro":true,"encrypted":true,"cache":{"writeback":false,"direct":true,"no-flush":true},` +
				`"backing_file":"b","backing_file_depth":1,"detect_zeroes":"unmap","image":{"filename":"f","format":"qcow2","virtual-size":1000,"actual-size":1048576,"dirty-flag":true,"cluster-size":65536,"backing-filename":"b","backing-filename-format":"raw","backing-image":{"filename":"b","format":"raw","virtual-size":0}}}}]`,
			"/q: [not inserted]\n    Attached to:      /q\n    I/O status:       failed\n    Removable device: locked, tray open\n\n" +
				"d0: f (qcow2, read-only, encrypted)\n    Cache mode:       writethrough, direct, ignore flushes\n    Backing file:     b (chain depth: 1)\n    Detect zeroes:    unmap\n\nImages:\n" +
				"image: f\nfile format: qcow2\nvirtual size: 0.977 KiB (1000 bytes)\ndisk size: 1 MiB\ncluster_size: 65536\ncleanly shut down: no\nbacking file: b\nbacking file format: raw\n" +
				"image: b\nfile format: raw\nvirtual size: 0 B (0 bytes)\ndisk size: unavailable\n"},
		{"info dump", "query-dump", `{"status":"active","completed":1,"total":4}`, "Status: active\nFinished: 25.00 %\n"},
		{"info trace-events", "trace-event-get-state", `[{"name":"a","state":"enabled"},{"name":"b","state":"disabled"}]`, "a : state 1\nb : state 0\n"},
		{"info mice", "query-mice", `[]`, "No mouse devices connected\n"},
		{"info status", "query-status", `{"running":false,"singlestep":true,"status":"internal-error"}`, "VM status: paused (single step mode) (internal-error)\n"},
		{"info kvm", "query-kvm", `{"present":false,"enabled":false}`, "kvm support: not compiled\n"},
		{"info pci", "query-pci", `!there is no PCI`, "PCI devices not supported\n"},
		{"info roms", "x-query-roms", `!none`, "Error: none\n"},
		{"exit_preconfig", "x-exit-preconfig", `!it has ended`, "Error: it has ended\n"},
	} {
		expect(t, &fake{results: map[string]string{c.command: c.result}}, c.line, c.want)
	}
}

func TestInfoStats(t *testing.T) {
	f := &fake{results: map[string]string{
		"query-cpus-fast": `[{"cpu-index":0,"qom-path":"/cpu0"}]`,
		"query-stats-schemas": `[{"provider":"kvm","target":"vcpu","stats":[{"name":"exits","type":"cumulative","exponent":0},{"name":"idle","type":"cumulative","unit":"seconds","base":10,"exponent":-9},` +
			`{"name":"held","type":"peak","unit":"bytes","base":2,"exponent":20},{"name":"wait","type":"linear-histogram","unit":"seconds","base":10,"exponent":-5,"bucket-size":7},{"name":"on","type":"instant","exponent":0},` +
			`{"name":"raw","type":"instant","unit":"bytes","exponent":0},{"name":"clock","type":"instant","unit":"cycles","exponent":0}]}]`,
		"query-stats": `[{"provider":"kvm","stats":[{"name":"exits","value":5},{"name":"idle","value":6},{"name":"held","value":7},{"name":"wait","value":[1,2]},{"name":"on","value":true},{"name":"raw","value":1},{"name":"clock","value":2},{"name":"other","value":1}]}]`,
	}}
	expect(t, f, "info stats vcpu exits,idle", "provider: kvm\n    exits (cumulative): 5\n    idle (cumulative, ns): 6\n    held (peak, MiB): 7\n"+
		"    wait (linear-histogram, * 10^-5 seconds, bucket size=7): [1]=1 [2]=2 \n    on (instant): yes\n    raw (instant, B): 1\n    clock (instant, cycles): 2\nfailed to find schema entry for other\n")
	if want := `query-stats {"providers":[{"names":["exits","idle"],"provider":"kvm"}],"target":"vcpu","vcpus":["/cpu0"]}`; f.asked[len(f.asked)-1] != want {
		t.Errorf("asked for %s, not %s", f.asked[len(f.asked)-1], want)
	}
	expect(t, f, "info stats vm", "failed to find schema list for kvm\n")
	expect(t, f, "info stats room", "invalid stats target room\n")
	expect(t, f, "info stats vm * xen", "invalid stats provider xen\n")
}
