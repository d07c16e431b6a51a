package vcpu

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/hypervisor/kvm"
)

func TestTripleFaultEndsTheVCPUUntilReset(t *testing.T) {
	b := newBox(t,
		0xe6, 0x10, // out 0x10, al
		0x0f, 0x0b, // ud2
	)
	var count counter
	b.port(0x10, 1, &count)
	c := b.add()
	for i := range int64(3) {
		b.resume()
		if cpu := await(b, "shutdown", b.sink.shutdown); cpu != 0 {
			t.Errorf("vCPU %d", cpu)
		}
		b.pause()
		b.resume() // to no effect
		if err := c.Do(func(*kvm.VCPU) {}); err != nil {
			t.Fatal(err)
		}
		if n := count.n.Load(); n != i+1 || len(b.sink.shutdown) != 0 {
			t.Fatalf("%d starts after %d resets", n, i)
		}
		if err := b.group.Reset(flatEntry); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInternalErrorIsDescribed(t *testing.T) {
	b := newBox(t,
		0xb8, 0x78, 0x56, 0x34, 0x12, // mov eax, 0x12345678
		0xb9, 0x00, 0x00, 0x00, 0xd0, // mov ecx, 0xd0000000
		0xff, 0xe1, // jmp ecx: no code can be fetched there
	)
	b.add()
	b.resume()
	var err *InternalError
	select {
	case err = <-b.sink.failed:
	case <-b.sink.shutdown:
		t.Skip("SKIPPED: this KVM makes a fault of running MMIO")
	}
	if err.CPU != 0 || err.Reason != kvm.ExitInternalError || !strings.Contains(err.Error(), "KVM internal error") {
		t.Errorf("%+v", err)
	}
	for _, want := range []string{"EAX=12345678", "EIP=d0000000", "CS =0010", "Code=", "<??>"} {
		if !strings.Contains(err.Dump(), want) {
			t.Errorf("%q is not in\n%s", want, err.Dump())
		}
	}
}

func TestCodeAroundTheInstructionPointer(t *testing.T) {
	b := newBox(t, spin...)
	c := b.add()
	var at, atStart, beyond string
	if err := c.Do(func(*kvm.VCPU) {
		at, atStart, beyond = c.code(codeBase, codeBase), c.code(codeBase, 0), c.code(ramSize-1, 2)
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(at)); n != codeBytes || !strings.Contains(at, "00 <e6> 10 eb fc 00") {
		t.Errorf("%d bytes: %s", n, at)
	}
	if !strings.HasPrefix(atStart, "<e6> 10 eb") {
		t.Error(atStart)
	}
	if !strings.HasPrefix(beyond, "00 00 <00> ?? ??") {
		t.Error(beyond)
	}
}

func TestFailureOfTheCallItself(t *testing.T) {
	b := newBox(t, spin...)
	c := b.add()
	var e *InternalError
	if err := c.Do(func(*kvm.VCPU) { e = c.internalError(unix.EFAULT) }); err != nil {
		t.Fatal(err)
	}
	if e.Error() != "vCPU 0: KVM_RUN: bad address" || !strings.Contains(e.Registers, "EIP=00001000") {
		t.Error(e.Dump())
	}
	if !strings.Contains(c.cause(), "KVM_EXIT") {
		t.Error(c.cause())
	}
}
