package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hv/devices/qdev"
	"hv/hypervisor/runstate"
)

// errHelp ends the parsing once a request for help was found.
var errHelp = errors.New("help was asked for")

// group is an option with an id that -set may still change; build makes it
// part of the configuration when all options have been read.
type group struct {
	name, text string
	args       pairs
	build      func(args pairs) error
}

type parser struct {
	cfg     *Config
	env     Env
	table   []option
	groups  []*group
	smpArgs pairs
	memArgs pairs
	noAccel string // an accelerator that was asked for and is none
	depth   int    // of -readconfig
	compat  int    // chardevs of -monitor, -qmp and -qmp-pretty
	nets    oldNets
}

type global struct{ driver, prop, value string }

// Parse reads a command line, without the program's name. An error is one line
// that names the option and what is wrong with it.
func Parse(args []string, env Env) (*Config, error) {
	a := runstate.DefaultActions()
	p := &parser{env: env, table: options(), cfg: &Config{
		drivers: env.Devices,
		Reboot:  a.Reboot, Shutdown: a.Shutdown, Panic: a.Panic, Watchdog: a.Watchdog,
	}}
	err := p.run(args)
	if errors.Is(err, errHelp) {
		return p.cfg, nil
	}
	if err != nil {
		return nil, err
	}
	return p.cfg, nil
}

func (p *parser) run(args []string) error {
	for len(args) > 0 {
		name, isOption := strings.CutPrefix(args[0], "-")
		name = strings.TrimPrefix(name, "-")
		if !isOption || name == "" {
			return fmt.Errorf("%s: not an option; disks are given with -drive", args[0])
		}
		o, ok := find(p.table, name)
		if !ok {
			return fmt.Errorf("%s: invalid option%s", args[0], qdev.Near(name, names(p.table)))
		}
		arg, used := "", 1
		if o.arg != "" {
			if len(args) < 2 {
				return fmt.Errorf("%s: %w", args[0], errNoArgument)
			}
			arg, used = args[1], 2
		}
		if err := p.apply(o, arg); err != nil {
			return err
		}
		args = args[used:]
	}
	return p.finish()
}

func names(table []option) []string {
	var all []string
	for _, o := range table {
		all = append(append(all, o.name), o.aliases...)
	}
	return all
}

func (p *parser) apply(o *option, arg string) error {
	if err := o.apply(p, arg); err != nil {
		return p.wrap(o.name, arg, err)
	}
	return nil
}

// wrap puts the option as the user wrote it before an error.
func (p *parser) wrap(name, arg string, err error) error {
	if errors.Is(err, errHelp) {
		return err
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace("-"+name+" "+arg), err)
}

// help notes a request for help.
func (p *parser) help(topic, arg string) error {
	p.cfg.Help = Help{Topic: topic, Arg: arg}
	return errHelp
}

// wantsHelp reports whether an argument asks for help.
func wantsHelp(s string) bool { return s == "help" || s == "?" }

// addGroup notes an option that -set may change and that is built at the end.
func (p *parser) addGroup(name, text string, args pairs, build func(pairs) error) {
	p.groups = append(p.groups, &group{name, text, args, build})
}

// finish builds what had to wait for the whole command line.
func (p *parser) finish() error {
	if err := p.finishMachine(); err != nil {
		return err
	}
	if err := p.finishGraphic(); err != nil {
		return err
	}
	if err := p.finishNet(); err != nil {
		return err
	}
	// Devices come last: they refer to the others.
	for _, devices := range []bool{false, true} {
		for _, g := range p.groups {
			if (g.name == "device") != devices {
				continue
			}
			if err := g.build(g.args); err != nil {
				return p.wrap(g.name, g.text, err)
			}
		}
	}
	return p.checkReferences()
}

// args reads an option's argument, as JSON if it begins with a brace.
func args(arg, implied string) (pairs, error) {
	if strings.HasPrefix(strings.TrimSpace(arg), "{") {
		return parseJSON(arg)
	}
	return parsePairs(arg, implied)
}

// decode sets the fields of a tagged struct from pairs; what it does not know
// is an error.
func decode(ps pairs, into any) error {
	if err := qdev.SetDefaults(into); err != nil {
		return err
	}
	var known []string
	for _, prop := range qdev.Properties(into) {
		known = append(known, prop.Name)
	}
	for _, kv := range ps {
		if !slices.Contains(known, kv.key) {
			return fmt.Errorf("Invalid parameter '%s'%s", kv.key, qdev.Near(kv.key, known))
		}
		err := qdev.Set(into, "", kv.key, kv.value)
		if bad := (*qdev.ValueError)(nil); errors.As(err, &bad) {
			return fmt.Errorf("parameter '%s' expects %s, not '%s'", kv.key, bad.Want, kv.value)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// set is -set GROUP.ID.PROP=VALUE.
func (p *parser) set(arg string) error {
	path, value, ok := strings.Cut(arg, "=")
	parts := strings.SplitN(path, ".", 3)
	if !ok || len(parts) != 3 {
		return errors.New("GROUP.ID.PROP=VALUE is expected")
	}
	for _, g := range p.groups {
		if id, _ := g.args.get("id"); g.name == parts[0] && id == parts[1] {
			g.args.take(parts[2])
			g.args = append(g.args, pair{parts[2], value})
			return nil
		}
	}
	return fmt.Errorf("there is no %s \"%s\" before it", parts[0], parts[1])
}

// global is -global DRIVER.PROP=VALUE or driver=,property=,value=.
func (p *parser) global(arg string) error {
	var g global
	if name, value, ok := strings.Cut(arg, "="); ok && strings.Contains(name, ".") {
		g.value = value
		g.driver, g.prop, _ = strings.Cut(name, ".")
	} else {
		ps, err := parsePairs(arg, "")
		if err != nil {
			return err
		}
		g.driver, _ = ps.take("driver")
		g.prop, _ = ps.take("property")
		g.value, _ = ps.take("value")
		if len(ps) > 0 || g.driver == "" || g.prop == "" {
			return errors.New("DRIVER.PROP=VALUE is expected")
		}
	}
	return p.addGlobal(g)
}

// absent are devices of QEMU's that managers set defaults for and that hv does
// not have, so that there is nothing to set.
var absent = []string{"kvm-pit", "ICH9-LPC", "PIIX4_PM", "mc146818rtc", "isa-fdc", "cfi.pflash01"}

func (p *parser) addGlobal(g global) error {
	if slices.Contains(absent, g.driver) {
		return nil
	}
	d, err := p.env.Devices.New(g.driver)
	if err != nil {
		return err
	}
	if err := d.Set(g.prop, g.value); err != nil {
		return err
	}
	p.cfg.globals = append(p.cfg.globals, g)
	return nil
}

// maxReadConfig bounds files of options that name each other.
const maxReadConfig = 8

// readconfig applies the sections of a file as options.
func (p *parser) readconfig(path string) error {
	if p.depth++; p.depth > maxReadConfig {
		return errors.New("nested too deeply")
	}
	text, err := p.env.ReadFile(path)
	if err != nil {
		return err
	}
	sections, err := readSections(text)
	if err != nil {
		return err
	}
	for _, s := range sections {
		if err := p.applySection(s); err != nil {
			return fmt.Errorf("section %s: %w", s.group, err)
		}
	}
	p.depth--
	return nil
}

// sectionNames are the groups that are not called like their option.
var sectionNames = map[string]string{"smp-opts": "smp", "memory": "m", "boot-opts": "boot", "mon": "mon"}

func (p *parser) applySection(s section) error {
	name := s.group
	if n, ok := sectionNames[name]; ok {
		name = n
	}
	if name == "machine" {
		for _, key := range []string{"kernel", "initrd", "append"} {
			if v, ok := s.args.take(key); ok {
				o, _ := find(p.table, key)
				if err := p.apply(o, v); err != nil {
					return err
				}
			}
		}
	}
	o, ok := find(p.table, name)
	if !ok {
		return fmt.Errorf("there is no such group%s", qdev.Near(name, names(p.table)))
	}
	if o.arg == "" {
		return o.apply(p, "")
	}
	if len(s.args) == 0 {
		return nil
	}
	return p.apply(o, s.args.String())
}

// String returns the pairs as an argument.
func (ps pairs) String() string {
	var fields []string
	for _, kv := range ps {
		fields = append(fields, kv.key+"="+strings.ReplaceAll(kv.value, ",", ",,"))
	}
	return strings.Join(fields, ",")
}
