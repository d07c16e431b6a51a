package kvm

import (
	"runtime"
	"unsafe"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// xsaveRegion is the size of struct kvm_xsave without its extension.
const xsaveRegion = 4096

// ioctl makes one call and repeats it when a signal came first. What arg points
// to stays where it is: the conversion is part of the call, as package unsafe
// demands, which is what gokvm's helpers with a uintptr do not ensure.
func ioctl(fd int, op uintptr, arg unsafe.Pointer) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), op, uintptr(arg))
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// call makes a call whose argument is a number.
func call(fd int, nr, arg uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIO(nr), arg)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// get makes an _IOR call that fills a T.
func get[T any](fd int, nr uintptr) (*T, error) {
	v := new(T)
	_, err := ioctl(fd, gokvm.IIOR(nr, unsafe.Sizeof(*v)), unsafe.Pointer(v))
	return v, err
}

// set makes an _IOW call that takes a T.
func set[T any](fd int, nr uintptr, v *T) error {
	_, err := ioctl(fd, gokvm.IIOW(nr, unsafe.Sizeof(*v)), unsafe.Pointer(v))
	return err
}

// update makes an _IOWR call that reads and changes a T.
func update[T any](fd int, nr uintptr, v *T) error {
	_, err := ioctl(fd, gokvm.IIOWR(nr, unsafe.Sizeof(*v)), unsafe.Pointer(v))
	return err
}

// array is a count and padding followed by entries, in one piece of memory, as
// struct kvm_cpuid2, kvm_msrs and kvm_irq_routing are. All their entries are
// multiples of eight bytes.
type array[E any] struct {
	words   []uint64
	entries []E
}

// arrayHeader is the size of the count and padding.
const arrayHeader = 8

func newArray[E any](n int) array[E] {
	var e E
	words := make([]uint64, 1+n*int(unsafe.Sizeof(e))/arrayHeader)
	words[0] = uint64(n)
	if n == 0 {
		return array[E]{words: words}
	}
	return array[E]{words, unsafe.Slice((*E)(unsafe.Pointer(&words[1])), n)}
}

// count returns the count, which the kernel may have changed.
func (a array[E]) count() int { return int(uint32(a.words[0])) }

// ioctl makes the call whose direction is given by op: gokvm.IIOW or IIOWR.
func (a array[E]) ioctl(fd int, op func(nr, size uintptr) uintptr, nr uintptr) (int, error) {
	return ioctl(fd, op(nr, arrayHeader), unsafe.Pointer(&a.words[0]))
}

// msrList makes a call that lists MSRs with room for n indices and returns how many
// there are.
func msrList(fd int, nr uintptr, n int) ([]uint32, int, error) {
	list := make([]uint32, 1+n)
	list[0] = uint32(n)
	_, err := ioctl(fd, gokvm.IIOWR(nr, unsafe.Sizeof(list[0])), unsafe.Pointer(&list[0]))
	return list[1:], int(list[0]), err
}

// xsave makes one of the calls on struct kvm_xsave, which b holds.
func xsave(fd int, op func(nr, size uintptr) uintptr, nr uintptr, b []byte) error {
	_, err := ioctl(fd, op(nr, xsaveRegion), unsafe.Pointer(&b[0]))
	return err
}

// getDirtyLog makes KVM_GET_DIRTY_LOG into bitmap.
func getDirtyLog(fd int, slot uint32, bitmap []uint64) error {
	pin := pinned(&bitmap[0])
	defer pin.Unpin()
	return set(fd, nrGetDirtyLog, &dirtyLog{Slot: slot, BitMap: uint64(uintptr(unsafe.Pointer(&bitmap[0])))})
}

// clear makes KVM_CLEAR_DIRTY_LOG for the pages set in bitmap.
func (c *clearDirtyLog) clear(fd int, bitmap []uint64) error {
	pin := pinned(&bitmap[0])
	defer pin.Unpin()
	c.bitmap = uint64(uintptr(unsafe.Pointer(&bitmap[0])))
	return update(fd, nrClearDirtyLog, c)
}

// pinned keeps p where it is while the kernel is told its address in a structure.
func pinned(p *uint64) *runtime.Pinner {
	pin := new(runtime.Pinner)
	pin.Pin(p)
	return pin
}

// addressOf returns the address of a mapping, which the garbage collector does
// not move.
func addressOf(data []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))) }

// setIRQChip makes KVM_SET_IRQCHIP, which is an _IOR although it sets.
func setIRQChip(fd int, c *IRQChip) error {
	_, err := ioctl(fd, gokvm.IIOR(nrSetIRQChip, unsafe.Sizeof(*c)), unsafe.Pointer(c))
	return err
}

// setIRQLine makes KVM_IRQ_LINE. It is not an instance of set, whose argument
// the compiler puts on the heap for callers in other packages.
func setIRQLine(fd int, l *irqLevel) error {
	_, err := ioctl(fd, gokvm.IIOW(nrIRQLine, unsafe.Sizeof(*l)), unsafe.Pointer(l))
	return err
}

// signalMSI makes KVM_SIGNAL_MSI and returns how many vCPUs took the message,
// or less than one when it was coalesced or masked.
func signalMSI(fd int, m *msi) (int, error) {
	return ioctl(fd, gokvm.IIOW(nrSignalMSI, unsafe.Sizeof(*m)), unsafe.Pointer(m))
}
