package vcpu

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"hv/hypervisor/kvm"
)

// InternalError is why KVM cannot run a vCPU any further, and in what state the
// vCPU was.
type InternalError struct {
	CPU       int
	Reason    kvm.ExitReason
	Cause     string // one line
	Registers string // as Dump has them
	Code      string // bytes around the instruction pointer, that one in <>
}

// Error returns the cause, without the dump.
func (e *InternalError) Error() string { return fmt.Sprintf("vCPU %d: %s", e.CPU, e.Cause) }

// Dump returns everything, in several lines.
func (e *InternalError) Dump() string {
	return e.Error() + "\n" + e.Registers + "Code=" + e.Code + "\n"
}

// internalError describes the exit that just happened, on the vCPU's thread.
func (c *VCPU) internalError(errno unix.Errno) *InternalError {
	e := &InternalError{CPU: c.cfg.Index, Reason: c.kv.ExitReason(), Cause: "KVM_RUN: " + errno.Error()}
	if errno == 0 {
		e.Cause = c.cause()
	}
	regs, err1 := c.kv.Regs()
	sregs, err2 := c.kv.Sregs()
	if err1 == nil && err2 == nil {
		e.Registers = formatRegisters(regs, sregs)
		e.Code = c.code(sregs.CS.Base+regs.RIP, regs.RIP)
	}
	return e
}

// cause puts an exit into words.
func (c *VCPU) cause() string {
	switch reason := c.kv.ExitReason(); reason {
	case kvm.ExitInternalError:
		kind, data := c.kv.InternalErrorData()
		name := map[uint32]string{
			kvm.InternalErrorEmulation:      "emulation failure",
			kvm.InternalErrorSimultaneous:   "unexpected simultaneous exceptions",
			kvm.InternalErrorDelivery:       "unexpected exit while delivering an event",
			kvm.InternalErrorUnexpectedExit: "unexpected exit reason",
		}[kind]
		return fmt.Sprintf("KVM internal error, suberror %d (%s), extra data %#x", kind, name, data)
	case kvm.ExitFailEntry, kvm.ExitUnknown:
		return fmt.Sprintf("%v, hardware reason %#x", reason, c.kv.HardwareReason())
	default:
		return fmt.Sprintf("unexpected %v", reason)
	}
}

// Bytes shown before the instruction pointer, and in all.
const (
	codeBefore = 43
	codeBytes  = 64
)

// code returns the bytes around the linear address ip in hex, ?? where there is
// no RAM. It does not go back beyond the segment's start, offset bytes before.
func (c *VCPU) code(ip, offset uint64) string {
	var b strings.Builder
	before := min(offset, codeBefore)
	for i := range uint64(codeBytes) {
		format := " %s"
		switch i {
		case before:
			format = " <%s>"
		case 0:
			format = "%s"
		}
		if i == 0 {
			format = strings.TrimPrefix(format, " ")
		}
		fmt.Fprintf(&b, format, c.codeByte(ip-before+i))
	}
	return b.String()
}

func (c *VCPU) codeByte(linear uint64) string {
	phys, ok, err := c.kv.Translate(linear)
	if err != nil || !ok || c.spaces.RAM == nil {
		return "??"
	}
	var p [1]byte
	if c.spaces.RAM.ReadAt(p[:], phys) != nil {
		return "??"
	}
	return fmt.Sprintf("%02x", p[0])
}
