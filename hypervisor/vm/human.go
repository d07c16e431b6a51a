package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"hv/hypervisor/kvm"
	"hv/hypervisor/vcpu"
	"hv/qmp/dispatch"
	"hv/qmp/hmp"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

// human is what the human monitor sees of the VM: its QMP commands, and what those do
// not tell. Any goroutine but the control goroutine may use it.
type human struct {
	*server.Server
	v *VM
}

var (
	_ hmp.Caller   = human{}
	_ hmp.Machine  = human{}
	_ hmp.Informer = human{}
)

// registerHuman adds human-monitor-command to a table. The monitor itself is made once
// the table is complete, by openHuman.
func (v *VM) registerHuman(t *dispatch.Table) {
	dispatch.Register(t, qapi.CmdHumanMonitorCommand, func(ctx context.Context, a qapi.HumanMonitorCommandArgs) (qapi.Text, error) {
		text, err := v.human.Execute(ctx, a.CommandLine, a.CpuIndex)
		return qapi.Text(text), err
	})
}

// openHuman makes the human monitor.
func (v *VM) openHuman() { v.human = hmp.New(human{v.server, v}) }

// serveHuman runs the human monitor on a connection. It says nothing before the machine
// is built: the console that may share a terminal with it has that first.
func (v *VM) serveHuman(ctx context.Context, conn io.ReadWriteCloser) error {
	if err := v.control.Do(ctx, func() {}); err != nil {
		return conn.Close()
	}
	return v.human.Serve(ctx, conn)
}

// do runs f on the control goroutine.
func (h human) do(ctx context.Context, f func() error) error {
	var err error
	if e := h.v.control.Do(ctx, func() { err = f() }); e != nil {
		return e
	}
	return err
}

// cpu runs f with a vCPU.
func (h human) cpu(ctx context.Context, index int, f func(c *vcpu.VCPU) error) error {
	return h.do(ctx, func() error {
		if h.v.hw.cpus != nil {
			for _, c := range h.v.hw.cpus.VCPUs() {
				if c.Index() == index {
					return f(c)
				}
			}
		}
		return fmt.Errorf("there is no CPU %d", index)
	})
}

// Registers implements hmp.Machine.
func (h human) Registers(ctx context.Context, cpu int) (text string, err error) {
	err = h.cpu(ctx, cpu, func(c *vcpu.VCPU) (err error) {
		text, err = c.Registers()
		return err
	})
	return text, err
}

// Register implements hmp.Machine.
func (h human) Register(ctx context.Context, cpu int, name string) (value uint64, ok bool) {
	err := h.cpu(ctx, cpu, func(c *vcpu.VCPU) error {
		var err error
		e := c.Do(func(kv *kvm.VCPU) {
			var r *kvm.Regs
			var s *kvm.Sregs
			if r, err = kv.Regs(); err != nil {
				return
			}
			if s, err = kv.Sregs(); err == nil {
				value, ok = register(r, s, name)
			}
		})
		return errors.Join(e, err)
	})
	return value, ok && err == nil
}

// register finds a register by QEMU's name for it, or by the processor's.
func register(r *kvm.Regs, s *kvm.Sregs, name string) (uint64, bool) {
	general := map[string]uint64{
		"ax": r.RAX, "bx": r.RBX, "cx": r.RCX, "dx": r.RDX, "si": r.RSI, "di": r.RDI, "bp": r.RBP, "sp": r.RSP, "ip": r.RIP, "flags": r.RFLAGS,
	}
	if len(name) > 2 && (name[0] == 'e' || name[0] == 'r') {
		if v, ok := general[name[1:]]; ok {
			return v, true
		}
	}
	other := map[string]uint64{
		"r8": r.R8, "r9": r.R9, "r10": r.R10, "r11": r.R11, "r12": r.R12, "r13": r.R13, "r14": r.R14, "r15": r.R15, "pc": r.RIP,
		"cr0": s.CR0, "cr2": s.CR2, "cr3": s.CR3, "cr4": s.CR4, "cr8": s.CR8, "efer": s.EFER,
	}
	if v, ok := other[name]; ok {
		return v, true
	}
	seg, part, _ := strings.Cut(name, ".")
	segments := map[string]*kvm.Segment{"cs": &s.CS, "ds": &s.DS, "es": &s.ES, "fs": &s.FS, "gs": &s.GS, "ss": &s.SS}
	g, ok := segments[seg]
	switch {
	case !ok:
		return 0, false
	case part == "base":
		return g.Base, true
	case part == "limit":
		return uint64(g.Limit), true
	}
	return uint64(g.Selector), part == ""
}

// ReadPhysical implements hmp.Machine.
func (h human) ReadPhysical(ctx context.Context, addr uint64, p []byte) error {
	return h.do(ctx, func() error {
		if h.v.hw.mem == nil {
			return errors.New("the machine has no memory")
		}
		return h.v.hw.mem.ReadAt(p, addr)
	})
}

// Translate implements hmp.Machine.
func (h human) Translate(ctx context.Context, cpu int, addr uint64) (physical uint64, ok bool) {
	err := h.cpu(ctx, cpu, func(c *vcpu.VCPU) error {
		var err error
		e := c.Do(func(kv *kvm.VCPU) { physical, ok, err = kv.Translate(addr) })
		return errors.Join(e, err)
	})
	return physical, ok && err == nil
}

// Info implements hmp.Informer.
func (h human) Info(topic string) func(context.Context) (string, error) {
	write := map[string]func(io.Writer){
		"network": h.v.writeNetwork, "qdm": h.v.opt.Registry.Help, "qtree": h.v.writeTree, "mtree": h.v.writeMemory,
	}[topic]
	if write == nil {
		return nil
	}
	return func(ctx context.Context) (string, error) {
		var b strings.Builder
		err := h.do(ctx, func() error { write(&b); return nil })
		return b.String(), err
	}
}
