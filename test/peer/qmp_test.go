package peer

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"hv/test/hvrun"
)

// client is a QMP connection of raw lines.
type client struct {
	net.Conn
	b *testing.B
	r *bufio.Reader
}

// clients starts a VM with two monitors and returns a client of each.
func clients(b *testing.B, program string) (p *hvrun.Proc, first, second *client) {
	b.Helper()
	dir := b.TempDir()
	path := filepath.Join(dir, "q")
	p = hvrun.Start(b, program, append(idle(path), "-qmp", "unix:"+path+"2,server=on,wait=off")...)
	var both [2]*client
	for i, path := range []string{path, path + "2"} {
		c := &client{Conn: connect(b, path), b: b}
		c.r = bufio.NewReaderSize(c, 64<<10)
		c.line()
		c.do([]byte(`{"execute": "qmp_capabilities"}`))
		both[i] = c
	}
	return p, both[0], both[1]
}

func (c *client) line() []byte {
	c.b.Helper()
	s, err := c.r.ReadSlice('\n')
	if err != nil {
		c.b.Fatal(err)
	}
	return s
}

// do executes a command, among events.
func (c *client) do(command []byte) {
	c.b.Helper()
	if _, err := c.Write(command); err != nil {
		c.b.Fatal(err)
	}
	c.reply()
}

func (c *client) reply() {
	c.b.Helper()
	for !bytes.HasPrefix(c.line(), []byte(`{"return"`)) {
	}
}

// percentile returns the value that p of the values are not above.
func percentile(v []time.Duration, p float64) time.Duration {
	slices.Sort(v)
	return v[int(float64(len(v)-1)*p)]
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

var queryStatus = []byte(`{"execute": "query-status", "id": 17}` + "\n")

// BenchmarkQMPRoundTrip is one small command at a time.
func BenchmarkQMPRoundTrip(b *testing.B) {
	const trips = 5000
	for _, p := range []float64{0.5, 0.99} {
		b.Run(fmt.Sprintf("p%v", p*100), func(b *testing.B) {
			compare(b, "us", func(program string) float64 {
				vm, c, _ := clients(b, program)
				defer stop(b, vm)
				took := make([]time.Duration, trips)
				for i := range took {
					began := time.Now()
					c.do(queryStatus)
					took[i] = time.Since(began)
				}
				return us(percentile(took, p))
			})
		})
	}
}

// BenchmarkQMPPipelined is small commands sent without waiting for replies.
func BenchmarkQMPPipelined(b *testing.B) {
	const batch, batches = 100, 100
	compare(b, "commands/s", func(program string) float64 {
		vm, c, _ := clients(b, program)
		defer stop(b, vm)
		many := bytes.Repeat(queryStatus, batch)
		sent := make(chan error, 1)
		began := time.Now()
		go func() {
			for range batches {
				if _, err := c.Write(many); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for range batch * batches {
			c.reply()
		}
		took := time.Since(began)
		if err := <-sent; err != nil {
			b.Fatal(err)
		}
		return batch * batches / took.Seconds()
	})
}

var stamp = regexp.MustCompile(`"seconds": (\d+), "microseconds": (\d+)`)

// BenchmarkQMPEvent is the time from when an event was made, by its own stamp, to
// when a client that waits for it has it.
func BenchmarkQMPEvent(b *testing.B) {
	const events = 2000
	for _, p := range []float64{0.5, 0.99} {
		b.Run(fmt.Sprintf("p%v", p*100), func(b *testing.B) {
			compare(b, "us", func(program string) float64 {
				vm, cause, wait := clients(b, program)
				defer stop(b, vm)
				took := make([]time.Duration, events)
				for i := range took {
					if _, err := cause.Write([]byte(`{"execute": "system_powerdown"}`)); err != nil {
						b.Fatal(err)
					}
					m := stamp.FindSubmatch(wait.line())
					now := time.Now()
					s, _ := strconv.ParseInt(string(m[1]), 10, 64)
					micro, _ := strconv.ParseInt(string(m[2]), 10, 64)
					took[i] = now.Sub(time.UnixMicro(s*1e6 + micro))
					cause.reply()
				}
				return us(percentile(took, p))
			})
		})
	}
}
