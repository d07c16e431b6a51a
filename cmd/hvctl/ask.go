package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"hv/qmp/client"
	"hv/qmp/hmp"
	"hv/qmp/qapi"
)

// ask runs the lines that come from standard input until that, ctx or the connection
// ends, and shows events in between. On a terminal lines are edited. If standard input
// is no terminal the first error ends it, as a script wants.
func (t *tool) ask(ctx context.Context, c *client.Client, greeting, prompt string, complete func(string) []string, run func(io.Writer, string) error) error {
	f, ok := t.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return t.script(run)
	}
	old, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(int(f.Fd()), old) }()
	return terminal(ctx, c, struct {
		io.Reader
		io.Writer
	}{f, t.out}, greeting, prompt, complete, run)
}

func (t *tool) script(run func(io.Writer, string) error) error {
	in := bufio.NewScanner(t.in)
	for in.Scan() {
		if err := run(t.out, in.Text()); err != nil {
			return err
		}
	}
	return in.Err()
}

// terminal talks with a person.
func terminal(ctx context.Context, c *client.Client, rw io.ReadWriter, greeting, prompt string, complete func(string) []string, run func(io.Writer, string) error) error {
	line := hmp.NewLineReader(rw, prompt, complete)
	line.EndOnCtrlD()
	if _, err := io.WriteString(line, greeting); err != nil {
		return err
	}
	lines := make(chan string)
	next := make(chan struct{})
	stop := make(chan struct{})
	go func() { // nothing can end a terminal's read: it ends with its next line, or the program
		defer close(lines)
		for {
			text, err := line.Read()
			if err != nil {
				return
			}
			select {
			case lines <- text:
			case <-stop:
				return
			}
			select {
			case <-next:
			case <-stop:
				return
			}
		}
	}()
	defer close(stop)
	for {
		select {
		case text, ok := <-lines:
			if !ok {
				return nil
			}
			if err := run(line, text); err != nil {
				fmt.Fprintf(line, "%v\n", err)
			}
			next <- struct{}{}
		case e, ok := <-c.Events():
			if !ok {
				fmt.Fprintf(line, "The connection has ended.\n")
				return nil
			}
			fmt.Fprintln(line, eventText(e))
		case <-ctx.Done():
			return nil
		}
	}
}

// events prints one event, or all.
func (t *tool) events(ctx context.Context, c *client.Client, args []string) error {
	follow := len(args) == 1 && args[0] == "--follow"
	if len(args) > 0 && !follow {
		return usageError("events takes a VM and --follow")
	}
	for {
		select {
		case e, ok := <-c.Events():
			if !ok {
				if follow {
					return nil // the VM has ended
				}
				return client.ErrClosed
			}
			if _, err := fmt.Fprintln(t.out, eventText(e)); err != nil || !follow {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eventText prints an event in a line.
func eventText(e client.Event) string {
	text := e.Time.Format("2006-01-02 15:04:05.000000 ") + e.Name
	if e.Data.Kind() != qapi.None {
		enc := qapi.NewEncoder(false)
		enc.Value(e.Data)
		text += " " + string(enc.Bytes())
	}
	return text
}

// hmp runs one line of the human monitor, or those that are typed.
func (t *tool) hmp(ctx context.Context, c *client.Client, args []string) error {
	if len(args) > 0 {
		return human(ctx, c, t.out, strings.Join(args, " "))
	}
	m := hmp.New(newRemote(ctx, c)).NewSession()
	complete := func(line string) []string { return m.Complete(ctx, line) }
	return t.ask(ctx, c, "", hmp.Prompt, complete, func(w io.Writer, line string) error {
		if err := human(ctx, c, w, line); w == t.out || !errors.Is(err, errHuman) {
			return err
		}
		return nil // a person has read it
	})
}

// errHuman says that what the human monitor printed is an error.
var errHuman = errors.New("the command failed")

// human has the VM run a line and prints what that says.
func human(ctx context.Context, c *client.Client, w io.Writer, line string) error {
	var text string
	if err := c.Execute(ctx, qapi.CmdHumanMonitorCommand.Name, map[string]string{"command-line": line}, &text); err != nil {
		return err
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if strings.HasPrefix(text, "Error: ") || strings.HasPrefix(text, "unknown command: ") {
		return errHuman
	}
	return nil
}

// remote lets the human monitor's completion ask the VM.
type remote struct {
	c        *client.Client
	commands map[string]bool
}

func newRemote(ctx context.Context, c *client.Client) *remote {
	r := &remote{c: c, commands: map[string]bool{}}
	for _, name := range newShell(ctx, c).commands {
		r.commands[name] = true
	}
	return r
}

// Call implements hmp.Caller.
func (r *remote) Call(ctx context.Context, command string, args any) (json.RawMessage, error) {
	var ret json.RawMessage
	err := r.c.Execute(ctx, command, args, &ret)
	return ret, err
}

// Has implements hmp.Caller.
func (r *remote) Has(command string) bool { return r.commands[command] }
