package linux

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// obey has a guest's script carry out what is written to its console, line by line.
const obey = `
stty -echo
echo obeying=.
while read -r line; do eval "$line"; echo "did=$?."; done
`

// console is a guest that obeys.
type console struct {
	*hvrun.Proc
	in io.Writer
}

// converse starts a guest whose script is obey, with open files from descriptor 3 on, and
// waits until it listens.
func converse(t testing.TB, files []*os.File, program string, args ...string) *console {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles = files
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &console{startCmd(t, cmd), in}
	c.Expect(t, `obeying=\.`)
	return c
}

// begin gives the guest a command, and returns where in the output its answer begins.
func (c *console) begin(t testing.TB, command string) int {
	t.Helper()
	from := len(c.Output())
	if _, err := io.WriteString(c.in, strings.ReplaceAll(command, "\n", "; ")+"\n"); err != nil {
		t.Fatal(err)
	}
	return from
}

// booted is a guest's first line.
const booted = `hv guest: Linux`

// await is ExpectAfter in a guest that is not to boot again. One that does by itself, without a
// word, is one that the bed lost.
func (c *console) await(t testing.TB, from int, pattern string) []string {
	t.Helper()
	c.ExpectAfter(t, from, pattern+"|"+booted)
	if strings.Contains(c.Output()[from:], booted) {
		c.Kill(t)
		panic(lost("it has reset itself"))
	}
	return regexp.MustCompile(pattern).FindStringSubmatch(c.Output()[from:])
}

// end waits for the end of a command that began at from, and returns what it printed.
func (c *console) end(t testing.TB, from int) string {
	t.Helper()
	m := c.await(t, from, `(?s)^(.*?)did=(\d+)\.`)
	if m[2] != "0" {
		t.Fatalf("status %s in the guest:\n%s", m[2], m[1])
	}
	return m[1]
}

// do has the guest carry out a command and returns what it printed.
func (c *console) do(t testing.TB, command string) string {
	t.Helper()
	return c.end(t, c.begin(t, command))
}
