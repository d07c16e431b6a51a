package config

import (
	"encoding/json"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

// wire returns a back end as chardev-add would have it, without what is off.
func wire(b qapi.ChardevBackend) string {
	e := qapi.NewEncoder(false)
	b.EncodeQAPI(e)
	s := strings.TrimSpace(string(e.Bytes()))
	for _, key := range []string{"logappend", "append", "telnet", "tn3270", "websocket", "abstract"} {
		s = strings.ReplaceAll(s, `"`+key+`": false, `, "")
		s = strings.ReplaceAll(s, `, "`+key+`": false`, "")
		s = strings.ReplaceAll(s, `"`+key+`": false`, "")
	}
	return s
}

func TestLegacyForms(t *testing.T) {
	const inet = `{"data": {"host": "localhost", "port": "4444"}, "type": "inet"}`
	for arg, want := range map[string]string{
		"null":                       `{"data": {}, "type": "null"}`,
		"vc:80Cx24C":                 `{"data": {}, "type": "vc"}`,
		"pty":                        `{"data": {}, "type": "pty"}`,
		"stdio":                      `{"data": {"signal": true}, "type": "stdio"}`,
		"file:/x:y":                  `{"data": {"out": "/x:y"}, "type": "file"}`,
		"pipe:/x":                    `{"data": {"device": "/x"}, "type": "pipe"}`,
		"/dev/ttyS0":                 `{"data": {"device": "/dev/ttyS0"}, "type": "serial"}`,
		"tcp:localhost:4444":         `{"data": {"addr": ` + inet + `, "server": false}, "type": "socket"}`,
		"telnet:localhost:4444":      `{"data": {"addr": ` + inet + `, "telnet": true, "server": false}, "type": "socket"}`,
		"tcp:localhost:4444,server":  `{"data": {"wait": true, "addr": ` + inet + `, "server": true}, "type": "socket"}`,
		"tcp::1,server,nowait":       `{"data": {"wait": false, "addr": {"data": {"host": "", "port": "1"}, "type": "inet"}, "server": true}, "type": "socket"}`,
		"unix:/x,server=on,wait=off": `{"data": {"wait": false, "addr": {"data": {"path": "/x", "tight": true}, "type": "unix"}, "server": true}, "type": "socket"}`,
		"tcp:localhost:4444,nodelay": `{"data": {"nodelay": true, "addr": ` + inet + `, "server": false}, "type": "socket"}`,
		"udp:localhost:4444@:5":      `{"data": {"local": {"data": {"host": "", "port": "5"}, "type": "inet"}, "remote": ` + inet + `}, "type": "udp"}`,
	} {
		c, err := ParseChardev(arg)
		if err != nil {
			t.Errorf("%s: %v", arg, err)
		} else if got, want := canonical(t, wire(c.Backend)), canonical(t, want); got != want {
			t.Errorf("%s:\n%s, want\n%s", arg, got, want)
		}
	}
}

func TestChardevOption(t *testing.T) {
	const inet = `{"data": {"host": "h", "port": "1"}, "type": "inet"}`
	for arg, want := range map[string]string{
		"socket,id=a,host=h,port=1,reconnect=5":               `{"data": {"addr": ` + inet + `, "server": false, "reconnect": 5}, "type": "socket"}`,
		"socket,id=a,fd=name,server=on,wait=off":              `{"data": {"wait": false, "addr": {"data": {"str": "name"}, "type": "fd"}, "server": true}, "type": "socket"}`,
		"socket,id=a,path=x,abstract=on,tight=off":            `{"data": {"addr": {"data": {"path": "x", "tight": false, "abstract": true}, "type": "unix"}, "server": false}, "type": "socket"}`,
		"socket,id=a,host=h,port=1,to=9,ipv4=off,ipv6":        `{"data": {"addr": {"data": {"to": 9, "host": "h", "ipv6": true, "port": "1", "ipv4": false}, "type": "inet"}, "server": false}, "type": "socket"}`,
		"socket,id=a,host=h,port=1,delay=off,server,wait=off": `{"data": {"wait": false, "nodelay": true, "addr": ` + inet + `, "server": true}, "type": "socket"}`,
		"ringbuf,id=a,size=1k":                                `{"data": {"size": 1024}, "type": "ringbuf"}`,
		"memory,id=a":                                         `{"data": {}, "type": "memory"}`,
		"mux,id=a,chardev=b":                                  `{"data": {"chardev": "b"}, "type": "mux"}`,
		"tty,id=a,path=/dev/ttyS0":                            `{"data": {"device": "/dev/ttyS0"}, "type": "serial"}`,
		"file,id=a,path=p,,q,append=on,logfile=l":             `{"data": {"append": true, "out": "p,q", "logfile": "l"}, "type": "file"}`,
		"udp,id=a,host=h,port=1,localport=2":                  `{"data": {"local": {"data": {"host": "", "port": "2"}, "type": "inet"}, "remote": ` + inet + `}, "type": "udp"}`,
	} {
		got := wire(parse(t, "-chardev "+arg).Chardevs[0].Backend)
		if got, want := canonical(t, got), canonical(t, want); got != want {
			t.Errorf("%s:\n%s, want\n%s", arg, got, want)
		}
	}
}

// canonical orders the members of a JSON value.
func canonical(t *testing.T, s string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestChardevRefusals(t *testing.T) {
	for arg, want := range map[string]string{
		"socket,id=a":                                    "no port given",
		"socket,id=a,host=h":                             "no port given",
		"socket,id=a,path=x,host=h,port=1":               "only one of",
		"socket,id=a,host=h,port=1,delay=off,nodelay=on": "mutually exclusive",
		"socket,id=a,path=x,signal=off":                  "Invalid parameter 'signal'",
		"file,id=a":                                      "no filename given",
		"pipe,id=a":                                      "no filename given",
		"mux,id=a":                                       "no chardev given",
		"udp,id=a":                                       "remote port not specified",
		"stdio,id=a -daemonize":                          "cannot use stdio with -daemonize",
		"null,id=a -nographic -daemonize":                "cannot use stdio with -daemonize",
		"null":                                           "id",
		"spicevmc,id=a":                                  "not a valid char driver name",
		"null,id=a -chardev null,id=a":                   "already exists",
		"null,id=a -mon a,mode=telepathy":                "Parameter 'mode' does not accept value 'telepathy'",
		"null,id=a -mon a,pretty=on":                     "not compatible",
		"null,id=a -mon mode=control":                    "Parameter 'chardev' is missing",
		"null,id=a -serial tcp:nowhere":                  "HOST:PORT",
		"null,id=a -serial stdio:x":                      "not a valid char driver",
		"socket,id=a,host=h,port=1,to=70000":             "to",
		"null,id=a -qmp udp:h:1@nowhere -qmp chardev:missing": "HOST:PORT",
	} {
		if _, err := Parse(strings.Fields("-chardev "+arg), testEnv()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arg, err, want)
		}
	}
}

// TestMonitors has the two command lines of the README of QMP's first days, and
// -nographic's console.
func TestMonitors(t *testing.T) {
	for line, want := range map[string][]Monitor{
		"-chardev stdio,id=mon0 -mon chardev=mon0,mode=readline -chardev socket,id=mon1,host=localhost,port=4444,server,nowait " +
			"-mon chardev=mon1,mode=control,pretty=on": {{"mon0", Readline, false, false}, {"mon1", Control, true, false}},
		"-monitor stdio -qmp tcp:localhost:4444,server,nowait":       {{"compat_monitor0", Readline, false, false}, {"compat_monitor1", Control, false, false}},
		"-monitor none -qmp-pretty null":                             {{"compat_monitor0", Control, true, false}},
		"-nographic":                                                 {{"serial0", Readline, false, true}},
		"-nographic -qmp null":                                       {{"compat_monitor0", Control, false, false}},
		"-nographic -serial null":                                    nil,
		"-chardev null,id=x,mux=on -qmp chardev:x -serial chardev:x": {{"x", Control, false, false}},
	} {
		got := parse(t, line).Monitors
		if len(got) != len(want) {
			t.Errorf("%s: %+v", line, got)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %+v", line, got)
			}
		}
	}
	c := parse(t, "-nographic")
	if len(c.Serials) != 1 || !c.Chardevs[0].Mux {
		t.Errorf("%+v", c)
	}
}

func FuzzChardev(f *testing.F) {
	f.Add("socket,id=a,host=h,port=1,to=9,ipv6,telnet=on")
	f.Add("ringbuf,id=a,size=1k")
	f.Add("telnet:localhost:1,server,nowait")
	f.Add("udp:h:1@:2,ipv4")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range chardevsOf(s) {
			e := qapi.NewEncoder(false)
			c.Backend.EncodeQAPI(e)
			if len(e.Bytes()) == 0 {
				t.Error("nothing to send")
			}
		}
	})
}

// chardevsOf returns what either form makes of s.
func chardevsOf(s string) (all []Chardev) {
	if c, err := ParseChardev(s); err == nil {
		all = append(all, c)
	}
	if p, err := Parse([]string{"-chardev", s}, testEnv()); err == nil {
		all = append(all, p.Chardevs...)
	}
	return all
}
