package vm

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"hv/hypervisor/kvm"
	"hv/hypervisor/mem"
	"hv/hypervisor/paging"
	"hv/hypervisor/vcpu"
	"hv/qmp/qapi"
)

// holeyFile writes a file in order. Zeros may be left out of it, where it can have holes.
type holeyFile struct {
	f    *os.File
	hole uint64 // zeros that are due
}

// create opens a file to write memory to, with os.OpenFile or its like. A pipe that nobody
// reads is an error.
func create(open func(string, int, os.FileMode) (*os.File, error), name string, perm os.FileMode) (*os.File, error) {
	f, err := open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, perm)
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno // the message names the file already
	}
	if err != nil {
		return nil, fmt.Errorf("Could not open '%s': %w", name, err)
	}
	return f, nil
}

// skip leaves n zeros.
func (h *holeyFile) skip(n uint64) { h.hole += n }

// Write writes what follows the zeros.
func (h *holeyFile) Write(p []byte) (int, error) {
	if err := h.fill(); err != nil {
		return 0, err
	}
	return h.f.Write(p)
}

// fill makes the zeros that are due, as a hole if that is possible.
func (h *holeyFile) fill() error {
	if h.hole == 0 {
		return nil
	}
	at, err := h.f.Seek(int64(min(h.hole, math.MaxInt64)), io.SeekCurrent)
	switch {
	case err == nil:
		h.hole = 0
		return h.f.Truncate(at)
	case !errors.Is(err, unix.ESPIPE):
		return err
	}
	zeros := make([]byte, mem.PageSize)
	for h.hole > 0 {
		n, err := h.f.Write(zeros[:min(h.hole, mem.PageSize)])
		h.hole -= uint64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// close writes the last zeros and closes the file.
func (h *holeyFile) close() error { return errors.Join(h.fill(), h.f.Close()) }

// copyRAM writes guest memory; what is not RAM is zeros.
func (h *holeyFile) copyRAM(m *mem.Memory, addr, n uint64) error {
	for _, r := range m.Regions() {
		if n > 0 && addr < r.Base {
			gap := min(n, r.Base-addr)
			h.skip(gap)
			addr, n = addr+gap, n-gap
		}
		if n == 0 || addr >= r.End() {
			continue
		}
		part := r.Data[addr-r.Base:]
		part = part[:min(n, uint64(len(part)))]
		if _, err := h.Write(part); err != nil {
			return err
		}
		addr, n = addr+uint64(len(part)), n-uint64(len(part))
	}
	h.skip(n)
	return nil
}

// saveMemory has f write to a file.
func saveMemory(name string, size int64, f func(*holeyFile) error) error {
	if size < 0 {
		return errors.New("Invalid parameter 'size'")
	}
	file, err := create(os.OpenFile, name, 0o666)
	if err != nil {
		return err
	}
	h := &holeyFile{f: file}
	return errors.Join(f(h), h.close())
}

// SavePhysical writes guest memory at a guest-physical address to a file. What is not RAM
// is zeros. Control goroutine only.
func (v *VM) SavePhysical(a qapi.PmemsaveArgs) error {
	return saveMemory(a.Filename, a.Size, func(h *holeyFile) error {
		return h.copyRAM(v.RAM(), uint64(a.Val), uint64(a.Size))
	})
}

// SaveLinear writes guest memory at a linear address of a vCPU to a file. Control
// goroutine only.
func (v *VM) SaveLinear(a qapi.MemsaveArgs) error {
	var index int64
	if a.CpuIndex != nil {
		index = *a.CpuIndex
	}
	c := v.cpu(index)
	if c == nil {
		return errors.New("Parameter 'cpu-index' expects a CPU number")
	}
	s, err := translation(c)
	if err != nil {
		return err
	}
	return saveMemory(a.Filename, a.Size, func(h *holeyFile) error {
		if !s.Enabled() {
			return h.copyRAM(v.RAM(), uint64(a.Val), uint64(a.Size))
		}
		for at, left := uint64(a.Val), uint64(a.Size); left > 0; {
			phys, n, ok := paging.Translate(v.RAM(), s, at)
			if !ok {
				return fmt.Errorf("Invalid addr 0x%016x/size %d specified", uint64(a.Val), a.Size)
			}
			n = min(n, left)
			if err := h.copyRAM(v.RAM(), phys, n); err != nil {
				return err
			}
			at, left = at+n, left-n
		}
		return nil
	})
}

// cpu returns the vCPU with an index, nil when there is none.
func (v *VM) cpu(index int64) *vcpu.VCPU {
	if v.hw.cpus == nil {
		return nil
	}
	for _, c := range v.hw.cpus.VCPUs() {
		if int64(c.Index()) == index {
			return c
		}
	}
	return nil
}

// translation returns how a vCPU translates addresses.
func translation(c *vcpu.VCPU) (paging.State, error) {
	var s paging.State
	err := onCPU(c, func(kv *kvm.VCPU) error {
		r, err := kv.Sregs()
		if err == nil {
			s = paging.State{CR0: r.CR0, CR3: r.CR3, CR4: r.CR4, EFER: r.EFER}
		}
		return err
	})
	return s, err
}

// onCPU runs f on a vCPU's thread.
func onCPU(c *vcpu.VCPU, f func(kv *kvm.VCPU) error) error {
	var err error
	if e := c.Do(func(kv *kvm.VCPU) { err = f(kv) }); e != nil {
		return e
	}
	return err
}
