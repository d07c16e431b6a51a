package hmp

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// fake answers QMP commands with fixed results and notes what it was asked.
type fake struct {
	results map[string]string // JSON, or an error's text after "!"
	asked   []string
}

func (f *fake) Call(_ context.Context, command string, args any) (json.RawMessage, error) {
	line := command
	if args != nil {
		b, err := json.Marshal(args)
		if err != nil {
			return nil, err
		}
		line += " " + string(b)
	}
	f.asked = append(f.asked, line)
	result, ok := f.results[command]
	if text, bad := strings.CutPrefix(result, "!"); bad || !ok {
		return nil, errors.New(text)
	}
	return json.RawMessage(result), nil
}

func (f *fake) Has(command string) bool { _, ok := f.results[command]; return ok }

// whole is a fake with a machine in it: memory with page tables, and texts.
type whole struct {
	fake
	memory    []byte
	registers map[string]uint64
}

func (w *whole) Registers(_ context.Context, cpu int) (string, error) {
	if cpu > 1 {
		return "", errors.New("no such CPU")
	}
	return fmt.Sprintf("RIP=%016x\n", w.registers["rip"]), nil
}

func (w *whole) Register(_ context.Context, _ int, name string) (uint64, bool) {
	v, ok := w.registers[name]
	return v, ok
}

func (w *whole) ReadPhysical(_ context.Context, addr uint64, p []byte) error {
	if addr > uint64(len(w.memory)) || uint64(len(p)) > uint64(len(w.memory))-addr {
		return errors.New("no memory there")
	}
	copy(p, w.memory[addr:])
	return nil
}

// Translate maps what lies above 1 MiB to what lies below, but for one page.
func (w *whole) Translate(_ context.Context, _ int, addr uint64) (uint64, bool) {
	return addr - 1<<20, addr >= 1<<20 && addr>>12 != 0x102
}

func (w *whole) Info(topic string) func(context.Context) (string, error) {
	if topic != "network" {
		return nil
	}
	return func(context.Context) (string, error) { return "n0: index=0,type=tap\n", errors.New("one is missing") }
}

func newWhole() *whole {
	w := &whole{memory: make([]byte, 64<<10), registers: map[string]uint64{"rip": 0x100003, "cr0": 1, "efer": 0}}
	w.results = map[string]string{
		"query-cpus-fast": `[{"cpu-index":0,"qom-path":"/cpu0","thread-id":10},{"cpu-index":1,"qom-path":"/cpu1","thread-id":11}]`,
	}
	return w
}

func run(t *testing.T, c Caller, line string) string {
	t.Helper()
	return New(c).NewSession().Execute(t.Context(), line)
}

func expect(t *testing.T, c Caller, line, want string) {
	t.Helper()
	if got := run(t, c, line); got != want {
		t.Errorf("%q prints\n%s\nnot\n%s", line, got, want)
	}
}

// TestCommandsAppearWithQMP sees commands exist as the QMP commands behind them do.
func TestCommandsAppearWithQMP(t *testing.T) {
	none := &fake{}
	expect(t, none, "stop", "unknown command: 'stop'\n")
	expect(t, none, "info block", "unknown command: 'info block'\n")
	expect(t, none, "x 0", "unknown command: 'x'\n")
	expect(t, none, "help", "help|? [cmd] -- list commands, or tell how one is used\ninfo [subcommand] -- show a part of the machine's state\n"+
		"print|p /fmt expr -- print an expression's value; $reg is a register\n")
	some := &fake{results: map[string]string{"stop": "{}", "query-block": "[]"}}
	if text := run(t, some, "help"); !strings.Contains(text, "stop|s  -- ") || strings.Contains(text, "cont|c") {
		t.Errorf("help lists:\n%s", text)
	}
	expect(t, some, "help s", "stop|s  -- stop the machine\n")
	expect(t, some, "? info block", "info block [-n] [-v] [device] -- show block devices; -n all nodes, -v more\n")
	expect(t, some, "help cont", "unknown command: 'cont'\n")
	expect(t, some, "help info nothing", "unknown command: 'info nothing'\n")
	expect(t, some, "info", run(t, some, "help info"))
	expect(t, some, "s", "")
	expect(t, some, "info block", "")
	if !slices.Equal(some.asked, []string{"stop", "query-block"}) {
		t.Errorf("asked for %q", some.asked)
	}
}

func TestNamesAndNeedsOfTheTable(t *testing.T) {
	seen := map[string]bool{}
	check := func(prefix string, list []*command) {
		for _, c := range list {
			for _, n := range strings.Split(c.name, "|") {
				if seen[prefix+n] {
					t.Errorf("%s%s is there twice", prefix, n)
				}
				seen[prefix+n] = true
			}
			if c.run == nil || c.help == "" {
				t.Errorf("%s%s does nothing, or has no help", prefix, c.name)
			}
			for _, p := range c.spec() {
				if known := []string{"", "string", "file", "block", "rest", "options", "int", "long", "mega", "size", "on", "format"}; p.name == "" || !slices.Contains(known, p.kind) {
					t.Errorf("%s%s has a parameter %+v", prefix, c.name, p)
				}
			}
		}
	}
	check("info ", infoCommands())
	check("", slices.Concat(baseCommands(), runCommands(), memoryCommands(), deviceCommands(), blockCommands(), driveCommands(), migrateCommands()))
}

// TestWhatIsAsked sees lines become QMP commands.
func TestWhatIsAsked(t *testing.T) {
	for line, want := range map[string]string{
		"quit":         `quit`,
		"nmi":          `inject-nmi`,
		"balloon 0x10": `balloon {"value":16777216}`,
		"netdev_add user,id=n,hostfwd=tcp::1-:2,hostfwd=x": `netdev_add {"hostfwd":[{"str":"tcp::1-:2"},{"str":"x"}],"id":"n","type":"user"}`,
		"set_link n0 off":                                         `set_link {"name":"n0","up":false}`,
		"device_add e1000,id=n,,1,x=y":                            `device_add {"driver":"e1000","id":"n,1","x":"y"}`,
		"device_add e1000,nobus,multi":                            `device_add {"bus":"off","driver":"e1000","multi":"on"}`,
		"block_resize d0 1G":                                      `block_resize {"device":"d0","size":1073741824}`,
		"block_resize d0 1536k":                                   `block_resize {"device":"d0","size":1572864}`,
		"block_resize d0 0.5":                                     `block_resize {"device":"d0","size":524288}`,
		"block_stream d0 1 base":                                  `block-stream {"base":"base","device":"d0","job-id":"d0","speed":1048576}`,
		"block_job_cancel -f d0":                                  `block-job-cancel {"device":"d0","force":true}`,
		"block_job_cancel d0":                                     `block-job-cancel {"device":"d0","force":false}`,
		"eject -f d0":                                             `eject {"device":"d0","force":true}`,
		"change d0 -f a.img raw":                                  `blockdev-change-medium {"device":"d0","filename":"a.img","force":true,"format":"raw"}`,
		"drive_mirror -n d0 b.img raw":                            `drive-mirror {"device":"d0","format":"raw","mode":"existing","sync":"top","target":"b.img"}`,
		"drive_mirror -f d0 b.img":                                `drive-mirror {"device":"d0","mode":"absolute-paths","sync":"full","target":"b.img"}`,
		"drive_backup -c d0 b.img":                                `drive-backup {"compress":true,"device":"d0","mode":"absolute-paths","sync":"top","target":"b.img"}`,
		"snapshot_blkdev d0 o.img":                                `blockdev-snapshot-sync {"device":"d0","mode":"absolute-paths","snapshot-file":"o.img"}`,
		"nbd_server_add -w d0":                                    `nbd-server-add {"device":"d0","writable":true}`,
		"nbd_server_remove -f d0":                                 `nbd-server-remove {"mode":"hard","name":"d0"}`,
		"nbd_server_start localhost:1":                            `nbd-server-start {"addr":{"data":{"host":"localhost","port":"1"},"type":"inet"}}`,
		"nbd_server_start unix:/a":                                `nbd-server-start {"addr":{"data":{"path":"/a"},"type":"unix"}}`,
		"drive_del n":                                             `blockdev-del {"node-name":"n"}`,
		"memsave 1+1 16 f":                                        `memsave {"cpu-index":0,"filename":"f","size":16,"val":2}`,
		"pmemsave 0 1 \"a b\"":                                    `pmemsave {"filename":"a b","size":1,"val":0}`,
		"dump-guest-memory -p -z f":                               `dump-guest-memory {"detach":false,"format":"kdump-zlib","paging":true,"protocol":"file:f"}`,
		"dump-guest-memory -d f 0 8":                              `dump-guest-memory {"begin":0,"detach":true,"length":8,"paging":false,"protocol":"file:f"}`,
		"watchdog_action pause":                                   `watchdog-set-action {"action":"pause"}`,
		"getfd x":                                                 `getfd {"fdname":"x"}`,
		"migrate -d tcp:h:1":                                      `migrate {"blk":false,"inc":false,"resume":false,"uri":"tcp:h:1"}`,
		"migrate_set_capability x on":                             `migrate-set-capabilities {"capabilities":[{"capability":"x","state":true}]}`,
		"migrate_start_postcopy":                                  `migrate-start-postcopy`,
		"migrate_incoming defer":                                  `migrate-incoming {"uri":"defer"}`,
		"announce_self a,b id1":                                   `announce-self {"id":"id1","initial":50,"interfaces":["a","b"],"max":550,"rounds":5,"step":100}`,
		"qom-set -j /a b {\"c\": 1}":                              `qom-set {"path":"/a","property":"b","value":{"c":1}}`,
		"ringbuf_write r \"a\\nb\"":                               `ringbuf-write {"data":"a\nb","device":"r"}`,
		"object_add {\"id\":\"a\"}":                               `object-add {"id":"a"}`,
		"trace-event a off":                                       `trace-event-set-state {"enable":false,"name":"a"}`,
		"chardev-add null,id=c":                                   `chardev-add {"backend":{"data":{},"type":"null"},"id":"c"}`,
		"chardev-change c ringbuf,size=1k":                        `chardev-change {"backend":{"data":{"size":1024},"type":"ringbuf"},"id":"c"}`,
		"chardev-add socket,id=c,path=/s,server=on,wait=off":      `chardev-add {"backend":{"data":{"addr":{"data":{"path":"/s"},"type":"unix"},"server":true,"wait":false},"type":"socket"},"id":"c"}`,
		"chardev-add socket,id=c,host=h,port=1,nodelay,logfile=l": `chardev-add {"backend":{"data":{"addr":{"data":{"host":"h","port":"1"},"type":"inet"},"logfile":"l","nodelay":true,"server":false},"type":"socket"},"id":"c"}`,
		"chardev-add udp,id=c,port=1,localport=2":                 `chardev-add {"backend":{"data":{"local":{"data":{"host":"","port":"2"},"type":"inet"},"remote":{"data":{"host":"localhost","port":"1"},"type":"inet"}},"type":"udp"},"id":"c"}`,
		"chardev-add file,id=c,path=/f,append=on":                 `chardev-add {"backend":{"data":{"append":true,"out":"/f"},"type":"file"},"id":"c"}`,
		"chardev-add tty,id=c,path=/d":                            `chardev-add {"backend":{"data":{"device":"/d"},"type":"serial"},"id":"c"}`,
	} {
		f := &fake{results: map[string]string{}}
		for _, c := range slices.Concat(runCommands(), memoryCommands(), deviceCommands(), blockCommands(), driveCommands(), migrateCommands()) {
			for _, n := range c.needs {
				f.results[n] = "{}"
			}
		}
		delete(f.results, "qom-list")
		if text := run(t, f, line); text != "" || !slices.Equal(f.asked, []string{want}) {
			t.Errorf("%q prints %q and asks\n%s\nnot\n%s", line, text, strings.Join(f.asked, "\n"), want)
		}
	}
}

func TestErrors(t *testing.T) {
	f := &fake{results: map[string]string{"stop": "!it is stuck", "chardev-add": "{}", "object-add": "{}", "nbd-server-start": "{}", "nbd-server-add": "!no", "nbd-server-stop": "{}",
		"query-block": `[{"device":"d0","inserted":{}},{"device":"d1"}]`, "query-status": "[]", "device_add": "{}"}}
	expect(t, f, "stop", "Error: it is stuck\n")
	expect(t, f, "stop now", "stop|s: extraneous characters at the end of line\nTry \"help stop\" for more information\n")
	expect(t, f, "chardev-add bad,id=x", "Error: 'bad' is not a valid char driver name\n")
	expect(t, f, "chardev-add null,id=x,y=z", "Error: Invalid parameter 'y'\n")
	expect(t, f, "chardev-add socket,id=x", "Error: chardev: socket: no host given\n")
	expect(t, f, "chardev-add ringbuf,id=x,size=big", "Error: Parameter 'size' expects a number\n")
	expect(t, f, "chardev-add socket,id=x,path=/a,server=maybe", "Error: Parameter 'server' expects 'on' or 'off'\n")
	expect(t, f, "object_add {", "Error: JSON parse error, a value is expected\n")
	expect(t, f, "object_add x,a.b=1,a=2", "Error: Parameters 'a' used inconsistently\n")
	expect(t, f, "device_add x,a=1,a.b=2", "Error: Parameters 'a.b' used inconsistently\n")
	expect(t, f, "nbd_server_start -a nowhere", "Error: error parsing address 'nowhere'\n")
	expect(t, f, "nbd_server_start -a h:1", "Error: no\n")
	if f.asked[len(f.asked)-1] != "nbd-server-stop" {
		t.Errorf("a server that failed was left: %q", f.asked)
	}
	if text := run(t, f, "info status"); !strings.HasPrefix(text, "Error: result of query-status") {
		t.Errorf("a result of the wrong type: %q", text)
	}
}

func TestExecuteForQMP(t *testing.T) {
	w := newWhole()
	m := New(w)
	one, seven := int64(1), int64(7)
	text, err := m.Execute(t.Context(), "info cpus", &one)
	if err != nil || text != "  CPU #0: thread_id=10\r\n* CPU #1: thread_id=11\r\n" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := m.Execute(t.Context(), "info cpus", &seven); err == nil || err.Error() != "Parameter 'cpu-index' expects a CPU number" {
		t.Errorf("a CPU that is not there: %v", err)
	}
	s := m.NewSession()
	if s.Execute(t.Context(), "cpu 1") != "" || s.cpu != 1 || s.Execute(t.Context(), "cpu 2") != "invalid CPU index\n" || s.cpu != 1 {
		t.Errorf("CPU %d", s.cpu)
	}
}

func TestMachine(t *testing.T) {
	w := newWhole()
	expect(t, w, "info registers", "\nCPU#0\nRIP=0000000000100003\n")
	expect(t, w, "info registers -a", "\nCPU#0\nRIP=0000000000100003\n\nCPU#1\nRIP=0000000000100003\n")
	expect(t, w, "info registers 1", "\nCPU#1\nRIP=0000000000100003\n")
	expect(t, w, "info registers 4", "CPU#4 not available\n")
	expect(t, w, "p/x $rip+1", "0x100004\n")
	expect(t, w, "p $rax", "unknown register\nTry \"help p\" for more information\n")
	expect(t, w, "info network", "n0: index=0,type=tap\nError: one is missing\n")
	copy(w.memory[3:], "\x90\xb8\x01\x00\x00\x00AB'\n\x80")
	expect(t, w, "x/2i $rip", "0x00100003:  90                       nop\n0x00100004:  b8 01 00 00 00           mov $0x1,%eax\n")
	expect(t, w, "x/6bc $rip+6", "0000000000100009: 'A' 'B' '\\'' '\\n' '\\x80' '\\x00'\n")
	expect(t, w, "xp/3xb 3", "0000000000000003: 0x90 0xb8 0x01\n")
	expect(t, w, "xp/2xh 3", "0000000000000003: 0xb890 0x0001\n")
	expect(t, w, "xp/1xg 3", "0000000000000003: 0x424100000001b890\n")
	expect(t, w, "xp 3", "0000000000000003: 0x0001b890\n")
	expect(t, w, "xp/9ub 0", "0000000000000000:   0   0   0 144 184   1   0   0\n0000000000000008:   0\n")
	expect(t, w, "xp/2ow 0", "0000000000000000: 022000000000        0670\n")
	expect(t, w, "xp 65535", "000000000000ffff: Cannot access memory\n")
	expect(t, w, "x/2xw 0x101ffc", "0000000000101ffc: Cannot access memory\n")
	expect(t, w, "x/1i 0", "0x00000000: unable to read memory\n")
	expect(t, w, "gva2gpa 0x100010", "gpa: 0x10\n")
	expect(t, w, "gva2gpa 0x10", "Unmapped\n")
	expect(t, w, "xp/zb 0", "invalid char in format: 'z'\nTry \"help xp\" for more information\n")
	expect(t, w, "xp/0xb 0", "")
	w.memory = []byte("hello\n")
	expect(t, w, "sum 0 6", "36979\n") // what sum(1) says
	expect(t, w, "sum 0 7", "Error: no memory there\n")
}

// TestFormatIsRemembered sees a dump without a format print as the one before.
func TestFormatIsRemembered(t *testing.T) {
	s := New(newWhole()).NewSession()
	if a, b := s.Execute(t.Context(), "xp/2xb 0"), s.Execute(t.Context(), "xp 0"); a != "0000000000000000: 0x00 0x00\n" || b != "0000000000000000: 0x00\n" {
		t.Errorf("%q, then %q", a, b)
	}
}

func TestDeviceHelp(t *testing.T) {
	w := newWhole()
	w.results["device_add"] = "!it is no driver"
	expect(t, w, "device_add help", "Error: it is no driver\n")
	expect(t, w, "device_add a,help", "Error: it is no driver\n")
	w.results["device-list-properties"] = `[{"name":"z","type":"str"},{"name":"a","type":"int","description":"how many","default-value":1}]`
	expect(t, w, "device_add a,help", "a options:\n  a=<int>                - how many (default: 1)\n  z=<str>\n")
	w.results["device-list-properties"] = `[]`
	expect(t, w, "device_add a,?", "There are no options for a.\n")
	if !slices.Equal(w.asked, []string{`device_add {"driver":"help"}`, `device_add {"driver":"a","help":"on"}`,
		`device-list-properties {"typename":"a"}`, `device-list-properties {"typename":"a"}`}) {
		t.Errorf("asked for %q", w.asked)
	}
}

func TestInfoMem(t *testing.T) {
	w := newWhole()
	expect(t, w, "info mem", "PG disabled\n")
	entry := func(table, i int, v uint64) { binary.LittleEndian.PutUint64(w.memory[table<<12+8*i:], v) }
	w.registers = map[string]uint64{"cr0": 1<<31 | 1, "cr3": 1 << 12, "cr4": 1 << 5, "efer": 1 << 10}
	entry(1, 0, 2<<12|7)
	entry(1, 511, 5<<12|3)
	entry(2, 0, 3<<12|7)
	entry(3, 0, 4<<12|7)
	entry(3, 1, 0x83) // 2 MiB, for the kernel
	for i := range 4 {
		entry(4, i, uint64(i)<<12|7)
	}
	entry(4, 4, 4<<12|5)
	entry(5, 511, 0x81) // 1 GiB at the top, to be read
	expect(t, w, "info mem", "0000000000000000-0000000000004000 0000000000004000 urw\n"+
		"0000000000004000-0000000000005000 0000000000001000 ur-\n"+
		"0000000000200000-0000000000400000 0000000000200000 -rw\n"+
		"ffffffffc0000000-0001000000000000 0000000040000000 -r-\n")
	for i := range 512 { // a circle
		entry(1, i, 1<<12|7)
	}
	if text := run(t, w, "info mem"); !strings.HasSuffix(text, "Error: there are too many page tables, or they are linked into a circle\n") || !strings.Contains(text, "Error: there are too many page tables") {
		t.Errorf("a circle: %.200s", text)
	}
	w.registers["cr4"] = 0 // 32 bits
	clear(w.memory)
	binary.LittleEndian.PutUint32(w.memory[1<<12:], 2<<12|7)
	binary.LittleEndian.PutUint32(w.memory[2<<12+4:], 7)
	expect(t, w, "info mem", "0000000000001000-0000000000002000 0000000000001000 urw\n")
}

func TestMigrateInTheForeground(t *testing.T) {
	f := &fake{results: map[string]string{"migrate": "{}", "query-migrate": `{"status":"failed","error-desc":"no route"}`}}
	expect(t, f, "migrate tcp:h:1", "terminal does not allow synchronous migration, continuing detached\n")
	s := New(f).NewSession()
	s.history = func() []string { return []string{"a", "b"} }
	if text := s.Execute(t.Context(), "migrate tcp:h:1"); text != "no route\n" {
		t.Errorf("%q", text)
	}
	if text := s.Execute(t.Context(), "info history"); text != "0: 'a'\n1: 'b'\n" {
		t.Errorf("%q", text)
	}
	f.results["query-migrate"] = `{"status":"active"}`
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if text := s.Execute(ctx, "migrate tcp:h:1"); text != "Error: context canceled\n" {
		t.Errorf("%q", text)
	}
}
