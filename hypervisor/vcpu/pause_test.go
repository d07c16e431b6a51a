package vcpu

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/hypervisor/kvm"
)

func TestPausedMeansStill(t *testing.T) {
	b := newBox(t, spin...)
	var count counter
	b.port(0x10, 1, &count)
	c := b.add()
	for range 20 {
		b.resume()
		count.waitFor(b, 10)
		b.pause()
		before := count.n.Load()
		if err := c.Do(func(*kvm.VCPU) {}); err != nil {
			t.Fatal(err)
		}
		if after := count.n.Load(); after != before {
			t.Fatalf("%d accesses while paused", after-before)
		}
	}
}

// TestPauseCompletesAccesses counts in the guest and in the device: after every
// pause they agree, and the instruction pointer is beyond the access.
func TestPauseCompletesAccesses(t *testing.T) {
	b := newBox(t,
		0xe4, 0x10, // l: in al, 0x10
		0x43,       // inc ebx
		0xeb, 0xfb, // jmp l
	)
	var reads readCounter
	b.port(0x10, 1, &reads)
	c := b.add()
	for i := 0; i < 200 || reads.n == 0; i++ {
		b.resume()
		if i%2 == 0 {
			runtime.Gosched()
		}
		b.pause()
		var regs *kvm.Regs
		var err error
		if e := c.Do(func(kv *kvm.VCPU) { regs, err = kv.Regs() }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		if reads.n == 0 {
			continue
		}
		done := int(uint32(regs.RBX)) - 0xb00
		if regs.RIP == codeBase+2 {
			done++ // between IN and INC
		}
		if done != reads.n || byte(regs.RAX) != byte(reads.n) {
			t.Fatalf("the guest read %d times, the last was %d, at %#x; the device was read %d times", done, byte(regs.RAX), regs.RIP, reads.n)
		}
	}
}

// readCounter answers with how often it was read.
type readCounter struct{ n int }

func (r *readCounter) Read(_ uint64, data []byte) { r.n++; data[0] = byte(r.n) }
func (r *readCounter) Write(uint64, []byte)       {}

// TestHammer pauses, resumes and interrupts from several goroutines.
func TestHammer(t *testing.T) {
	b := newBox(t, spin...)
	var count counter
	b.port(0x10, 1, &count)
	c := b.add()
	rounds := 5000
	if testing.Short() {
		rounds = 500
	}
	b.resume()
	var group sync.WaitGroup
	for seed := range uint64(3) {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			for range rounds {
				hammer(t, c, rnd.IntN(5))
			}
		})
	}
	group.Wait()
	c.Resume()
	count.waitFor(b, 100)
}

func hammer(t *testing.T, c *VCPU, verb int) {
	switch verb {
	case 0:
		c.RequestPause()
	case 1:
		c.Resume()
	case 2:
		ran := false
		if err := c.Do(func(*kvm.VCPU) { ran = true }); err != nil || !ran {
			t.Error(ran, err)
		}
	case 3:
		if err := c.NMI(); err != nil {
			t.Error(err)
		}
		if err := c.Reset(flatEntry(c)); err != nil {
			t.Error(err)
		}
	case 4:
		if text, err := c.Registers(); text == "" || err != nil {
			t.Error(err)
		}
	}
}

func TestPauseResumeCycles(t *testing.T) {
	b := newBox(t, spin...)
	var count counter
	b.port(0x10, 1, &count)
	b.add()
	b.add() // waits for a SIPI that never comes
	for range 1000 {
		b.resume()
		b.pause()
	}
	b.resume()
	count.waitFor(b, 10)
}

func TestHaltedVCPUCanBePaused(t *testing.T) {
	b := newBox(t, sleep...)
	d := newDevice()
	b.port(0x10, 1, d)
	c := b.add()
	b.resume()
	await(b, "the guest", d.writes)
	for range 100 {
		b.pause()
		b.resume()
	}
	b.pause()
	if err := c.Reset(flatEntry(c)); err != nil {
		t.Fatal(err)
	}
	b.resume()
	await(b, "the guest after a reset", d.writes)
}

// stopper asks for a pause from the vCPU's own thread.
type stopper struct {
	group *Group
	hits  chan struct{}
}

func (s *stopper) Read(uint64, []byte) {}
func (s *stopper) Write(uint64, []byte) {
	s.group.RequestPause()
	s.hits <- struct{}{}
}

func TestDeviceCanStopItsVCPU(t *testing.T) {
	b := newBox(t, spin...)
	s := &stopper{group: b.group, hits: make(chan struct{}, 16)}
	b.port(0x10, 1, s)
	c := b.add()
	for range 100 {
		b.resume()
		await(b, "access", s.hits)
		c.WaitPaused()
		b.pause()
		if len(s.hits) != 0 {
			t.Fatal("the access was not the last")
		}
	}
}

func TestCloseWhileRunning(t *testing.T) {
	b := newBox(t, spin...)
	var count counter
	b.port(0x10, 1, &count)
	c := b.add()
	b.resume()
	count.waitFor(b, 1)
	if err := b.group.Close(); err != nil {
		t.Error(err)
	}
	b.group.cpus = nil
	if err := c.Do(func(*kvm.VCPU) {}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := errors.Join(c.NMI(), c.Reset(Entry{})); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Registers(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if unix.Tgkill(unix.Getpid(), c.Tid(), 0) == nil {
		waitGone(t, c.Tid())
	}
}

// waitGone waits for a thread to end.
func waitGone(t *testing.T, tid int) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for unix.Tgkill(unix.Getpid(), tid, 0) == nil {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the thread outlives its vCPU")
		}
	}
}

func TestCloseWithoutStart(t *testing.T) {
	b := newBox(t)
	c, err := New(b.vm, Config{CPUID: b.cpuid}, Spaces{}, b.sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(func(*kvm.VCPU) {}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	c.RequestPause()
	c.WaitPaused()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestClockStandsStillWhilePaused(t *testing.T) {
	b := newBox(t, spin...)
	b.add()
	b.resume()
	b.pause()
	stopped := b.group.clock
	const stop = 500 * time.Millisecond
	<-time.After(stop)
	b.resume()
	now, err := b.vm.Clock()
	if err != nil {
		t.Fatal(err)
	}
	if passed := time.Duration(now.Clock - stopped); now.Clock < stopped || passed >= stop {
		t.Errorf("%v passed for the guest", passed)
	}
}

// TestClockGoesOnWhileHeld has the clock pass a moment of the hold, and never be set back to
// where the hold began.
func TestClockGoesOnWhileHeld(t *testing.T) {
	b := newBox(t, spin...)
	var count counter
	b.port(0x10, 1, &count)
	b.add()
	b.resume()
	for range 20 {
		count.waitFor(b, 10)
		b.group.Hold()
		before := count.n.Load()
		held, err := b.vm.Clock()
		if err != nil {
			t.Fatal(err)
		}
		if after := count.n.Load(); after != before {
			t.Fatalf("%d accesses while held", after-before)
		}
		b.resume()
		if now, err := b.vm.Clock(); err != nil || now.Clock < held.Clock {
			t.Fatalf("the clock went from %d to %d, %v", held.Clock, now.Clock, err)
		}
	}
	b.pause()
}

func TestUnblock(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (kickSignal - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		t.Fatal(err)
	}
	unblock(kickSignal)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &old); err != nil || old.Val[0]&set.Val[0] != 0 {
		t.Errorf("mask %#x, %v", old.Val[0], err)
	}
}

func TestHotAddedVCPURunsAtOnce(t *testing.T) {
	b := newBox(t, sleep...)
	d := newDevice()
	b.port(0x10, 1, d)
	b.resume()
	b.add()
	await(b, "the guest", d.writes)
}
