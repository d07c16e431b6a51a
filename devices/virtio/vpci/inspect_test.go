package vpci

import (
	"errors"
	"testing"

	"hv/devices/virtio"
)

// TestInspect follows a device from its reset to work and back.
func TestInspect(t *testing.T) {
	r := newRig(t, defaults())
	s := r.Inspect()
	if s.Active || s.Status != 0 || s.Accepted != 0 || len(s.Queues) != 2 || s.Queues[1].Largest != 128 || s.Queues[0].At != nil || s.Host != nil {
		t.Fatalf("idle: %+v", s)
	}
	if s.Offered != r.offers() {
		t.Errorf("offers %#x, the driver sees %#x", s.Offered, r.offers())
	}
	if !r.negotiate(virtio.FeatureVersion1) {
		t.Fatal("features were refused")
	}
	r.w(regQueueSel, 2, 1)
	r.w(regQueueSize, 2, 16)
	for i, at := range []uint64{0x1000, 0x2000, 0x3000} {
		r.w(regQueueDesc+8*uint64(i), 8, at)
	}
	r.w(regQueueEnable, 2, 1)
	r.w(regStatus, 1, 0xf)
	r.dev.lived()
	s = r.Inspect()
	q := s.Queues[1]
	if !s.Active || s.Accepted != virtio.FeatureVersion1 || s.QueueSel != 1 || q.At == nil || q.Config.Size != 16 || q.Config.Driver != 0x2000 || s.Queues[0].At != nil {
		t.Errorf("active: %+v", s)
	}
	if !r.dev.lived("pause", "resume") {
		t.Error("the device went on while it was looked at")
	}
	r.Pause()
	r.dev.lived()
	r.Inspect()
	if !r.dev.lived() {
		t.Error("a device that stands still was resumed")
	}
	r.NeedsReset(errors.New("mistake"))
	if s := r.Inspect(); s.Broken == nil || s.Status&virtio.StatusNeedsReset == 0 {
		t.Errorf("broken: %+v", s)
	}
	r.w(regStatus, 1, 0)
	if s := r.Inspect(); s.Active || s.Queues[1].At != nil {
		t.Errorf("after a reset: %+v", s)
	}
}
