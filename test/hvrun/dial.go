package hvrun

import (
	"context"
	"testing"
	"time"

	"hv/qmp/client"
)

// Dial connects to a program's QMP socket as soon as that is there.
func Dial(t testing.TB, p *Proc, socket string) *client.Client {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for {
		c, err := client.Dial(ctx, "unix", socket)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			return c
		}
		select {
		case <-tick.C:
		case <-p.Ended():
			t.Fatalf("the program ended before it listened: %s", p.Output())
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}
