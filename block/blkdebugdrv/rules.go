package blkdebugdrv

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/qmp/qapi"
)

// ioTypes is a set of kinds of requests, in the order of the schema.
type ioTypes uint8

const (
	ioRead ioTypes = 1 << iota
	ioWrite
	ioWriteZeroes
	ioDiscard
	ioFlush
	ioBlockStatus
	ioDefault = ioRead | ioWrite | ioWriteZeroes | ioDiscard | ioFlush
)

var ioTypesByName = map[qapi.BlkdebugIOType]ioTypes{
	qapi.BlkdebugIOTypeRead: ioRead, qapi.BlkdebugIOTypeWrite: ioWrite, qapi.BlkdebugIOTypeWriteZeroes: ioWriteZeroes,
	qapi.BlkdebugIOTypeDiscard: ioDiscard, qapi.BlkdebugIOTypeFlush: ioFlush, qapi.BlkdebugIOTypeBlockStatus: ioBlockStatus,
}

// action is what a rule does.
type action uint8

const (
	inject action = iota
	setState
	suspend
)

// Rule is what happens when a request comes to an event.
type Rule struct {
	event  graph.Event
	action action
	state  int64 // in which it holds, 0 for any

	errno       unix.Errno // of inject
	types       ioTypes
	offset      int64 // -1 for any
	once        bool
	immediately bool

	newState int64  // of setState
	tag      string // of suspend
}

// InjectRule reads a rule that has requests fail.
func InjectRule(o *qapi.BlkdebugInjectErrorOptions) (*Rule, error) {
	e, ok := graph.ParseEvent(string(o.Event))
	if !ok {
		return nil, fmt.Errorf("invalid parameter value: %s", o.Event)
	}
	r := &Rule{event: e, action: inject, errno: unix.EIO, types: ioDefault, offset: -1}
	if o.State != nil {
		r.state = *o.State
	}
	if o.Errno != nil {
		r.errno = unix.Errno(*o.Errno)
	}
	if o.Iotype != nil {
		r.types = ioTypesByName[*o.Iotype]
	}
	if o.Sector != nil && *o.Sector != -1 {
		r.offset = *o.Sector * 512
	}
	r.once = o.Once != nil && *o.Once
	r.immediately = o.Immediately != nil && *o.Immediately
	return r, nil
}

// StateRule reads a rule that changes the state.
func StateRule(o *qapi.BlkdebugSetStateOptions) (*Rule, error) {
	e, ok := graph.ParseEvent(string(o.Event))
	if !ok {
		return nil, fmt.Errorf("invalid parameter value: %s", o.Event)
	}
	r := &Rule{event: e, action: setState, newState: o.NewState}
	if o.State != nil {
		r.state = *o.State
	}
	return r, nil
}

// maxLine is how long a line of a file with rules is at most, as in QEMU.
const maxLine = 1024

// section is a group of a file with rules.
type section struct {
	kind string
	keys map[string]string
}

// ParseConfig reads the rules of a file:
//
//	[inject-error]
//	event = "read_aio"
//	errno = "5"
//
// Errors name the file and the line.
func ParseConfig(name, text string) ([]*Rule, error) {
	sections, err := parseSections(name, text)
	if err != nil {
		return nil, err
	}
	var rules []*Rule
	for _, kind := range []string{"inject-error", "set-state"} {
		for _, s := range sections {
			if s.kind != kind {
				continue
			}
			r, err := s.rule()
			if err != nil {
				return nil, err
			}
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// keys are what groups may have.
var keys = map[string][]string{
	"inject-error": {"event", "state", "iotype", "errno", "sector", "once", "immediately"},
	"set-state":    {"event", "state", "new_state"},
}

func parseSections(name, text string) ([]section, error) {
	var all []section
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d: ", name, i+1)
		line = strings.TrimSpace(line)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("%sparse error", at)
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			kind, ok := strings.CutSuffix(line[1:], "]")
			kind, _, _ = strings.Cut(kind, " ") // what follows is an identifier
			if !ok {
				return nil, fmt.Errorf("%sparse error", at)
			}
			if keys[kind] == nil {
				return nil, fmt.Errorf("%sThere is no option group '%s'", at, kind)
			}
			all = append(all, section{kind, map[string]string{}})
		case len(all) == 0:
			return nil, fmt.Errorf("%sno group defined", at)
		default:
			if err := all[len(all)-1].set(line); err != nil {
				return nil, fmt.Errorf("%s%w", at, err)
			}
		}
	}
	return all, nil
}

// set reads KEY = "VALUE".
func (s *section) set(line string) error {
	key, value, ok := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || len(value) < 2 || value[0] != '"' {
		return fmt.Errorf("parse error")
	}
	end := strings.IndexByte(value[1:], '"')
	if end < 0 {
		return fmt.Errorf("parse error")
	}
	if !slices.Contains(keys[s.kind], key) {
		return fmt.Errorf("Invalid parameter '%s'", key)
	}
	s.keys[key] = value[1 : 1+end]
	return nil
}

// number returns a number of the group, nil if it is not there.
func (s *section) number(key string) (*int64, error) {
	text, ok := s.keys[key]
	if !ok {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return nil, fmt.Errorf("Parameter '%s' expects a number", key)
	}
	return &n, nil
}

// flag returns a switch of the group, nil if it is not there.
func (s *section) flag(key string) (*bool, error) {
	text, ok := s.keys[key]
	if !ok {
		return nil, nil
	}
	on := slices.Contains([]string{"on", "yes", "true", "y"}, text)
	if !on && !slices.Contains([]string{"off", "no", "false", "n"}, text) {
		return nil, fmt.Errorf("Parameter '%s' expects 'on' or 'off'", key)
	}
	return &on, nil
}

// rule returns what the group says.
func (s *section) rule() (*Rule, error) {
	event, ok := s.keys["event"]
	if !ok {
		return nil, fmt.Errorf("Missing event name for rule")
	}
	state, err := s.number("state")
	if err != nil {
		return nil, err
	}
	if s.kind == "set-state" {
		next, err := s.number("new_state")
		if err != nil {
			return nil, err
		}
		if next == nil {
			next = new(int64)
		}
		return StateRule(&qapi.BlkdebugSetStateOptions{Event: qapi.BlkdebugEvent(event), State: state, NewState: *next})
	}
	o := qapi.BlkdebugInjectErrorOptions{Event: qapi.BlkdebugEvent(event), State: state}
	if text, ok := s.keys["iotype"]; ok {
		kind := qapi.BlkdebugIOType(text)
		if ioTypesByName[kind] == 0 {
			return nil, fmt.Errorf("invalid parameter value: %s", text)
		}
		o.Iotype = &kind
	}
	for key, to := range map[string]**int64{"errno": &o.Errno, "sector": &o.Sector} {
		if *to, err = s.number(key); err != nil {
			return nil, err
		}
	}
	for key, to := range map[string]**bool{"once": &o.Once, "immediately": &o.Immediately} {
		if *to, err = s.flag(key); err != nil {
			return nil, err
		}
	}
	return InjectRule(&o)
}
