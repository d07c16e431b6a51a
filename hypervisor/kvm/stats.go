package kvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// StatKind is how a statistic behaves (KVM_STATS_TYPE_*).
type StatKind uint8

// Kinds of statistic.
const (
	StatCumulative StatKind = iota
	StatInstant
	StatPeak
	StatLinearHistogram
	StatLog2Histogram
)

// StatUnit is what a statistic counts (KVM_STATS_UNIT_*).
type StatUnit uint8

// Units of statistics.
const (
	StatNumber StatUnit = iota
	StatBytes
	StatSeconds
	StatCycles
	StatBoolean
)

// Stat describes a statistic. Values are multiples of Base to the power of Exponent.
type Stat struct {
	Name       string
	Kind       StatKind
	Unit       StatUnit
	Base       int // 10 or 2
	Exponent   int16
	BucketSize uint32 // of a linear histogram
	Size       int    // how many values it has
	offset     int64
}

// Stats is the statistics that the kernel keeps of a VM or a vCPU (KVM_GET_STATS_FD). Its
// methods may be called from any goroutine.
type Stats struct {
	file *os.File
	data int64
	// All describes them, those of a kind or unit that is not known here left out.
	All []Stat
}

// Stats opens the VM's statistics.
func (vm *VM) Stats() (*Stats, error) { return openStats(vm.fd) }

// Stats opens the vCPU's statistics; the vCPU must not be running. What is opened may be
// read while it runs.
func (v *VCPU) Stats() (*Stats, error) {
	s, err := openStats(v.fd)
	return s, v.wrap("open the statistics", err)
}

func openStats(of int) (*Stats, error) {
	fd, err := call(of, nrGetStatsFD, 0)
	if err != nil {
		return nil, fmt.Errorf("KVM statistics: %w", err)
	}
	s := &Stats{file: os.NewFile(uintptr(fd), "kvm-stats")}
	if err := s.describe(s.file); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("KVM statistics: %w", err)
	}
	return s, nil
}

// Close closes the statistics.
func (s *Stats) Close() error { return s.file.Close() }

// statsHeader is struct kvm_stats_header.
type statsHeader struct{ Flags, NameSize, NumDesc, IDOffset, DescOffset, DataOffset uint32 }

// statsDesc is struct kvm_stats_desc, without the name after it.
type statsDesc struct {
	Flags      uint32
	Exponent   int16
	Size       uint16
	Offset     uint32
	BucketSize uint32
}

// maxStats bounds what is believed of the kernel: a hundred times what there is.
const maxStats = 1 << 14

// describe reads the header and the descriptions.
func (s *Stats) describe(r io.ReaderAt) error {
	var h statsHeader
	head := make([]byte, binary.Size(h))
	if _, err := r.ReadAt(head, 0); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	_ = binary.Read(bytes.NewReader(head), binary.NativeEndian, &h) // it has the size
	if h.NumDesc > maxStats || h.NameSize > maxStats {
		return errors.New("the header is not understood")
	}
	s.data = int64(h.DataOffset)
	var d statsDesc
	size := binary.Size(d)
	each := size + int(h.NameSize)
	table := make([]byte, each*int(h.NumDesc))
	if _, err := r.ReadAt(table, int64(h.DescOffset)); err != nil {
		return fmt.Errorf("descriptions: %w", err)
	}
	for ; len(table) > 0; table = table[each:] {
		_ = binary.Read(bytes.NewReader(table[:size]), binary.NativeEndian, &d)
		name, _, _ := bytes.Cut(table[size:each], []byte{0})
		if stat, ok := d.stat(string(name)); ok {
			s.All = append(s.All, stat)
		}
	}
	return nil
}

// stat returns what a description says, unless that is newer than this program.
func (d *statsDesc) stat(name string) (Stat, bool) {
	kind, unit, base := d.Flags&0xf, d.Flags>>4&0xf, d.Flags>>8&0xf
	if kind > uint32(StatLog2Histogram) || unit > uint32(StatBoolean) || base > 1 || d.Size == 0 {
		return Stat{}, false
	}
	return Stat{
		Name: name, Kind: StatKind(kind), Unit: StatUnit(unit), Base: []int{10, 2}[base], Exponent: d.Exponent,
		BucketSize: d.BucketSize, Size: int(d.Size), offset: int64(d.Offset),
	}, true
}

// Read returns the values of one of the statistics.
func (s *Stats) Read(stat *Stat) ([]uint64, error) {
	b := make([]byte, 8*stat.Size)
	if _, err := s.file.ReadAt(b, s.data+stat.offset); err != nil {
		return nil, fmt.Errorf("KVM statistic %s: %w", stat.Name, err)
	}
	values := make([]uint64, stat.Size)
	for i := range values {
		values[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return values, nil
}
