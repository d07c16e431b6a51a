package hmp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hv/qmp/introspect"
)

// deviceCommands change devices and what is behind them.
func deviceCommands() []*command {
	list := []*command{
		{
			name: "device_add", args: "device:options", params: "driver[,prop=value][,...]", help: "plug a device in",
			needs: []string{"device_add"}, run: (*call).addDevice, complete: completeDriver,
		},
		{name: "device_del", args: "id:string", params: "device", help: "unplug a device", needs: []string{"device_del"}, run: pass("device_del", nil), complete: completeDevice},
		{
			name: "netdev_add", args: "netdev:options", params: "type,id=str[,prop=value][,...]", help: "make a network back end",
			needs: []string{"netdev_add"}, run: (*call).addNetdev, complete: completeNetdevTypes,
		},
		on("netdev_del", "netdev_del", "id:string", "id", "remove a network back end"),
		{
			name: "object_add", args: "object:rest", params: "[qom-type=]type,id=str[,prop=value][,...]", help: "make an object",
			needs: []string{"object-add"}, run: (*call).addObject, complete: completeTypes("user-creatable"),
		},
		{name: "object_del", args: "id:string", params: "id", help: "remove an object", needs: []string{"object-del"}, run: pass("object-del", nil), complete: completeObject},
		{
			name: "set_link", args: "name:string up:on", params: "name on|off", help: "connect or disconnect a network device",
			needs: []string{"set_link"}, run: pass("set_link", nil), complete: completeLink,
		},
		on("balloon", "balloon", "value:mega", "target", "set how many MiB the balloon leaves the guest"),
		{name: "qom-list", args: "path:string?", params: "path", help: "list an object's properties", needs: []string{"qom-list"}, run: (*call).listQOM, complete: completePath},
		{
			name: "qom-get", args: "path:string property:string", params: "path property", help: "print a property of an object",
			needs: []string{"qom-get"}, run: (*call).getQOM, complete: completePath,
		},
		{
			name: "qom-set", args: "-j:json path:string property:string value:rest", params: "[-j] path property value", help: "change a property of an object; -j if the value is JSON",
			needs: []string{"qom-set"}, run: (*call).setQOM, complete: completePath,
		},
	}
	return append(list, chardevCommands()...)
}

func (c *call) addDevice() error {
	options := parseOptionList(c.args.str(optionText), "driver")
	if done, err := c.deviceHelp(options); done || err != nil {
		return err
	}
	args, err := tree(options)
	if err != nil {
		return err
	}
	return c.query("device_add", args, nil)
}

// schema returns what the commands take, nil if that cannot be known.
func (c *call) schema() *introspect.Schema {
	if !c.m.caller.Has("query-qmp-schema") {
		return nil
	}
	b, err := c.m.caller.Call(c.ctx, "query-qmp-schema", nil)
	if err != nil {
		return nil
	}
	s, _ := introspect.Parse(b) // without one, all stays text
	return s
}

// typed gives a command's arguments, which are text, their types.
func (c *call) typed(command string, args obj) (obj, error) {
	s := c.schema()
	if s == nil {
		return args, nil
	}
	return s.Arguments(command, args)
}

func (c *call) addNetdev() error {
	var one []option
	lists := map[string][]obj{} // options that may be given several times
	for _, o := range parseOptionList(c.args.str(optionText), "type") {
		if o.key == "hostfwd" || o.key == "dnssearch" {
			lists[o.key] = append(lists[o.key], obj{"str": o.value})
		} else {
			one = append(one, o)
		}
	}
	args, err := tree(one)
	if err == nil {
		args, err = c.typed("netdev_add", args)
	}
	if err != nil {
		return err
	}
	for key, list := range lists {
		args[key] = list
	}
	return c.query("netdev_add", args, nil)
}

func (c *call) addObject() error {
	text := strings.TrimRight(c.args.str("object"), spaces)
	if strings.HasPrefix(text, "{") {
		args, err := parseJSON(text)
		if err != nil {
			return err
		}
		_, err = c.m.caller.Call(c.ctx, "object-add", args)
		return err
	}
	args, err := tree(parseOptionList(text, "qom-type"))
	if err == nil {
		args, err = c.typed("object-add", args)
	}
	if err != nil {
		return err
	}
	return c.query("object-add", args, nil)
}

func (c *call) listQOM() error {
	if !c.args.has("path") {
		c.printf("/\n")
		return nil
	}
	var list []qomProperty
	err := c.query("qom-list", obj(c.args), &list)
	for _, p := range list {
		c.printf("%s (%s)\n", p.Name, p.Type)
	}
	return err
}

func (c *call) getQOM() error {
	var v json.RawMessage
	if err := c.query("qom-get", obj(c.args), &v); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, v, "", "    "); err != nil {
		return err
	}
	c.printf("%s\n", &b)
	return nil
}

// setQOM gives a value that is not JSON the type of the property.
func (c *call) setQOM() error {
	path, property, text := c.args.str("path"), c.args.str("property"), c.args.str("value")
	value := any(text)
	var err error
	if c.args.flag("json") {
		value, err = parseJSON(text)
	} else if c.m.caller.Has("qom-list") {
		var list []qomProperty
		if err := c.query("qom-list", obj{"path": path}, &list); err != nil {
			return err
		}
		for _, p := range list {
			if p.Name == property {
				value, err = introspect.Text(jsonType(p.Type), property, text)
			}
		}
	}
	if err != nil {
		return err
	}
	return c.query("qom-set", obj{"path": path, "property": property, "value": value}, nil)
}

// jsonType returns the type of JSON's for a property's.
func jsonType(qom string) string {
	switch {
	case qom == "bool":
		return "boolean"
	case strings.HasPrefix(qom, "int"), strings.HasPrefix(qom, "uint"), qom == "size":
		return "int"
	}
	return "string"
}

// chardevCommands change character devices.
func chardevCommands() []*command {
	list := []*command{
		{
			name: "chardev-add", args: "args:string", params: "args", help: "make a character device",
			needs: []string{"chardev-add"}, run: (*call).addChardev, complete: completeChardevTypes,
		},
		{
			name: "chardev-change", args: "id:string args:string", params: "id args", help: "put another back end behind a character device",
			needs: []string{"chardev-change"}, run: (*call).changeChardev, complete: completeChardev,
		},
		on("ringbuf_write", "ringbuf_write", "device:string data:string", "device data", "write to a ring buffer"),
		{
			name: "ringbuf_read", args: "device:string size:int", params: "device size", help: "read from a ring buffer",
			needs: []string{"ringbuf-read"}, run: (*call).readRing, complete: completeChardev,
		},
	}
	list[2].needs, list[2].run, list[2].complete = []string{"ringbuf-write"}, pass("ringbuf-write", nil), completeChardev
	for _, c := range [][2]string{{"remove", "remove a character device"}, {"send-break", "send a break"}} {
		name := "chardev-" + c[0]
		list = append(list, &command{name: name, args: "id:string", params: "id", help: c[1], needs: []string{name}, run: pass(name, nil), complete: completeChardev})
	}
	return list
}

func (c *call) addChardev() error {
	options := parseOptionList(c.args.str("args"), "backend")
	id := ""
	for _, o := range options {
		if o.key == "id" {
			id = o.value
		}
	}
	if id == "" {
		return errors.New("chardev: no id specified")
	}
	backend, err := chardevBackend(options)
	if err != nil {
		return err
	}
	var r struct{ Pty *string }
	if err := c.query("chardev-add", obj{"id": id, "backend": backend}, &r); err != nil {
		return err
	}
	if r.Pty != nil {
		c.printf("char device redirected to %s (label %s)\n", *r.Pty, id)
	}
	return nil
}

func (c *call) changeChardev() error {
	options := parseOptionList(c.args.str("args"), "backend")
	for _, o := range options {
		if o.key == "id" {
			return errors.New("Unexpected 'id' parameter") //nolint:staticcheck // QEMU's words
		}
	}
	backend, err := chardevBackend(options)
	if err != nil {
		return err
	}
	return c.query("chardev-change", obj{"id": c.args.str("id"), "backend": backend}, nil)
}

func (c *call) readRing() error {
	var data string
	if err := c.query("ringbuf-read", obj(c.args), &data); err != nil {
		return err
	}
	for i := range len(data) {
		switch b := data[i]; {
		case b == '\\':
			c.printf(`\\`)
		case b < 0x20 && b != '\n' && b != '\t', b == 0x7f:
			c.printf(`\u%04X`, b)
		default:
			c.out.WriteByte(b)
		}
	}
	c.printf("\n")
	return nil
}

// backendMembers names the options of each kind of character device that are
// members of its back end, by their names there, and their types.
var backendMembers = map[string]map[string]string{
	"null": {}, "pty": {"path": "path"}, "vc": {}, "stdio": {"signal": "signal?"},
	"ringbuf": {"size": "size#"}, "memory": {"size": "size#"},
	"file":   {"path": "out", "input-path": "in", "append": "append?"},
	"serial": {"path": "device"}, "tty": {"path": "device"}, "pipe": {"path": "device"}, "parallel": {"path": "device"},
	"mux": {"chardev": "chardev"},
	"socket": {
		"server": "server?", "wait": "wait?", "telnet": "telnet?", "tn3270": "tn3270?", "websocket": "websocket?", "delay": "!nodelay?",
		"reconnect": "reconnect#", "tls-creds": "tls-creds", "tls-authz": "tls-authz",
	},
	"udp": {},
}

// addressMembers are those of an internet address, which go into a member of its
// own.
var addressMembers = map[string]string{"host": "host", "port": "port", "to": "to#", "ipv4": "ipv4?", "ipv6": "ipv6?"}

// chardevBackend makes the member "backend" of chardev-add out of options.
func chardevBackend(options []option) (obj, error) {
	given := map[string]string{}
	for _, o := range options {
		given[o.key] = o.value
	}
	kind := given["backend"]
	known, ok := backendMembers[kind]
	if !ok {
		return nil, fmt.Errorf("'%s' is not a valid char driver name", kind)
	}
	delete(given, "backend")
	delete(given, "id")
	data := obj{}
	var err error
	switch kind {
	case "socket":
		data["server"] = false
		data["addr"], err = streamAddress(given)
	case "udp":
		data["remote"], err = pick(given, map[string]string{"host": "host", "port": "port", "ipv4": "ipv4?", "ipv6": "ipv6?"}, obj{"type": "inet", "host": "localhost"})
		if given["localport"] != "" || given["localaddr"] != "" {
			data["local"] = legacy(obj{"type": "inet", "host": given["localaddr"], "port": given["localport"]})
		}
		data["remote"] = legacy(data["remote"].(obj))
		delete(given, "localport")
		delete(given, "localaddr")
	}
	if err == nil {
		data, err = pick(given, known, data)
	}
	if err == nil {
		data, err = pick(given, map[string]string{"logfile": "logfile", "logappend": "logappend?"}, data)
	}
	if err != nil {
		return nil, err
	}
	for k := range given {
		return nil, fmt.Errorf("Invalid parameter '%s'", k) //nolint:staticcheck // QEMU's words
	}
	return obj{"type": map[string]string{"tty": "serial", "memory": "ringbuf"}[kind] + choose(kind == "tty" || kind == "memory", "", kind), "data": data}, nil
}

// legacy nests an address as old QMP commands have it.
func legacy(address obj) obj {
	kind := address["type"]
	delete(address, "type")
	return obj{"type": kind, "data": address}
}

// streamAddress takes a socket's address out of what was given.
func streamAddress(given map[string]string) (obj, error) {
	var address obj
	var err error
	switch {
	case given["path"] != "":
		address, err = pick(given, map[string]string{"path": "path", "abstract": "abstract?", "tight": "tight?"}, obj{"type": "unix"})
	case given["fd"] != "":
		address, err = pick(given, map[string]string{"fd": "str"}, obj{"type": "fd"})
	case given["port"] != "":
		address, err = pick(given, addressMembers, obj{"type": "inet", "host": ""})
	default:
		err = errors.New("chardev: socket: no host given")
	}
	if err != nil {
		return nil, err
	}
	return legacy(address), nil
}

// pick moves options into an object: NAME for text, NAME? for a switch, NAME# for a
// number; ! turns a switch around.
func pick(given map[string]string, members map[string]string, into obj) (obj, error) {
	for key, m := range members {
		text, ok := given[key]
		if !ok {
			continue
		}
		delete(given, key)
		m, not := strings.CutPrefix(m, "!")
		kind := "string"
		if name, ok := strings.CutSuffix(m, "?"); ok {
			m, kind = name, "boolean"
		} else if name, ok := strings.CutSuffix(m, "#"); ok {
			m, kind = name, "int"
		}
		v, err := introspect.Text(kind, key, text)
		if err != nil {
			return nil, err
		}
		if b, ok := v.(bool); ok {
			v = b != not
		}
		into[m] = v
	}
	return into, nil
}
