// Package journald sends log entries to systemd's journal with their fields,
// when that is where the process's standard error goes (systemd.exec(5),
// JOURNAL_STREAM).
//
// A Hook may be used from any goroutine.
package journald

import (
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

// Connected reports whether standard error is a stream to the journal.
func Connected() bool {
	ok, err := journal.StderrIsJournalStream()
	return err == nil && ok
}

// Hook is a logrus hook that writes to the journal. Fields become journal
// fields in upper case.
type Hook struct{}

// Levels makes the hook see every entry that is logged.
func (Hook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire sends an entry.
func (Hook) Fire(e *logrus.Entry) error {
	vars := make(map[string]string, len(e.Data))
	for k, v := range e.Data {
		vars[fieldName(k)] = fmt.Sprint(v)
	}
	return journal.Send(e.Message, Priority(e.Level), vars)
}

// Priority maps a level to a syslog priority.
func Priority(l logrus.Level) journal.Priority {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel:
		return journal.PriCrit
	case logrus.ErrorLevel:
		return journal.PriErr
	case logrus.WarnLevel:
		return journal.PriWarning
	case logrus.InfoLevel:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// fieldName makes k a legal field name: upper-case letters, digits and
// underscores, beginning with a letter.
func fieldName(k string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, k)
	return "HV_" + name
}
