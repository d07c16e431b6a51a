package rxfilter

import (
	"bytes"
	"os"
	"sync"
)

// Hurry shortens changes of a macvtap's address: in the midst of one, the kernel waits for
// all processors to be past what they do (macvlan_hash_change_addr), 15 ms and more, in
// which the guest hears nothing and nobody else can configure a link. The wait ends at once
// while /sys/kernel/rcu_expedited is set, which Hurry does for the time of a change. Any
// number of goroutines may use it. A nil Hurry does nothing.
type Hurry struct {
	mu   sync.Mutex
	knob *os.File
}

// NewHurry opens a knob of the kernel, /sys/kernel/rcu_expedited.
func NewHurry(path string) (*Hurry, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Hurry{knob: f}, nil
}

// Do runs a function while the kernel hurries. Who had set the knob before finds it set.
func (h *Hurry) Do(f func() error) error {
	if h == nil {
		return f()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clear() {
		if _, err := h.knob.WriteAt([]byte("1\n"), 0); err == nil {
			defer h.knob.WriteAt([]byte("0\n"), 0)
		}
	}
	return f()
}

func (h *Hurry) clear() bool {
	var b [4]byte
	n, _ := h.knob.ReadAt(b[:], 0)
	return bytes.Equal(bytes.TrimSpace(b[:n]), []byte("0"))
}

// Close closes the knob.
func (h *Hurry) Close() {
	if h != nil {
		h.knob.Close()
	}
}
