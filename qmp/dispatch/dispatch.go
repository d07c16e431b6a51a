// Package dispatch is the table of commands: typed functions registered for the
// descriptors of package qapi, found by name and run with strictly decoded
// arguments. Only what is registered is advertised.
//
// The table is built before it is used and then only read, so any number of
// goroutines may use it; Preconfig may change at any time. Where a command runs
// is the caller's matter: see IsOOB and Request.Concurrent.
//
// Implements sections 2.3 and 2.4 of the QMP specification with QEMU 7.2's texts.
// It depends on qmp/qapi and qmp/wire.
package dispatch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// Table holds commands by name.
type Table struct {
	commands  map[string]*command
	preconfig atomic.Bool
}

// command is a registered command.
type command struct {
	name                       string
	oob, preconfig, concurrent bool
	// run decodes the arguments, calls the handler and writes the reply, unless
	// it returns an error.
	run func(ctx context.Context, args qapi.Value, e *qapi.Encoder, id qapi.Value) error
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{commands: map[string]*command{}} }

// frame is the arguments and the result of a call. Frames are pooled: what is
// passed to a function that the compiler does not know is on the heap.
type frame[A, R any] struct {
	args A
	ret  R
}

// Register adds a command. Registering one twice is a mistake in the program,
// and panics.
//
// The handler may keep its arguments. A *qapi.Error that it returns, or wraps,
// sets the error's class.
func Register[A, R any, PA qapi.Codec[A], PR qapi.Codec[R]](t *Table, cmd qapi.Command[A, R], handler func(context.Context, A) (R, error)) {
	if t.commands[cmd.Name] != nil {
		panic("qmp: command registered twice: " + cmd.Name)
	}
	pool := sync.Pool{New: func() any { return new(frame[A, R]) }}
	t.commands[cmd.Name] = &command{
		name: cmd.Name, oob: cmd.OOB, preconfig: cmd.Preconfig, concurrent: cmd.Concurrent,
		run: func(ctx context.Context, args qapi.Value, e *qapi.Encoder, id qapi.Value) error {
			f := pool.Get().(*frame[A, R])
			defer func() {
				*f = frame[A, R]{}
				pool.Put(f)
			}()
			err := PA(&f.args).DecodeQAPI(args)
			if err != nil {
				return err
			}
			if f.ret, err = handler(ctx, f.args); err != nil {
				return err
			}
			if cmd.Silent {
				return nil
			}
			wire.BeginReturn(e)
			PR(&f.ret).EncodeQAPI(e)
			wire.EndReturn(e, id)
			return nil
		},
	}
}

// Names returns the commands that there are, sorted.
func (t *Table) Names() []string { return slices.Sorted(maps.Keys(t.commands)) }

// Has tells whether there is a command.
func (t *Table) Has(name string) bool { return t.commands[name] != nil }

// SetPreconfig says whether the machine is still being configured. Until it is
// built only commands for that state are run.
func (t *Table) SetPreconfig(on bool) { t.preconfig.Store(on) }

// Client is what a client has negotiated.
type Client struct {
	Negotiated bool // it may use all commands, not qmp_capabilities alone
	OOB        bool // it may ask for execution out of band
}

// Request is a command as it came, checked as far as it can be without running
// it. It refers to the document in which it came.
type Request struct {
	id, args qapi.Value
	cmd      *command
	err      error
}

// IsOOB tells whether a value asks to be executed out of band.
func IsOOB(v qapi.Value) bool {
	return v.Get("exec-oob").Kind() != qapi.None && v.Get("execute").Kind() == qapi.None
}

// Parse checks what a client sent. What is wrong with it is told by Run.
func (t *Table) Parse(v qapi.Value, c Client) Request {
	if v.Kind() != qapi.Object {
		return Fail(qapi.Errorf(qapi.QapiErrorClassGenericError, "QMP input must be a JSON object"))
	}
	r := Request{id: v.Get("id")}
	env, err := parseEnvelope(v, c.OOB)
	if err == nil {
		r.args = env.args
		r.cmd, err = t.find(env.name, env.oob, c)
	}
	r.err = err
	return r
}

// Fail returns a request that fails with err, for input that is no value.
func Fail(err error) Request { return Request{err: err} }

// envelope is the members of a request.
type envelope struct {
	exec qapi.Value // the key that names the command
	name []byte
	args qapi.Value
	oob  bool
}

// parseEnvelope reads the members of a request. If several are wrong it tells of
// that which QEMU comes across first.
func parseEnvelope(v qapi.Value, allowOOB bool) (env envelope, err error) {
	for k, m := range v.Members() {
		if err = env.member(k, m, allowOOB); err != nil {
			break
		}
	}
	if err != nil {
		env = envelope{}
		for k, m := range v.Ordered() {
			if err := env.member(k, m, allowOOB); err != nil {
				return env, err
			}
		}
	}
	if env.exec.Kind() == qapi.None {
		return env, generic("QMP input lacks member 'execute'")
	}
	return env, nil
}

func (env *envelope) member(k, m qapi.Value, allowOOB bool) error {
	oob := false
	switch string(k.Text()) {
	case "id":
		return nil
	case "arguments":
		if m.Kind() != qapi.Object {
			return generic("QMP input member 'arguments' must be an object")
		}
		env.args = m
		return nil
	case "exec-oob":
		oob = true
	case "execute":
	default:
		return generic("QMP input member '%s' is unexpected", k.Text())
	}
	switch {
	case oob && !allowOOB:
		return generic("QMP input member '%s' is unexpected", k.Text())
	case m.Kind() != qapi.String:
		return generic("QMP input member '%s' must be a string", k.Text())
	case env.exec.Kind() != qapi.None:
		return generic("QMP input member '%s' clashes with '%s'", k.Text(), env.exec.Text())
	}
	env.exec, env.name, env.oob = k, m.Text(), oob
	return nil
}

func generic(format string, args ...any) error {
	return qapi.Errorf(qapi.QapiErrorClassGenericError, format, args...)
}

func notFound(format string, args ...any) error {
	return qapi.Errorf(qapi.QapiErrorClassCommandNotFound, format, args...)
}

func (t *Table) find(name []byte, oob bool, client Client) (*command, error) {
	c := t.commands[string(name)]
	switch {
	case !client.Negotiated && string(name) != qapi.CmdQmpCapabilities.Name:
		return nil, notFound("Expecting capabilities negotiation with 'qmp_capabilities'")
	case c == nil:
		return nil, notFound("The command %s has not been found", name)
	case oob && !c.oob:
		return nil, generic("The command %s does not support OOB", name)
	case !c.preconfig && t.preconfig.Load():
		return nil, generic("The command '%s' is permitted only after machine initialization has completed", name)
	}
	return c, nil
}

// Concurrent tells whether the request is to be run where it came from, and not
// on the control goroutine: its descriptor says so, or it fails anyway.
func (r *Request) Concurrent() bool { return r.err != nil || r.cmd.concurrent }

// Run executes the request and writes its reply, exactly one unless the command is
// silent and succeeds.
func (r *Request) Run(ctx context.Context, e *qapi.Encoder) {
	err := r.err
	if err == nil {
		err = r.cmd.run(ctx, r.args, e, r.id)
	}
	if err != nil {
		wire.WriteError(e, err, r.id)
	}
}

// Refuse makes the request fail with err, whatever it asked for.
func (r *Request) Refuse(err error) { r.err = err }
