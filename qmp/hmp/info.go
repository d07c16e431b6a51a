package hmp

import (
	"fmt"
	"slices"
	"strings"
)

// show returns an entry of the table of info.
func show(qmp, name, args, params, help string, run func(*call) error) *command {
	return &command{name: name, args: args, params: params, help: help, needs: []string{qmp}, run: run}
}

// infoCommands are the sub-commands of info.
func infoCommands() []*command {
	list := []*command{
		show("query-version", "version", "", "", "show the version", (*call).infoVersion),
		show("query-status", "status", "", "", "show whether the machine runs", (*call).infoStatus),
		show("query-name", "name", "", "", "show the machine's name", (*call).infoName),
		show("query-uuid", "uuid", "", "", "show the machine's UUID", (*call).infoUUID),
		show("query-kvm", "kvm", "", "", "show whether KVM is used", (*call).infoKVM),
		show("query-cpus-fast", "cpus", "", "", "list the CPUs", (*call).infoCPUs),
		show("query-chardev", "chardev", "", "", "list the character devices", (*call).infoChardev),
		show("query-balloon", "balloon", "", "", "show the memory that the balloon leaves the guest", (*call).infoBalloon),
		show("query-iothreads", "iothreads", "", "", "list the I/O threads", (*call).infoIOThreads),
		show("query-mice", "mice", "", "", "list the pointing devices", (*call).infoMice),
		show("query-dump", "dump", "", "", "show how far a dump of the guest is", (*call).infoDump),
		show("query-vm-generation-id", "vm-generation-id", "", "", "show the generation id", (*call).infoGeneration),
		show("query-hotpluggable-cpus", "hotpluggable-cpus", "", "", "list the places of CPUs", (*call).infoHotpluggable),
		show("trace-event-get-state", "trace-events", "name:string? vcpu:int?", "[name] [vcpu]", "list trace events and whether they are on", (*call).infoTrace),
		{
			name: "registers", args: "-a:all cpu:int?", params: "[-a|vcpu]", help: "show the CPU's registers, a certain one's, or all (-a)",
			needs: []string{needsMachine}, run: (*call).infoRegisters,
		},
		{name: "history", help: "show the lines entered so far", run: (*call).infoHistory},
	}
	return slices.Concat(list, textCommands(), infoDeviceCommands(), infoMemoryCommands(), infoBlockCommands(), infoMigrateCommands(), infoVirtioCommands(), infoStatsCommands())
}

// textCommands print what the machine tells as text.
func textCommands() []*command {
	var out []*command
	for _, t := range [][2]string{
		{"irq", "show the counts of interrupts"},
		{"jit", "show the translator's state"},
		{"numa", "show the NUMA nodes"},
		{"opcount", "show the translator's counts of operations"},
		{"profile", "show the profile"},
		{"ramblock", "show the blocks of memory"},
		{"rdma", "show the state of RDMA"},
		{"roms", "show the ROMs"},
		{"usb", "show the USB devices"},
	} {
		out = append(out, show("x-query-"+t[0], t[0], "", "", t[1], printText("x-query-"+t[0])))
	}
	for _, t := range [][2]string{
		{"network", "show the network devices and what they are connected to"},
		{"qtree", "show the device tree"},
		{"qdm", "list the device models"},
		{"mtree", "show the address spaces"},
		{"lapic", "show the local interrupt controller"},
		{"pic", "show the interrupt controllers"},
	} {
		out = append(out, &command{name: t[0], help: t[1], needs: []string{needsInfo + t[0]}, run: func(c *call) error {
			text, err := c.m.informer.Info(t[0])(c.ctx)
			c.printf("%s", text)
			return err
		}})
	}
	return out
}

// printText returns a handler for a command that returns text for people.
func printText(command string) func(*call) error {
	return func(c *call) error {
		var text struct {
			Text string `json:"human-readable-text"`
		}
		err := c.query(command, nil, &text)
		c.printf("%s", text.Text)
		return err
	}
}

func (c *call) infoVersion() error {
	var v struct {
		Qemu    struct{ Major, Minor, Micro int64 }
		Package string
	}
	if err := c.query("query-version", nil, &v); err != nil {
		return err
	}
	c.printf("%d.%d.%d%s\n", v.Qemu.Major, v.Qemu.Minor, v.Qemu.Micro, v.Package)
	return nil
}

func (c *call) infoStatus() error {
	var s struct {
		Running, Singlestep bool
		Status              string
	}
	if err := c.query("query-status", nil, &s); err != nil {
		return err
	}
	text := choose(s.Running, "running", "paused") + choose(s.Singlestep, " (single step mode)", "")
	if !s.Running && s.Status != "paused" {
		text += " (" + s.Status + ")"
	}
	c.printf("VM status: %s\n", text)
	return nil
}

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func (c *call) infoName() error {
	var n struct{ Name *string }
	err := c.query("query-name", nil, &n)
	if n.Name != nil {
		c.printf("%s\n", *n.Name)
	}
	return err
}

func (c *call) infoUUID() error {
	var u struct{ UUID string }
	if err := c.query("query-uuid", nil, &u); err != nil {
		return err
	}
	c.printf("%s\n", u.UUID)
	return nil
}

func (c *call) infoKVM() error {
	var k struct{ Enabled, Present bool }
	if err := c.query("query-kvm", nil, &k); err != nil {
		return err
	}
	text := "not compiled"
	if k.Present {
		text = choose(k.Enabled, "enabled", "disabled")
	}
	c.printf("kvm support: %s\n", text)
	return nil
}

func (c *call) infoCPUs() error {
	var list []cpuInfo
	if err := c.query("query-cpus-fast", nil, &list); err != nil {
		return err
	}
	for _, i := range list {
		c.printf("%s CPU #%d: thread_id=%d\n", choose(int(i.Index) == c.cpu, "*", " "), i.Index, i.Thread)
	}
	return nil
}

func (c *call) infoRegisters() error {
	which := []int{c.cpu}
	switch cpus := c.cpus(); {
	case c.args.flag("all"):
		which = nil
		for _, i := range cpus {
			which = append(which, int(i.Index))
		}
	case c.args.has("cpu"):
		which[0] = int(c.args.num("cpu"))
		if !slices.ContainsFunc(cpus, func(i cpuInfo) bool { return int(i.Index) == which[0] }) {
			c.printf("CPU#%d not available\n", which[0])
			return nil
		}
	case len(cpus) == 0:
		c.printf("No CPU available\n")
		return nil
	}
	for _, cpu := range which {
		text, err := c.m.machine.Registers(c.ctx, cpu)
		if err != nil {
			return err
		}
		c.printf("\nCPU#%d\n%s", cpu, text)
	}
	return nil
}

func (c *call) infoHistory() error {
	if c.history == nil {
		return nil
	}
	for i, line := range c.history() {
		c.printf("%d: '%s'\n", i, line)
	}
	return nil
}

func (c *call) infoChardev() error {
	var list []struct{ Label, Filename string }
	err := c.query("query-chardev", nil, &list)
	for _, i := range list {
		c.printf("%s: filename=%s\n", i.Label, i.Filename)
	}
	return err
}

func (c *call) infoBalloon() error {
	var b struct{ Actual int64 }
	if err := c.query("query-balloon", nil, &b); err != nil {
		return err
	}
	c.printf("balloon: actual=%d\n", b.Actual>>20)
	return nil
}

func (c *call) infoIOThreads() error {
	var list []struct {
		ID     string
		Thread int64 `json:"thread-id"`
		Max    int64 `json:"poll-max-ns"`
		Grow   int64 `json:"poll-grow"`
		Shrink int64 `json:"poll-shrink"`
		Batch  int64 `json:"aio-max-batch"`
	}
	err := c.query("query-iothreads", nil, &list)
	for _, i := range list {
		c.printf("%s:\n  thread_id=%d\n  poll-max-ns=%d\n  poll-grow=%d\n  poll-shrink=%d\n  aio-max-batch=%d\n",
			i.ID, i.Thread, i.Max, i.Grow, i.Shrink, i.Batch)
	}
	return err
}

func (c *call) infoMice() error {
	var list []struct {
		Name              string
		Index             int64
		Current, Absolute bool
	}
	if err := c.query("query-mice", nil, &list); err != nil {
		return err
	}
	if len(list) == 0 {
		c.printf("No mouse devices connected\n")
	}
	for _, i := range list {
		c.printf("%s Mouse #%d: %s%s\n", choose(i.Current, "*", " "), i.Index, i.Name, choose(i.Absolute, " (absolute)", ""))
	}
	return nil
}

func (c *call) infoDump() error {
	var d struct {
		Status           string
		Completed, Total uint64
	}
	if err := c.query("query-dump", nil, &d); err != nil {
		return err
	}
	c.printf("Status: %s\n", d.Status)
	if d.Status == "active" {
		c.printf("Finished: %.2f %%\n", 100*float64(d.Completed)/float64(max(d.Total, 1)))
	}
	return nil
}

func (c *call) infoGeneration() error {
	var g struct{ GUID string }
	if err := c.query("query-vm-generation-id", nil, &g); err != nil {
		return err
	}
	c.printf("%s\n", g.GUID)
	return nil
}

func (c *call) infoHotpluggable() error {
	var list []struct {
		Type  string
		VCPUs uint64  `json:"vcpus-count"`
		Path  *string `json:"qom-path"`
		Props map[string]uint64
	}
	if err := c.query("query-hotpluggable-cpus", nil, &list); err != nil {
		return err
	}
	c.printf("Hotpluggable CPUs:\n")
	for _, i := range list {
		c.printf("  type: \"%s\"\n  vcpus_count: \"%d\"\n", i.Type, i.VCPUs)
		if i.Path != nil {
			c.printf("  qom_path: \"%s\"\n", *i.Path)
		}
		c.printf("  CPUInstance Properties:\n")
		for _, p := range []string{"node-id", "socket-id", "die-id", "cluster-id", "core-id", "thread-id"} {
			if v, ok := i.Props[p]; ok {
				c.printf("    %s: \"%d\"\n", p, v)
			}
		}
	}
	return nil
}

func (c *call) infoTrace() error {
	args := obj{"name": "*"}
	for k, v := range c.args {
		args[k] = v
	}
	var list []struct{ Name, State string }
	err := c.query("trace-event-get-state", args, &list)
	for _, e := range list {
		c.printf("%s : state %s\n", e.Name, choose(e.State == "enabled", "1", "0"))
	}
	return err
}

// indented prints lines with blanks before each.
func indented(n int, format string, args ...any) string {
	return strings.Repeat(" ", n) + fmt.Sprintf(format, args...)
}
