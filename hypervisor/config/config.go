// Package config turns a QEMU command line into a typed description of a VM.
//
// One table (options.go) names every option with its syntax and help; parsing,
// -help, suggestions, -readconfig, -set and -global all work from it. An
// option's keys are the tagged fields of a struct, read by devices/qdev, so an
// unknown key or a bad value is found here, before anything is touched.
//
// Parse is pure, but for the file that -readconfig names. It depends on
// block/blockopts, block/throttle, block/account, devices/qdev, hypervisor/runstate and
// qmp/qapi.
package config

import (
	"errors"
	"fmt"
	"time"

	"hv/block/throttle"
	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// Config is what a command line asks for.
type Config struct {
	Name         string // -name guest=
	Process      string // -name process=
	DebugThreads bool
	UUID         string
	Machine      Machine
	CPU          string // -cpu, for hypervisor/cpuid
	SMP          SMP
	Memory       Memory

	Kernel, Initrd, Append string

	Objects []Object
	Drives  []Drive
	// Snapshot has writes to drives go to temporary files, unless the drive says otherwise.
	Snapshot bool
	// Blockdevs are the nodes of -blockdev.
	Blockdevs []Blockdev
	Netdevs   []*qapi.Netdev
	Chardevs  []Chardev
	Serials   []string // -serial, in order
	Monitors  []Monitor
	Devices   []*qdev.Instance
	SMBIOS    []map[string]string

	RTC       RTC
	Reboot    qapi.RebootAction
	Shutdown  qapi.ShutdownAction
	Panic     qapi.PanicAction
	Watchdog  qapi.WatchdogAction
	Paused    bool // -S
	Preconfig bool // -preconfig
	NoDefault bool // -nodefaults
	NoGraphic bool
	MemLock   bool // -overcommit mem-lock=on

	PIDFile    string
	Daemonize  bool
	LogFile    string // -D
	Timestamps bool   // -msg timestamp=on
	GuestNames bool   // -msg guest-name=on
	FDs        []AddFD
	QTest      QTest

	// Help is what is to be printed instead of running a VM.
	Help Help

	drivers *qdev.Registry
	globals []global
}

// Help is a request to print something and exit.
type Help struct {
	Topic string // "", "help", "version", or an option's name
	Arg   string // the driver of -device DRIVER,help
}

// Machine is -machine and -accel.
type Machine struct {
	Type          string
	MemoryBackend string
	// Accels are the accelerators to choose from, the preferred one first: those
	// named that there are. It is never empty.
	Accels []string
}

// Accelerators that there are.
const (
	AccelKVM   = "kvm"
	AccelQTest = "qtest" // no processors: a client of qtest drives the machine
)

// QTest is -qtest and -qtest-log.
type QTest struct {
	Chardev string // id, "" for none
	Log     string // file, "none", or "" for standard error
}

// SMP is the processors' number and topology.
type SMP struct{ CPUs, MaxCPUs, Sockets, Dies, Cores, Threads int }

// Memory is -m, in bytes.
type Memory struct {
	Size, MaxSize uint64
	Slots         int
}

// Object is -object; exactly one pointer is set.
type Object struct {
	ID, Type string

	Memory *MemoryBackend
	RNG    *RNG
	Secret *Secret
	Thread *IOThread
	Limits *throttle.Limits // of a throttle-group
	TLS    *TLSCreds
	Authz  *Authz
	Dump   *FilterDump
}

// FilterDump is filter-dump.
type FilterDump struct {
	Netdev string `prop:"netdev" desc:"ID of the network back end whose packets are kept"`
	Queue  string `prop:"queue" default:"all" desc:"rx for those of the guest, tx for those to the guest, or all"`
	Status string `prop:"status" default:"on" desc:"on or off"`
	File   string `prop:"file" desc:"file, in the format of pcap"`
	MaxLen uint32 `prop:"maxlen" default:"65536" desc:"bytes of a packet that are kept"`
}

// Check finds values that mean nothing.
func (f *FilterDump) Check() error {
	switch {
	case f.Netdev == "":
		return errors.New("Parameter 'netdev' is required")
	case f.File == "":
		return errors.New("dump filter needs 'file' property set!")
	case f.MaxLen == 0:
		return errors.New("Property 'filter-dump.maxlen' doesn't take value '0'")
	case f.Queue != "all" && f.Queue != "rx" && f.Queue != "tx":
		return fmt.Errorf("Parameter 'queue' does not accept value '%s'", f.Queue)
	case f.Status != "on" && f.Status != "off":
		return errors.New("Invalid value for netfilter status, should be 'on' or 'off'")
	}
	return nil
}

// TLSCreds is tls-creds-x509.
type TLSCreds struct {
	Dir         string `prop:"dir" desc:"folder with the certificates and the key"`
	Endpoint    string `prop:"endpoint" default:"client" desc:"server or client"`
	VerifyPeer  bool   `prop:"verify-peer" default:"on" desc:"the other end must show a certificate"`
	SanityCheck bool   `prop:"sanity-check" default:"on" desc:"refuse certificates that are out of date"`
	Priority    string `prop:"priority" desc:"accepted; ciphers are those of Go's library"`
}

// Authz is authz-simple.
type Authz struct {
	Identity string `prop:"identity" desc:"who may come in"`
}

// MemoryBackend is memory-backend-ram, -memfd or -file.
type MemoryBackend struct {
	Kind            string
	Size            qdev.Size `prop:"size" desc:"bytes of RAM"`
	Path            string    `prop:"mem-path" desc:"file or hugetlbfs directory (memory-backend-file)"`
	Share           bool      `prop:"share" desc:"other processes see the guest's writes"`
	Merge           bool      `prop:"merge" default:"on" desc:"let the host share equal pages"`
	Dump            bool      `prop:"dump" default:"on" desc:"include the RAM in core dumps"`
	Prealloc        bool      `prop:"prealloc" desc:"take all memory from the host at once"`
	PreallocThreads uint32    `prop:"prealloc-threads" default:"1"`
	Reserve         bool      `prop:"reserve" default:"on" desc:"account for the memory on the host"`
	HugeTLB         bool      `prop:"hugetlb" desc:"huge pages (memory-backend-memfd)"`
	HugeTLBSize     qdev.Size `prop:"hugetlbsize"`
	Seal            bool      `prop:"seal" default:"on"`
	DiscardData     bool      `prop:"discard-data" desc:"drop the file's content at the end (memory-backend-file)"`
	CanonicalPath   bool      `prop:"x-use-canonical-path-for-ramblock-id" desc:"accepted; hv has no RAM block ids"`
}

// RNG is rng-random, or rng-builtin when Filename is "".
type RNG struct {
	Filename string `prop:"filename" desc:"device to read entropy from"`
}

// Secret is a secret object.
type Secret struct {
	Data   string `prop:"data"`
	File   string `prop:"file"`
	Format string `prop:"format" default:"raw"`
}

// Blockdev is a node that -blockdev describes.
type Blockdev struct {
	Text    string // what was written
	Options *qapi.BlockdevOptions
}

// RTC is -rtc.
type RTC struct {
	Local bool      // base=localtime
	Start time.Time // base=DATE, zero otherwise
	VM    bool      // clock=vm
}

// MonitorMode is what a monitor speaks.
type MonitorMode string

// The modes.
const (
	Control  MonitorMode = "control"  // QMP
	Readline MonitorMode = "readline" // the human monitor
)

// Monitor is a monitor on a chardev.
type Monitor struct {
	Chardev string // id
	Mode    MonitorMode
	Pretty  bool
	// Implied says that nobody asked for it by name, but for mon: before a serial
	// port's chardev.
	Implied bool
}

// AddFD is -add-fd.
type AddFD struct {
	FD     int    `prop:"fd"`
	Set    int    `prop:"set"`
	Opaque string `prop:"opaque"`
}

// Env is what a command line is checked against.
type Env struct {
	Devices *qdev.Registry
	// Machine returns an error for a machine type that does not exist.
	Machine func(name string) error
	// CPU returns an error for a -cpu argument that means nothing.
	CPU func(arg string) error
	// SMBIOS returns an error for an -smbios argument, by its keys, that means nothing.
	SMBIOS func(fields map[string]string) error
	// ReadFile reads what -readconfig names.
	ReadFile func(path string) ([]byte, error)
}

// Defaults that QEMU has too.
const (
	defaultMemory = 128 << 20
	maxMemory     = 1 << 46
	maxSlots      = 256
)

var errNoArgument = errors.New("requires an argument")
