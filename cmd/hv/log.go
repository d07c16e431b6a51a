package main

import (
	"fmt"
	"io"
	"os"

	"github.com/sirupsen/logrus"

	"hv/hypervisor/config"
	"hv/systemd/journald"
)

// newLogger sets logging up, once: to the journal if that is where standard error
// goes, as JSON under systemd otherwise, and as lines like QEMU's elsewhere.
func newLogger(cfg *config.Config) (*logrus.Entry, error) {
	l, plain := logrus.New(), false
	l.SetOutput(os.Stderr)
	switch {
	case cfg.LogFile != "":
		f, err := os.OpenFile(cfg.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("-D: %w", err)
		}
		l.SetOutput(f)
		l.SetFormatter(&logrus.JSONFormatter{})
	case journald.Connected():
		l.SetOutput(io.Discard)
		l.AddHook(journald.Hook{})
	case os.Getenv("INVOCATION_ID") != "":
		l.SetFormatter(&logrus.JSONFormatter{})
	default:
		plain = true
		l.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: !cfg.Timestamps, FullTimestamp: true})
		// An interactive user sees what needs attention; files and journals get
		// the rest too.
		l.SetLevel(logrus.WarnLevel)
	}
	e := logrus.NewEntry(l)
	if cfg.Name != "" && (cfg.GuestNames || !plain) {
		e = e.WithField("vm", cfg.Name)
	}
	return e, nil
}
