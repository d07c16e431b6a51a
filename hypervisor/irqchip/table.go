package irqchip

import (
	"errors"
	"sync"

	"hv/hypervisor/kvm"
)

// errNoRoute says that every global system interrupt is taken.
var errNoRoute = errors.New("all interrupt routes of the VM are in use: use fewer devices, queues or vectors")

// table is the VM's interrupt routing table. The kernel takes it whole, and
// waits for readers each time; changes that come while it does so go together
// in the next commit.
type table struct {
	vm  *kvm.VM
	max int

	mu      sync.Mutex
	pins    []kvm.Route
	msis    map[uint32]kvm.Route
	used    []bool // by GSI, from firstVector
	changes uint64 // counts changes of msis

	committing sync.Mutex
	committed  uint64 // how many changes the kernel has
}

// Interrupt 0, the timer's, is input 2 of the I/O APIC, and input 2 of the PIC
// is the second PIC (ICH9 datasheet §5.9). The ACPI tables say so too.
const (
	timerGSI    = 0
	timerIOAPIC = 2
	cascadeIRQ  = 2
	picInputs   = 8
)

func (t *table) init(vm *kvm.VM) {
	t.vm, t.max = vm, vm.MaxRoutes()
	t.msis = map[uint32]kvm.Route{}
	for irq := range uint32(2 * picInputs) {
		if irq != cascadeIRQ {
			t.pins = append(t.pins, kvm.PinRoute(irq, kvm.ChipPICMaster+irq/picInputs, irq%picInputs))
		}
	}
	t.pins = append(t.pins, kvm.PinRoute(timerGSI, kvm.ChipIOAPIC, timerIOAPIC))
	for gsi := range uint32(kvm.IOAPICPins) {
		if gsi != timerGSI && gsi != cascadeIRQ {
			t.pins = append(t.pins, kvm.PinRoute(gsi, kvm.ChipIOAPIC, gsi))
		}
	}
	t.changes = 1
}

// take reserves a global system interrupt for messages.
func (t *table) take() (uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, used := range t.used {
		if !used {
			t.used[i] = true
			return firstVector + uint32(i), nil
		}
	}
	if len(t.pins)+len(t.used) >= t.max {
		return 0, errNoRoute
	}
	t.used = append(t.used, true)
	return firstVector + uint32(len(t.used)-1), nil
}

// release gives a global system interrupt back. The kernel forgets its route,
// which nothing signals any more, with the next commit.
func (t *table) release(gsi uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used[gsi-firstVector] = false
	if _, ok := t.msis[gsi]; ok {
		delete(t.msis, gsi)
		t.changes++
	}
}

// route points gsi at a message and returns when the kernel has it.
func (t *table) route(gsi uint32, addr uint64, data uint32) error {
	r := kvm.MSIRoute(gsi, addr, data)
	t.mu.Lock()
	if t.msis[gsi] == r {
		t.mu.Unlock()
		return t.commit()
	}
	t.msis[gsi] = r
	t.changes++
	t.mu.Unlock()
	return t.commit()
}

// commit returns when the kernel has all changes made before the call.
func (t *table) commit() error {
	t.mu.Lock()
	mine := t.changes
	t.mu.Unlock()
	t.committing.Lock()
	defer t.committing.Unlock()
	if t.committed >= mine {
		return nil
	}
	all, n := t.snapshot()
	if err := t.vm.SetRoutes(all); err != nil {
		return err
	}
	t.committed = n
	return nil
}

// snapshot returns the whole table and how many changes it has seen.
func (t *table) snapshot() ([]kvm.Route, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]kvm.Route, 0, len(t.pins)+len(t.msis))
	all = append(all, t.pins...)
	for _, r := range t.msis {
		all = append(all, r)
	}
	return all, t.changes
}
