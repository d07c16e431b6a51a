package linux

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/test/hvrun"
)

// The bed's processor is emulated, and its emulation of SVM now and then leaves a guest
// with the instruction pointer of the bed's own kernel, just behind VMRUN. Nothing can run
// there: KVM fetches in vain and injects a page fault, some 20,000 times a second, for
// good. With nested paging KVM has no other reason to inject page faults, so that
// their number tells a guest that was lost in this way from every other hang.
//
// It also can leave a guest at an interrupt window that is open and never taken: KVM is
// told that the guest can take an interrupt, injects none, and is told again, millions of
// times. KVM decides that alone, with the interrupt controllers that are in it.
//
// Once, a process stayed for minutes after SIGKILL, as if a processor of the bed's own kernel were in
// a loop. The bed counts as failed then, unless a thread is in an uninterruptible wait.
//
// And it can have a guest reset itself without a word, above all one that is stopped and goes
// on several times a second; QEMU's guests do so too.
//
// Only such guests are started again, and only a few times.
const (
	lostFaults  = 50_000
	lostWindows = 1_000_000
	perTaken    = 1000 // windows for each interrupt that a guest took
	attempts    = 8
)

// lost is the panic that ends a wait for a lost guest, and says why it counts as one.
type lost string

// loss tells from KVM's counters whether a guest is lost, "" if not.
func loss(n map[string]int) lost {
	switch windows, taken := n["irq_window_exits"], n["irq_injections"]; {
	case n["pf_guest"] > lostFaults:
		return lost(fmt.Sprintf("%d page faults injected", n["pf_guest"]))
	case windows > lostWindows && windows > perTaken*taken:
		return lost(fmt.Sprintf("%d interrupt windows for %d interrupts", windows, taken))
	}
	return ""
}

// debugfs is where this process mounted it.
var debugfs string

func mountDebugfs() (err error) {
	if debugfs, err = os.MkdirTemp("", "debugfs"); err != nil {
		return err
	}
	return unix.Mount("none", debugfs, "debugfs", 0, "")
}

// statistics returns KVM's counters for the guest of a process, but for those that are 0.
func statistics(pid int) map[string]int {
	var files []string
	all := map[string]int{}
	// The folder is called after the thread that made the VM.
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, thread := range threads {
		found, _ := filepath.Glob(fmt.Sprintf("%s/kvm/%s-*/*", debugfs, filepath.Base(thread)))
		files = append(files, found...)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a folder, or the VM is gone
		}
		if n, _ := strconv.Atoi(strings.TrimSpace(string(text))); n != 0 {
			all[filepath.Base(path)] = n
		}
	}
	return all
}

// start starts a VM whose loss ends the waiting for it; surviving starts over then.
func start(t testing.TB, program string, args ...string) *hvrun.Proc {
	t.Helper()
	return startCmd(t, exec.Command(program, args...))
}

// startCmd is start for a command that was prepared.
func startCmd(t testing.TB, cmd *exec.Cmd) *hvrun.Proc {
	t.Helper()
	p := hvrun.StartCmd(t, cmd)
	p.Watch = func() {
		if why := loss(statistics(p.Cmd.Process.Pid)); why != "" {
			p.Kill(t)
			panic(why)
		}
	}
	p.Stuck = func() {
		fmt.Fprintln(os.Stderr, "the bed's kernel does not run a process that was killed")
		os.Exit(bedFailed)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("KVM's counters of %s: %v", filepath.Base(cmd.Path), statistics(p.Cmd.Process.Pid))
		}
	})
	return p
}

// surviving carries out a scenario, and again if the bed lost its guest.
func surviving(t testing.TB, scenario func()) {
	t.Helper()
	enduring(t, scenario, func() int { return 0 })
}

// enduring is surviving for a scenario that goes on where it was, with left() steps to take.
func enduring(t testing.TB, scenario func(), left func() int) {
	t.Helper()
	for try, before := 1, left(); !survived(t, scenario); try++ {
		if n := left(); n < before {
			try, before = 0, n
		}
		if try == attempts {
			t.Fatalf("the bed lost the guest %d times in a row", attempts)
		}
	}
}

func survived(t testing.TB, scenario func()) (ok bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case lost:
			t.Logf("the bed's processor lost the guest (%s); it is started again", string(r))
			ok = false
		default:
			panic(r)
		}
	}()
	scenario()
	return true
}
