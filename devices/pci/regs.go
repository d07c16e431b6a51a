package pci

// Registers of the type 0 and type 1 headers (PCI 3.0 §6.1, Bridge 1.2 §3.1).
const (
	regVendorID      = 0x00
	regDeviceID      = 0x02
	regCommand       = 0x04
	regStatus        = 0x06
	regRevision      = 0x08
	regClass         = 0x09
	regCacheLineSize = 0x0c
	regHeaderType    = 0x0e
	regBAR0          = 0x10
	regSubVendorID   = 0x2c
	regSubDeviceID   = 0x2e
	regCapPointer    = 0x34
	regInterruptLine = 0x3c
	regInterruptPin  = 0x3d

	regPrimaryBus     = 0x18
	regSecondaryBus   = 0x19
	regSubordinateBus = 0x1a
	regIOBase         = 0x1c
	regIOLimit        = 0x1d
	regSecStatus      = 0x1e
	regMemBase        = 0x20
	regMemLimit       = 0x22
	regPrefBase       = 0x24
	regPrefLimit      = 0x26
	regPrefBaseUpper  = 0x28
	regPrefLimitUpper = 0x2c
	regBridgeControl  = 0x3e
)

const (
	cmdIO          = 1 << 0
	cmdMemory      = 1 << 1
	cmdMaster      = 1 << 2
	cmdSERR        = 1 << 8
	cmdINTxDisable = 1 << 10

	statusINTx    = 1 << 3
	statusCapList = 1 << 4
	statusErrors  = 0xf900 // the write-one-to-clear error bits

	headerType1         = 0x01
	headerMultifunction = 0x80

	barTypeIO     = 0x1
	barType64     = 0x4
	barPrefetch   = 0x8
	prefType64    = 0x1
	bridgeCtlBits = 0x0ffb // all but the master abort status bits
	bridgeCtlPCIe = 0x005f // bits that PCI Express does not hardwire to zero
	bridgeReset   = 1 << 6
)

// Capability and extended capability identifiers.
const (
	CapPM     uint8 = 0x01
	CapSlotID uint8 = 0x04
	CapVendor uint8 = 0x09
	CapSSVID  uint8 = 0x0d
	CapPCIe   uint8 = 0x10
	CapMSIX   uint8 = 0x11

	ExtCapAER uint16 = 0x0001
	ExtCapACS uint16 = 0x000d
)

const (
	configSize    = 256  // conventional configuration space
	extConfigSize = 4096 // PCI Express configuration space
	firstCap      = 0x40
	firstExtCap   = 0x100
	numBARs       = 6
	bridgeBARs    = 2
	slotsPerBus   = 32
	funcsPerSlot  = 8
)
