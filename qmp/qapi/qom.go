//qapi:schema

package qapi

// CmdQomList lists the properties of an object, its children among them.
var CmdQomList = Command[QomListArgs, ObjectPropertyInfoList]{Name: "qom-list", Preconfig: true}

// QomListArgs is the arguments of qom-list.
type QomListArgs struct {
	Path string `qapi:"path"` // absolute, or the end of one that no other object's has
}

// ObjectPropertyInfo describes a property of an object or a type.
type ObjectPropertyInfo struct {
	Name         string  `qapi:"name"`
	Type         string  `qapi:"type"` // a type of the wire, child<TYPE> or link<TYPE>
	Description  *string `qapi:"description"`
	DefaultValue Value   `qapi:"default-value,optional"`
}

// ObjectPropertyInfoList is a list of properties.
type ObjectPropertyInfoList []ObjectPropertyInfo

// CmdQomGet reads a property as it is now.
var CmdQomGet = Command[QomGetArgs, Value]{Name: "qom-get", Preconfig: true}

// QomGetArgs is the arguments of qom-get.
type QomGetArgs struct {
	Path     string `qapi:"path"`
	Property string `qapi:"property"`
}

// CmdQomSet changes a property.
var CmdQomSet = Command[QomSetArgs, Empty]{Name: "qom-set", Preconfig: true}

// QomSetArgs is the arguments of qom-set.
type QomSetArgs struct {
	Path     string `qapi:"path"`
	Property string `qapi:"property"`
	Value    Value  `qapi:"value"`
}

// CmdQomListTypes lists the types of objects.
var CmdQomListTypes = Command[QomListTypesArgs, ObjectTypeInfoList]{Name: "qom-list-types", Preconfig: true}

// QomListTypesArgs is the arguments of qom-list-types.
type QomListTypesArgs struct {
	Implements *string `qapi:"implements"` // only this type and those that descend from it
	Abstract   *bool   `qapi:"abstract"`   // types too of which there are no objects
}

// ObjectTypeInfo describes a type.
type ObjectTypeInfo struct {
	Name     string  `qapi:"name"`
	Abstract *bool   `qapi:"abstract"` // true, or absent
	Parent   *string `qapi:"parent"`
}

// ObjectTypeInfoList is a list of types.
type ObjectTypeInfoList []ObjectTypeInfo

// CmdQomListProperties lists the properties that objects of a type have.
var CmdQomListProperties = Command[TypenameArgs, ObjectPropertyInfoList]{Name: "qom-list-properties", Preconfig: true}

// CmdDeviceListProperties lists the properties that -device and device_add take for a
// driver.
var CmdDeviceListProperties = Command[TypenameArgs, ObjectPropertyInfoList]{Name: "device-list-properties"}

// TypenameArgs is the arguments of qom-list-properties and device-list-properties.
type TypenameArgs struct {
	Typename string `qapi:"typename"`
}

// ObjectType is a type of objects that users make.
type ObjectType string

// The types.
const (
	ObjectTypeAuthzSimple        ObjectType = "authz-simple"         // lets one in
	ObjectTypeFilterDump         ObjectType = "filter-dump"          // a file of a network back end's packets
	ObjectTypeIothread           ObjectType = "iothread"             // a thread for I/O
	ObjectTypeMemoryBackendFile  ObjectType = "memory-backend-file"  // RAM in a file
	ObjectTypeMemoryBackendMemfd ObjectType = "memory-backend-memfd" // RAM in a memfd
	ObjectTypeMemoryBackendRam   ObjectType = "memory-backend-ram"   // RAM of the process
	ObjectTypeRngBuiltin         ObjectType = "rng-builtin"          // entropy of the kernel
	ObjectTypeRngRandom          ObjectType = "rng-random"           // entropy from a device
	ObjectTypeSecret             ObjectType = "secret"               // a password or key
	ObjectTypeThrottleGroup      ObjectType = "throttle-group"       // limits of block nodes and disks
	ObjectTypeTlsCredsX509       ObjectType = "tls-creds-x509"       // certificates
)

// ObjectOptions describes an object that is to be made.
type ObjectOptions struct {
	QomType       ObjectType                    `qapi:"qom-type,discriminator"`
	Id            string                        `qapi:"id"`
	AuthzSimple   *AuthZSimpleProperties        `qapi:",branch=authz-simple"`
	FilterDump    *FilterDumpProperties         `qapi:",branch=filter-dump"`
	Iothread      *IothreadProperties           `qapi:",branch=iothread"`
	MemoryFile    *MemoryBackendFileProperties  `qapi:",branch=memory-backend-file"`
	MemoryMemfd   *MemoryBackendMemfdProperties `qapi:",branch=memory-backend-memfd"`
	MemoryRAM     *MemoryBackendProperties      `qapi:",branch=memory-backend-ram"`
	RngRandom     *RngRandomProperties          `qapi:",branch=rng-random"`
	Secret        *SecretProperties             `qapi:",branch=secret"`
	ThrottleGroup *ThrottleGroupProperties      `qapi:",branch=throttle-group"`
	TLSX509       *TlsCredsX509Properties       `qapi:",branch=tls-creds-x509"`
}

// MemoryBackendProperties are the properties of all kinds of RAM.
type MemoryBackendProperties struct {
	Dump            *bool   `qapi:"dump"`             // include it in core dumps
	Merge           *bool   `qapi:"merge"`            // let the host share equal pages
	Prealloc        *bool   `qapi:"prealloc"`         // take all of it from the host at once
	PreallocThreads *uint32 `qapi:"prealloc-threads"` // how many threads do that
	Share           *bool   `qapi:"share"`            // other processes see the guest's writes
	Reserve         *bool   `qapi:"reserve"`          // account for it on the host
	Size            uint64  `qapi:"size"`             // bytes
}

// MemoryBackendFileProperties are those of RAM in a file.
type MemoryBackendFileProperties struct {
	MemoryBackendProperties
	DiscardData *bool  `qapi:"discard-data"` // drop the file's content at the end
	MemPath     string `qapi:"mem-path"`     // the file, or a folder in hugetlbfs
}

// MemoryBackendMemfdProperties are those of RAM in a memfd.
type MemoryBackendMemfdProperties struct {
	MemoryBackendProperties
	Hugetlb     *bool   `qapi:"hugetlb"`     // huge pages
	Hugetlbsize *uint64 `qapi:"hugetlbsize"` // their size in bytes
	Seal        *bool   `qapi:"seal"`        // forbid changes of the size
}

// NetFilterDirection is which packets of a network back end are meant.
type NetFilterDirection string

// The directions.
const (
	NetFilterDirectionAll NetFilterDirection = "all"
	NetFilterDirectionRx  NetFilterDirection = "rx" // those that it receives of the guest
	NetFilterDirectionTx  NetFilterDirection = "tx" // those that it sends to the guest
)

// FilterDumpProperties are those of a file of packets.
type FilterDumpProperties struct {
	Netdev string              `qapi:"netdev"` // the back end
	Queue  *NetFilterDirection `qapi:"queue"`  // all by default
	Status *string             `qapi:"status"` // on, the default, or off
	File   string              `qapi:"file"`   // in the format of pcap
	Maxlen *uint32             `qapi:"maxlen"` // bytes of a packet that are kept, 65536 by default
}

// RngRandomProperties are those of entropy from a device.
type RngRandomProperties struct {
	Filename *string `qapi:"filename"` // /dev/urandom if it is absent
}

// SecretProperties are those of a secret.
type SecretProperties struct {
	Data   *string              `qapi:"data"`   // the secret itself
	File   *string              `qapi:"file"`   // where it stands
	Format *QCryptoSecretFormat `qapi:"format"` // raw if it is absent
}

// QCryptoSecretFormat is how a secret is written.
type QCryptoSecretFormat string

// The formats.
const (
	QCryptoSecretFormatRaw    QCryptoSecretFormat = "raw"    // as it is
	QCryptoSecretFormatBase64 QCryptoSecretFormat = "base64" // in base64
)

// CmdObjectAdd makes an object.
var CmdObjectAdd = Command[ObjectOptions, Empty]{Name: "object-add", Preconfig: true}

// CmdObjectDel removes an object that nothing uses.
var CmdObjectDel = Command[ObjectDelArgs, Empty]{Name: "object-del", Preconfig: true}

// ObjectDelArgs is the arguments of object-del.
type ObjectDelArgs struct {
	Id string `qapi:"id"`
}
