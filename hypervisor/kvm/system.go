package kvm

import (
	"errors"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// DevicePath is where KVM is found.
const DevicePath = "/dev/kvm"

// System is an open /dev/kvm.
type System struct {
	fd      int
	runSize int // bytes of struct kvm_run with the pages behind it
}

// Open opens the KVM device at path, usually DevicePath, and checks that it has
// what hv needs. The error says what to do; MissingErrors are joined in it.
func Open(path string) (*System, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	s := &System{fd: fd}
	if err := s.verify(path); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// openError adds to err what can be done about it.
func openError(path string, err error) error {
	advice := "check that it is the KVM character device"
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		advice = "load kvm_amd or kvm_intel, and switch virtualization on in the firmware or, inside a VM, nesting in the outer hypervisor"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		advice = "run as a member of its group (usually kvm) or as root"
	case errors.Is(err, unix.EBUSY):
		advice = "another hypervisor holds the processor's virtualization extension: stop it"
	}
	return fmt.Errorf("open %s: %w: %s", path, err, advice)
}

func (s *System) verify(path string) error {
	version, err := gokvm.GetAPIVersion(uintptr(s.fd))
	if err != nil {
		return openError(path, err)
	}
	if version != apiVersion {
		return fmt.Errorf("%s has API version %d, not %d: update the host's kernel", path, version, apiVersion)
	}
	size, err := gokvm.GetVCPUMMmapSize(uintptr(s.fd))
	if err != nil {
		return fmt.Errorf("size of the vCPU mapping of %s: %w", path, err)
	}
	s.runSize = int(size)
	return missing(s.Check)
}

// Check returns what KVM_CHECK_EXTENSION says of c: 0 when it is absent,
// otherwise 1 or a value that depends on c.
func (s *System) Check(c Capability) int { return check(s.fd, c) }

func check(fd int, c Capability) int {
	r, err := gokvm.CheckExtension(uintptr(fd), c)
	if err != nil {
		return 0
	}
	return int(r)
}

// Close closes the device. VMs made from it stay.
func (s *System) Close() error { return unix.Close(s.fd) }

// entriesAtFirst is the room tried first for lists whose length the kernel knows.
const entriesAtFirst = 128

// SupportedCPUID returns what KVM_GET_SUPPORTED_CPUID offers: the leaves that
// the processor and KVM can give a guest.
func (s *System) SupportedCPUID() ([]CPUIDEntry2, error) {
	for n := entriesAtFirst; ; n *= 2 {
		a := newArray[CPUIDEntry2](n)
		_, err := a.ioctl(s.fd, gokvm.IIOWR, nrGetSupportedCPUID)
		switch {
		case err == nil:
			return a.entries[:a.count()], nil
		case !errors.Is(err, unix.E2BIG) || n >= 1<<16:
			return nil, fmt.Errorf("get the CPUID leaves that KVM supports: %w", err)
		}
	}
}

// MSRIndexList returns the MSRs that make up a vCPU's state
// (KVM_GET_MSR_INDEX_LIST).
func (s *System) MSRIndexList() ([]uint32, error) { return s.msrList(nrGetMSRIndexList) }

func (s *System) msrList(nr uintptr) ([]uint32, error) {
	_, n, err := msrList(s.fd, nr, 0)
	if err != nil && !errors.Is(err, unix.E2BIG) {
		return nil, fmt.Errorf("count the MSRs of KVM: %w", err)
	}
	list, n, err := msrList(s.fd, nr, n)
	if err != nil {
		return nil, fmt.Errorf("list the MSRs of KVM: %w", err)
	}
	return list[:min(n, len(list))], nil
}

// FeatureMSRs returns the MSRs that tell of features, with what KVM can give a guest of
// them (KVM_GET_MSR_FEATURE_INDEX_LIST). It is empty where KVM is too old for that.
func (s *System) FeatureMSRs() (map[uint32]uint64, error) {
	values := map[uint32]uint64{}
	if s.Check(CapGetMSRFeatures) == 0 {
		return values, nil
	}
	list, err := s.msrList(nrGetMSRFeatureList)
	if err != nil {
		return nil, err
	}
	for _, index := range list {
		a := newArray[MSREntry](1)
		a.entries[0].Index = index
		switch n, err := a.ioctl(s.fd, gokvm.IIOWR, nrGetMSRs); {
		case err != nil:
			return nil, fmt.Errorf("get feature MSR %#x of KVM: %w", index, err)
		case n == 1:
			values[index] = a.entries[0].Data
		}
	}
	return values, nil
}

// MCECap returns the machine-check capabilities that KVM can give a vCPU: the
// largest number of banks in the low byte, flags of IA32_MCG_CAP above it.
func (s *System) MCECap() (uint64, error) {
	v, err := get[uint64](s.fd, nrGetMCECapSupported)
	if err != nil {
		return 0, fmt.Errorf("get the machine-check capabilities of KVM: %w", err)
	}
	return *v&^mceBanks | uint64(s.Check(CapMCE))&mceBanks, nil
}

// mceBanks is the field of IA32_MCG_CAP with the number of banks.
const mceBanks = 0xff
