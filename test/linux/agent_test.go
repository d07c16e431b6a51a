package linux

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/test/hvrun"
)

// awaitAgent waits until the guest's agent has opened its port.
func awaitAgent(t *testing.T, p *hvrun.Proc, c *client.Client) {
	t.Helper()
	limit := time.After(hvrun.Patience)
	look := time.NewTicker(2 * time.Second)
	defer look.Stop()
	for {
		select {
		case e := <-c.Events():
			if e.Name == "VSERPORT_CHANGE" && string(e.Data.Get("id").Text()) == "port" && e.Data.Get("open").Bool() {
				return
			}
		case <-look.C:
			p.Watch()
		case <-p.Ended():
			t.Fatalf("hv ended: %s", p.Output())
		case <-limit:
			t.Fatal("the guest has not opened its agent's port")
		}
	}
}

// askAgent has QEMU's own client speak to the agent of a Debian guest: about the guest, its
// file systems and, last, its reboot.
func askAgent(t *testing.T, socket string) {
	t.Helper()
	program := filepath.Join(hvrun.Source(t), "scripts/qmp/qemu-ga-client")
	for _, q := range []struct {
		want string
		args []string
	}{
		{"", []string{"ping", "20"}},
		{"guest-fsfreeze-freeze", []string{"info"}},
		{"thawed", []string{"fsfreeze", "status"}},
		{"frozen", []string{"fsfreeze", "freeze"}},
		{"frozen", []string{"fsfreeze", "status"}},
		{"thawed", []string{"fsfreeze", "thaw"}},
		{"root:", []string{"cat", "/etc/passwd"}},
		{"", []string{"reboot"}},
	} {
		out, err := hvrun.Python(t, program, append([]string{"--address", socket}, q.args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), q.want) {
			t.Fatalf("qemu-ga-client %v: %v, without %q:\n%s", q.args, err, q.want, out)
		}
	}
}
