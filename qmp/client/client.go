// Package client speaks QMP with a server, ours or another one.
//
// A Client may be used by any number of goroutines: commands are sent as they
// come and their replies found by id. One goroutine reads; Close ends it and
// waits for it. Events wait, in order, in the channel that Events returns; a
// user who never takes them loses the connection when very many wait.
//
// Implements the client's side of sections 2 to 4 of the QMP specification. It
// depends on qmp/qapi and qmp/wire.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// Event is an event as it came.
type Event struct {
	Name string
	Data qapi.Value // None if it has none
	Time time.Time
}

// maxEvents is how many events wait at most.
const maxEvents = 4 << 10

// ErrClosed is returned for commands on a connection that was closed.
var ErrClosed = errors.New("QMP connection closed")

// Client is a connection.
type Client struct {
	conn     io.ReadWriteCloser
	greeting qapi.Greeting
	reader   *wire.Reader
	events   chan Event
	wg       sync.WaitGroup

	writeMu sync.Mutex
	enc     *qapi.Encoder

	mu      sync.Mutex
	lastID  int64
	calls   map[int64]chan qapi.Value
	err     error // why the connection ended
	closing bool
	ended   chan struct{}
}

// Dial connects to a server at a network and an address that package net knows,
// such as "unix" and a path, and enables capabilities.
func Dial(ctx context.Context, network, address string, enable ...qapi.QMPCapability) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to QMP server: %w", err)
	}
	return New(ctx, conn, enable...)
}

// New negotiates on a connection, which it closes if it fails, or when the
// client is closed.
func New(ctx context.Context, conn io.ReadWriteCloser, enable ...qapi.QMPCapability) (*Client, error) {
	c := &Client{
		conn: conn, reader: wire.NewReader(conn), enc: qapi.NewEncoder(false),
		events: make(chan Event, maxEvents), ended: make(chan struct{}), calls: map[int64]chan qapi.Value{},
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := c.greet()
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting of QMP server: %w", err)
	}
	c.wg.Go(c.read)
	args := qapi.QmpCapabilitiesArgs{Enable: enable}
	if err := c.Execute(ctx, qapi.CmdQmpCapabilities.Name, &args, nil); err != nil {
		c.Close()
		return nil, fmt.Errorf("negotiate with QMP server: %w", err)
	}
	return c, nil
}

func (c *Client) greet() error {
	var doc qapi.Document
	doc.SetLenient()
	if err := c.reader.Next(&doc); err != nil {
		return err
	}
	return c.greeting.DecodeQAPI(doc.Root())
}

// Greeting returns what the server said first.
func (c *Client) Greeting() qapi.Greeting { return c.greeting }

// Events returns the channel of events, which is closed with the connection.
func (c *Client) Events() <-chan Event { return c.events }

// Execute runs a command. args is a wire type's pointer or anything that
// encoding/json writes as an object, nil for none. ret is a wire type's pointer,
// a *qapi.Value, or anything that encoding/json can read into; nil if the result
// does not matter. A failed command's error is a *qapi.Error.
func (c *Client) Execute(ctx context.Context, name string, args, ret any) error {
	return c.execute(ctx, "execute", name, args, ret)
}

// ExecuteOOB is Execute out of band, which must have been enabled.
func (c *Client) ExecuteOOB(ctx context.Context, name string, args, ret any) error {
	return c.execute(ctx, "exec-oob", name, args, ret)
}

// Call runs a command that has a descriptor.
func Call[A, R any, PA qapi.Codec[A], PR qapi.Codec[R]](ctx context.Context, c *Client, cmd qapi.Command[A, R], args A) (R, error) {
	var ret R
	err := c.Execute(ctx, cmd.Name, PA(&args), PR(&ret))
	return ret, err
}

func (c *Client) execute(ctx context.Context, verb, name string, args, ret any) error {
	id, reply, err := c.register()
	if err != nil {
		return err
	}
	defer c.unregister(id)
	if err := c.send(verb, name, id, args); err != nil {
		return fmt.Errorf("send QMP command %s: %w", name, err)
	}
	select {
	case v := <-reply:
		return result(v, ret)
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
	}
	select {
	case v := <-reply: // it came before the end
		return result(v, ret)
	default:
		return fmt.Errorf("QMP command %s: %w", name, c.reason())
	}
}

func (c *Client) register() (int64, chan qapi.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.lastID++
	reply := make(chan qapi.Value, 1)
	c.calls[c.lastID] = reply
	return c.lastID, reply, nil
}

func (c *Client) unregister(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
}

func (c *Client) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Client) send(verb, name string, id int64, args any) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	e := c.enc
	e.Reset()
	e.BeginObject()
	e.Key(verb)
	e.String(name)
	if args != nil {
		e.Key("arguments")
		if err := encode(e, args); err != nil {
			return err
		}
	}
	e.Key("id")
	e.Int(id)
	e.EndObject()
	e.EndLine()
	_, err := c.conn.Write(e.Bytes())
	return err
}

func encode(e *qapi.Encoder, args any) error {
	if w, ok := args.(qapi.Encodable); ok {
		w.EncodeQAPI(e)
		return nil
	}
	b, err := json.Marshal(args)
	if err != nil {
		return err
	}
	v, err := wire.Parse(b)
	if err != nil {
		return err
	}
	e.Value(v)
	return nil
}

// result takes a reply apart.
func result(reply qapi.Value, ret any) error {
	if e := reply.Get("error"); e.Kind() != qapi.None {
		var info qapi.ErrorInfo
		if err := info.DecodeQAPI(e); err != nil {
			return fmt.Errorf("error from QMP server: %w", err)
		}
		return qapi.Errorf(info.Class, "%s", info.Desc)
	}
	v := reply.Get("return")
	switch ret := ret.(type) {
	case nil:
		return nil
	case *qapi.Value:
		*ret = v
		return nil
	case qapi.Decodable:
		return ret.DecodeQAPI(v)
	}
	e := qapi.NewEncoder(false)
	e.Value(v)
	return json.Unmarshal(e.Bytes(), ret)
}

// read takes replies and events until the connection ends.
func (c *Client) read() {
	defer close(c.events)
	defer close(c.ended)
	var doc qapi.Document
	doc.SetLenient()
	for {
		err := c.reader.Next(&doc)
		if err == nil {
			err = c.message(doc.Root())
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *Client) end(err error) {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || errors.Is(err, io.EOF) {
		err = ErrClosed
	}
	c.err = err
}

func (c *Client) message(v qapi.Value) error {
	name := v.Get("event")
	if name.Kind() == qapi.None {
		return c.reply(v)
	}
	var ts qapi.Timestamp
	if err := ts.DecodeQAPI(v.Get("timestamp")); err != nil {
		return fmt.Errorf("event from QMP server: %w", err)
	}
	ev := Event{string(name.Text()), v.Get("data").Clone(), time.UnixMicro(ts.Seconds*1e6 + ts.Microseconds)}
	select {
	case c.events <- ev:
		return nil
	default:
		return fmt.Errorf("%d events wait, and nobody takes them", maxEvents)
	}
}

func (c *Client) reply(v qapi.Value) error {
	id, _ := v.Get("id").Int64()
	c.mu.Lock()
	defer c.mu.Unlock()
	if reply := c.calls[id]; reply != nil {
		delete(c.calls, id)
		reply <- v.Clone()
	} else if id == 0 {
		return fmt.Errorf("reply without id from QMP server")
	}
	return nil
}

// Close ends the connection. Commands that wait for their reply fail.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	err := c.conn.Close()
	c.wg.Wait()
	return err
}
