// Package notify tells systemd how a process is doing: that it is ready, that
// it is stopping, what it is about, and that it is alive (sd_notify(3),
// sd_watchdog_enabled(3)). Outside systemd every call does nothing.
//
// A Watchdog owns one goroutine, which its Close ends and waits for.
package notify

import (
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells systemd that the service is up, with a status line for
// systemctl.
func Ready(status string) error { return send(daemon.SdNotifyReady + "\nSTATUS=" + status) }

// Stopping tells systemd that the service has begun to shut down.
func Stopping() error { return send(daemon.SdNotifyStopping) }

func send(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// Watchdog keeps systemd's watchdog fed while alive says so.
type Watchdog struct {
	stop chan struct{}
	done sync.WaitGroup
}

// StartWatchdog pets the watchdog twice per period of WatchdogSec=, as long as
// alive returns in time. It returns nil when systemd set no watchdog.
func StartWatchdog(alive func()) (*Watchdog, error) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("systemd watchdog: %w", err)
	}
	if period == 0 {
		return nil, nil
	}
	w := &Watchdog{stop: make(chan struct{})}
	w.done.Go(func() { w.run(period/2, alive) })
	return w, nil
}

func (w *Watchdog) run(every time.Duration, alive func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			alive()
			_ = send(daemon.SdNotifyWatchdog)
		}
	}
}

// Close ends the petting. A nil Watchdog may be closed.
func (w *Watchdog) Close() {
	if w == nil {
		return
	}
	close(w.stop)
	w.done.Wait()
}
