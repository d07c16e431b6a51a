package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// harmless lists machine properties that managers set, with the values that
// describe what hv is anyway.
var harmless = map[string][]string{
	"usb": {"off"}, "dump-guest-core": {"on", "off"}, "vmport": {"off", "auto"}, "smm": {"off", "auto"}, "hpet": {"off"},
	"graphics": {"on", "off"}, "acpi": {"on", "auto"}, "kernel-irqchip": {"on"}, "mem-merge": {"on", "off"}, "i8042": {"on"},
	"sata": {"off"}, "smbus": {"off"}, "pit": {"on"}, "nvdimm": {"off"}, "pcie": {"on"}, "rtc": {"on", "auto"},
	"isa-serial": {"on"}, "vmgenid": {"off"}, "suppress-vmdesc": {"on", "off"},
}

func (p *parser) machine(arg string) error {
	ps, err := parsePairs(arg, "type")
	if err != nil {
		return err
	}
	if t, ok := ps.take("type"); ok {
		if wantsHelp(t) {
			return p.help("machine", "")
		}
		if err := p.env.Machine(t); err != nil {
			return err
		}
		p.cfg.Machine.Type = t
	}
	for _, kv := range ps {
		if err := p.machineProp(kv); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) machineProp(kv pair) error {
	if key, ok := strings.CutPrefix(kv.key, "smp."); ok {
		p.smpArgs = append(p.smpArgs, pair{key, kv.value})
		return nil
	}
	switch kv.key {
	case "accel":
		return p.accelName(kv.value)
	case "memory-backend":
		p.cfg.Machine.MemoryBackend = kv.value
		return nil
	}
	values, ok := harmless[kv.key]
	if !ok {
		known := []string{"accel", "memory-backend"}
		for k := range harmless {
			known = append(known, k)
		}
		slices.Sort(known)
		return fmt.Errorf("Property '%s' not found%s", kv.key, qdev.Near(kv.key, known))
	}
	if !slices.Contains(values, kv.value) {
		return fmt.Errorf("property '%s' is only available as %s", kv.key, strings.Join(values, " or "))
	}
	return nil
}

func (p *parser) accel(arg string) error {
	ps, err := parsePairs(arg, "accel")
	if err != nil {
		return err
	}
	name, _ := ps.take("accel")
	if wantsHelp(name) {
		return p.help("accel", "")
	}
	if len(ps) > 0 {
		return fmt.Errorf("Property '%s' not found", ps[0].key)
	}
	return p.accelName(name)
}

// Accels lists the accelerators that there are.
func Accels() []string { return []string{AccelQTest, AccelKVM} }

// accelName notes what a list of accelerators to choose from has to offer. What it names
// beside that is passed over, if there is a choice in the end.
func (p *parser) accelName(list string) error {
	for name := range strings.SplitSeq(list, ":") {
		if !slices.Contains(Accels(), name) {
			p.noAccel = name
		} else if a := &p.cfg.Machine.Accels; !slices.Contains(*a, name) {
			*a = append(*a, name)
		}
	}
	return nil
}

// finishAccel chooses KVM where nothing was said.
func (p *parser) finishAccel() error {
	m := &p.cfg.Machine
	switch {
	case len(m.Accels) > 0:
	case p.noAccel != "":
		return fmt.Errorf("-accel %s: invalid accelerator '%s': there are only %s", p.noAccel, p.noAccel, strings.Join(Accels(), " and "))
	default:
		m.Accels = []string{AccelKVM}
	}
	if p.cfg.RTC.VM && !slices.Contains(m.Accels, AccelQTest) {
		return errors.New("-rtc clock=vm: it is only available with -accel qtest")
	}
	return nil
}

func (p *parser) cpu(arg string) error {
	if wantsHelp(arg) {
		return p.help("cpu", "")
	}
	p.cfg.CPU = arg
	return p.env.CPU(arg)
}

func (p *parser) smp(arg string) error {
	ps, err := parsePairs(arg, "cpus")
	p.smpArgs = append(p.smpArgs, ps...)
	return err
}

func (p *parser) memory(arg string) error {
	ps, err := parsePairs(arg, "size")
	p.memArgs = append(p.memArgs, ps...)
	return err
}

// finishMachine computes what -smp and -m leave out.
func (p *parser) finishMachine() error {
	if err := p.finishAccel(); err != nil {
		return err
	}
	if err := p.finishSMP(); err != nil {
		return p.wrap("smp", p.smpArgs.String(), err)
	}
	if err := p.finishMemory(); err != nil {
		return p.wrap("m", p.memArgs.String(), err)
	}
	return nil
}

func (p *parser) finishSMP() error {
	var o smpKeys
	if err := decode(p.smpArgs, &o); err != nil {
		return err
	}
	for _, kv := range p.smpArgs {
		if kv.value == "0" {
			return fmt.Errorf("parameter '%s' must be greater than zero", kv.key)
		}
	}
	s := SMP{int(o.CPUs), int(o.MaxCPUs), int(o.Sockets), max(int(o.Dies), 1), int(o.Cores), int(o.Threads)}
	s.complete()
	if s.Sockets*s.Dies*s.Cores*s.Threads != s.MaxCPUs {
		return fmt.Errorf("sockets (%d) * dies (%d) * cores (%d) * threads (%d) must be maxcpus (%d)", s.Sockets, s.Dies, s.Cores, s.Threads, s.MaxCPUs)
	}
	if s.CPUs > s.MaxCPUs {
		return fmt.Errorf("maxcpus (%d) must not be less than cpus (%d)", s.MaxCPUs, s.CPUs)
	}
	p.cfg.SMP = s
	return nil
}

// complete fills in what was left out, preferring sockets over cores over
// threads, as QEMU's machines do from version 6.2 on: cores first.
func (s *SMP) complete() {
	total := s.MaxCPUs
	if total == 0 {
		total = s.CPUs
	}
	if total > 0 {
		if s.Cores == 0 {
			s.Sockets, s.Threads = max(s.Sockets, 1), max(s.Threads, 1)
			s.Cores = total / (s.Sockets * s.Dies * s.Threads)
		} else if s.Sockets == 0 {
			s.Threads = max(s.Threads, 1)
			s.Sockets = total / (s.Dies * s.Cores * s.Threads)
		}
		if s.Threads == 0 {
			s.Threads = total / (s.Sockets * s.Dies * max(s.Cores, 1))
		}
	}
	s.Sockets, s.Cores, s.Threads = max(s.Sockets, 1), max(s.Cores, 1), max(s.Threads, 1)
	if total == 0 {
		total = s.Sockets * s.Dies * s.Cores * s.Threads
	}
	if s.MaxCPUs == 0 {
		s.MaxCPUs = total
	}
	if s.CPUs == 0 {
		s.CPUs = s.MaxCPUs
	}
}

func (p *parser) finishMemory() error {
	for i, kv := range p.memArgs {
		if kv.key == "size" && kv.value != "" && kv.value[len(kv.value)-1] >= '0' && kv.value[len(kv.value)-1] <= '9' {
			p.memArgs[i].value += "M"
		}
	}
	var o memoryKeys
	if err := decode(p.memArgs, &o); err != nil {
		return err
	}
	if o.Size == 0 {
		o.Size = defaultMemory
	}
	const page = 4096
	m := Memory{Size: (uint64(o.Size) + page - 1) &^ (page - 1), MaxSize: uint64(o.Max), Slots: int(o.Slots)}
	switch {
	case m.Size > maxMemory || m.MaxSize > maxMemory:
		return errors.New("more than 64 TiB of memory")
	case m.MaxSize != 0 && m.MaxSize < m.Size:
		return fmt.Errorf("maxmem (%#x) is less than the initial memory (%#x)", m.MaxSize, m.Size)
	case m.Slots > maxSlots:
		return fmt.Errorf("unsupported amount of memory slots: %d", m.Slots)
	case m.MaxSize%page != 0:
		return fmt.Errorf("maximum memory size must by aligned to multiple of %d bytes", page)
	case m.Slots > 0 && m.MaxSize == 0:
		return errors.New("slots without maxmem")
	}
	p.cfg.Memory = m
	return nil
}

func (p *parser) vmName(arg string) error {
	var o nameKeys
	ps, err := parsePairs(arg, "guest")
	if err != nil {
		return err
	}
	if err := decode(ps, &o); err != nil {
		return err
	}
	p.cfg.Name, p.cfg.Process, p.cfg.DebugThreads = o.Guest, o.Process, o.Threads
	return nil
}

func (p *parser) uuid(arg string) error {
	ok := len(arg) == 36
	for i := range len(arg) {
		c := arg[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			ok = ok && c == '-'
		} else {
			ok = ok && strings.IndexByte("0123456789abcdefABCDEF", c) >= 0
		}
	}
	if !ok {
		return errors.New("a UUID such as 550e8400-e29b-41d4-a716-446655440000 is expected")
	}
	p.cfg.UUID = strings.ToLower(arg)
	return nil
}

func (p *parser) smbios(arg string) error {
	ps, err := parsePairs(arg, "")
	if err != nil {
		return err
	}
	fields := map[string]string{}
	for _, kv := range ps {
		fields[kv.key] = kv.value
	}
	p.cfg.SMBIOS = append(p.cfg.SMBIOS, fields)
	return p.env.SMBIOS(fields)
}

func (p *parser) boot(arg string) error {
	var o bootKeys
	ps, err := parsePairs(arg, "order")
	if err != nil {
		return err
	}
	return decode(ps, &o)
}

func (p *parser) rtc(arg string) error {
	var o rtcKeys
	ps, err := parsePairs(arg, "")
	if err != nil {
		return err
	}
	if err := decode(ps, &o); err != nil {
		return err
	}
	if o.Clock != "host" && o.Clock != "vm" {
		return fmt.Errorf("clock '%s' is not available: there are host and vm", o.Clock)
	}
	p.cfg.RTC.VM = o.Clock == "vm"
	if o.DriftFix != "none" && o.DriftFix != "slew" {
		return fmt.Errorf("driftfix expects none or slew, not '%s'", o.DriftFix)
	}
	switch o.Base {
	case "utc":
	case "localtime":
		p.cfg.RTC.Local = true
	default:
		for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02"} {
			if t, err := time.Parse(layout, o.Base); err == nil {
				p.cfg.RTC.Start = t
				return nil
			}
		}
		return fmt.Errorf("base expects utc, localtime or a date such as 2006-06-17T16:01:21, not '%s'", o.Base)
	}
	return nil
}

func (p *parser) overcommit(arg string) error {
	var o overcommitKeys
	ps, err := parsePairs(arg, "")
	if err != nil {
		return err
	}
	if err := decode(ps, &o); err != nil {
		return err
	}
	if o.CPUPM {
		return errors.New("cpu-pm=on is not available")
	}
	p.cfg.MemLock = o.MemLock
	return nil
}

func (p *parser) action(arg string) error {
	ps, err := parsePairs(arg, "")
	if err != nil {
		return err
	}
	for _, kv := range ps {
		var err error
		switch kv.key {
		case "reboot":
			p.cfg.Reboot, err = choose(kv, qapi.RebootActionReset, qapi.RebootActionShutdown)
		case "shutdown":
			p.cfg.Shutdown, err = choose(kv, qapi.ShutdownActionPoweroff, qapi.ShutdownActionPause)
		case "panic":
			p.cfg.Panic, err = choose(kv, qapi.PanicActionPause, qapi.PanicActionShutdown, qapi.PanicActionExitFailure, qapi.PanicActionNone)
		case "watchdog":
			err = p.watchdogAction(kv)
		default:
			err = fmt.Errorf("Invalid parameter '%s'%s", kv.key, qdev.Near(kv.key, []string{"reboot", "shutdown", "panic", "watchdog"}))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) watchdogAction(kv pair) (err error) {
	p.cfg.Watchdog, err = choose(kv, qapi.WatchdogActionReset, qapi.WatchdogActionShutdown, qapi.WatchdogActionPoweroff,
		qapi.WatchdogActionPause, qapi.WatchdogActionDebug, qapi.WatchdogActionNone, qapi.WatchdogActionInjectNmi)
	return err
}

// choose returns the one of the allowed words that a pair has as its value.
func choose[T ~string](kv pair, allowed ...T) (T, error) {
	var words []string
	for _, a := range allowed {
		if string(a) == kv.value {
			return a, nil
		}
		words = append(words, string(a))
	}
	return "", fmt.Errorf("parameter '%s' does not accept value '%s': %s expected", kv.key, kv.value, strings.Join(words, ", "))
}
