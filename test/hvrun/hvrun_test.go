package hvrun

import (
	"os"
	"strings"
	"testing"
)

// TestThreads shows this process's threads, none of which is in an uninterruptible wait.
func TestThreads(t *testing.T) {
	where, waits := threads(os.Getpid())
	if waits || !strings.Contains(where, ": State:\tR") && !strings.Contains(where, ": State:\tS") {
		t.Errorf("%v: %s", waits, where)
	}
}
