package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"hv/qmp/client"
	"hv/qmp/qapi"
)

// answerTime is how long a VM may take to tell its state for a list.
const answerTime = 2 * time.Second

// list prints the VMs whose sockets are in the folder. One that does not answer is
// listed as such: its process may hang, or have left its socket behind.
func (t *tool) list(ctx context.Context) error {
	sockets, err := filepath.Glob(filepath.Join(t.dir, "*.sock"))
	if err != nil {
		return err
	}
	slices.Sort(sockets)
	states := make([]string, len(sockets))
	var wg sync.WaitGroup
	for i, path := range sockets {
		wg.Go(func() { states[i] = state(ctx, path) })
	}
	wg.Wait()
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tSOCKET")
	for i, path := range sockets {
		fmt.Fprintf(w, "%s\t%s\t%s\n", strings.TrimSuffix(filepath.Base(path), ".sock"), states[i], path)
	}
	return w.Flush()
}

func state(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := client.Dial(ctx, "unix", path)
	if err != nil {
		return "no answer"
	}
	defer c.Close()
	s, err := client.Call(ctx, c, qapi.CmdQueryStatus, qapi.Empty{})
	if err != nil {
		return "no answer"
	}
	return string(s.Status)
}

// status prints a VM's state in one word.
func (t *tool) status(ctx context.Context, c *client.Client, _ []string) error {
	s, err := client.Call(ctx, c, qapi.CmdQueryStatus, qapi.Empty{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.out, s.Status)
	return err
}
