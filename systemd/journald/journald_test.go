package journald

import (
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

func TestFieldName(t *testing.T) {
	for in, want := range map[string]string{"vm": "HV_VM", "exit-code": "HV_EXIT_CODE", "_x1": "HV__X1"} {
		if got := fieldName(in); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
}

func TestPriority(t *testing.T) {
	last := journal.PriEmerg
	for _, l := range logrus.AllLevels {
		p := Priority(l)
		if p < last {
			t.Errorf("level %s is more urgent than the one before", l)
		}
		last = p
	}
}

func TestConnected(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "")
	if Connected() {
		t.Error("a test's standard error is no journal stream")
	}
}
