//qapi:schema

package qapi

// SysEmuTarget is an architecture. Ours is x86_64; the others are part of the type.
type SysEmuTarget string

// The architectures.
const (
	SysEmuTargetAarch64      SysEmuTarget = "aarch64"
	SysEmuTargetAlpha        SysEmuTarget = "alpha"
	SysEmuTargetArm          SysEmuTarget = "arm"
	SysEmuTargetAvr          SysEmuTarget = "avr"
	SysEmuTargetCris         SysEmuTarget = "cris"
	SysEmuTargetHppa         SysEmuTarget = "hppa"
	SysEmuTargetI386         SysEmuTarget = "i386"
	SysEmuTargetLoongarch64  SysEmuTarget = "loongarch64"
	SysEmuTargetM68k         SysEmuTarget = "m68k"
	SysEmuTargetMicroblaze   SysEmuTarget = "microblaze"
	SysEmuTargetMicroblazeel SysEmuTarget = "microblazeel"
	SysEmuTargetMips         SysEmuTarget = "mips"
	SysEmuTargetMips64       SysEmuTarget = "mips64"
	SysEmuTargetMips64el     SysEmuTarget = "mips64el"
	SysEmuTargetMipsel       SysEmuTarget = "mipsel"
	SysEmuTargetNios2        SysEmuTarget = "nios2"
	SysEmuTargetOr1k         SysEmuTarget = "or1k"
	SysEmuTargetPpc          SysEmuTarget = "ppc"
	SysEmuTargetPpc64        SysEmuTarget = "ppc64"
	SysEmuTargetRiscv32      SysEmuTarget = "riscv32"
	SysEmuTargetRiscv64      SysEmuTarget = "riscv64"
	SysEmuTargetRx           SysEmuTarget = "rx"
	SysEmuTargetS390x        SysEmuTarget = "s390x"
	SysEmuTargetSh4          SysEmuTarget = "sh4"
	SysEmuTargetSh4eb        SysEmuTarget = "sh4eb"
	SysEmuTargetSparc        SysEmuTarget = "sparc"
	SysEmuTargetSparc64      SysEmuTarget = "sparc64"
	SysEmuTargetTricore      SysEmuTarget = "tricore"
	SysEmuTargetX8664        SysEmuTarget = "x86_64"
	SysEmuTargetXtensa       SysEmuTarget = "xtensa"
	SysEmuTargetXtensaeb     SysEmuTarget = "xtensaeb"
)

// CpuS390State is the state of an s390 CPU.
type CpuS390State string

// The states.
const (
	CpuS390StateUninitialized CpuS390State = "uninitialized"
	CpuS390StateStopped       CpuS390State = "stopped"
	CpuS390StateCheckStop     CpuS390State = "check-stop"
	CpuS390StateOperating     CpuS390State = "operating"
	CpuS390StateLoad          CpuS390State = "load"
)

// CpuInfoS390 is what is told of s390 CPUs besides.
type CpuInfoS390 struct {
	CpuState CpuS390State `qapi:"cpu-state"`
}

// CpuInstanceProperties says where in the topology a vCPU is. What the board
// does not have is absent.
type CpuInstanceProperties struct {
	NodeId    *int64 `qapi:"node-id"`    // NUMA node
	SocketId  *int64 `qapi:"socket-id"`  // within the node or board
	DieId     *int64 `qapi:"die-id"`     // within the socket
	ClusterId *int64 `qapi:"cluster-id"` // within the die
	CoreId    *int64 `qapi:"core-id"`    // within the die or cluster
	ThreadId  *int64 `qapi:"thread-id"`  // within the core
}

// CpuInfoFast describes a vCPU without disturbing it.
type CpuInfoFast struct {
	CpuIndex int64                  `qapi:"cpu-index"`
	QomPath  string                 `qapi:"qom-path"`
	ThreadId int64                  `qapi:"thread-id"` // of the host
	Props    *CpuInstanceProperties `qapi:"props"`
	Target   SysEmuTarget           `qapi:"target,discriminator"`
	S390x    *CpuInfoS390           `qapi:",branch=s390x"`
}

// CpuInfoFastList is a list of vCPUs.
type CpuInfoFastList []CpuInfoFast

// CmdQueryCpusFast describes all vCPUs.
var CmdQueryCpusFast = Command[Empty, CpuInfoFastList]{Name: "query-cpus-fast"}

// TargetInfo is what query-target returns.
type TargetInfo struct {
	Arch SysEmuTarget `qapi:"arch"`
}

// CmdQueryTarget returns the guest's architecture.
var CmdQueryTarget = Command[Empty, TargetInfo]{Name: "query-target"}

// UuidInfo is what query-uuid returns.
type UuidInfo struct {
	UUID string `qapi:"UUID"` // lower case with dashes; null UUID if none was given
}

// CmdQueryUuid returns the VM's UUID.
var CmdQueryUuid = Command[Empty, UuidInfo]{Name: "query-uuid", Preconfig: true}

// GuidInfo is what query-vm-generation-id returns.
type GuidInfo struct {
	Guid string `qapi:"guid"`
}

// CmdQueryVmGenerationId returns the identifier of the VM's generation. Without a vmgenid
// device it fails.
var CmdQueryVmGenerationId = Command[Empty, GuidInfo]{Name: "query-vm-generation-id"}

// KvmInfo is what query-kvm returns.
type KvmInfo struct {
	Enabled bool `qapi:"enabled"` // in use
	Present bool `qapi:"present"` // built in
}

// CmdQueryKvm says whether KVM is in use.
var CmdQueryKvm = Command[Empty, KvmInfo]{Name: "query-kvm"}

// CmdSystemReset resets the VM as its reset button would.
var CmdSystemReset = Command[Empty, Empty]{Name: "system_reset"}

// CmdSystemWakeup wakes a suspended guest. It fails if the guest is not suspended.
var CmdSystemWakeup = Command[Empty, Empty]{Name: "system_wakeup"}

// CmdSystemPowerdown presses the power button. The guest may ignore it.
var CmdSystemPowerdown = Command[Empty, Empty]{Name: "system_powerdown"}

// CmdBalloon asks the guest to grow or shrink its balloon. It returns before the
// guest did. Without a balloon device it fails with DeviceNotActive.
var CmdBalloon = Command[BalloonArgs, Empty]{Name: "balloon"}

// BalloonArgs is the arguments of balloon.
type BalloonArgs struct {
	Value int64 `qapi:"value"` // size of the VM in bytes: its RAM less the balloon
}

// BalloonInfo is what query-balloon returns.
type BalloonInfo struct {
	Actual int64 `qapi:"actual"` // size of the VM in bytes: its RAM less the balloon
}

// CmdQueryBalloon returns the VM's size. Without a balloon device it fails with
// DeviceNotActive.
var CmdQueryBalloon = Command[Empty, BalloonInfo]{Name: "query-balloon"}

// EventBalloonChange says that the guest changed its balloon.
var EventBalloonChange = Event[BalloonChangeEvent]{Name: "BALLOON_CHANGE", RateLimited: true}

// BalloonChangeEvent is the data of BALLOON_CHANGE.
type BalloonChangeEvent struct {
	Actual int64 `qapi:"actual"` // size of the VM in bytes: its RAM less the balloon
}
