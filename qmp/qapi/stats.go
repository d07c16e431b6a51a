//qapi:schema

package qapi

// StatsType is how a statistic behaves.
type StatsType string

// The types.
const (
	StatsTypeCumulative      StatsType = "cumulative"       // it grows
	StatsTypeInstant         StatsType = "instant"          // it goes up and down
	StatsTypePeak            StatsType = "peak"             // the largest value so far
	StatsTypeLinearHistogram StatsType = "linear-histogram" // counts in buckets of one width
	StatsTypeLog2Histogram   StatsType = "log2-histogram"   // counts in buckets, each twice as wide as the one before
)

// StatsUnit is what a statistic counts.
type StatsUnit string

// The units.
const (
	StatsUnitBytes   StatsUnit = "bytes"
	StatsUnitSeconds StatsUnit = "seconds"
	StatsUnitCycles  StatsUnit = "cycles"
	StatsUnitBoolean StatsUnit = "boolean"
)

// StatsProvider is who keeps a statistic.
type StatsProvider string

// The providers.
const (
	StatsProviderKvm StatsProvider = "kvm" // the host's kernel
)

// StatsTarget is what a statistic is about.
type StatsTarget string

// The targets.
const (
	StatsTargetVm   StatsTarget = "vm"
	StatsTargetVcpu StatsTarget = "vcpu"
)

// StatsRequest chooses statistics of a provider.
type StatsRequest struct {
	Provider StatsProvider `qapi:"provider"`
	Names    StrList       `qapi:"names,optional"` // all if they are absent
}

// StatsRequestList is a list of choices.
type StatsRequestList []StatsRequest

// StatsVCPUFilter chooses vCPUs.
type StatsVCPUFilter struct {
	Vcpus StrList `qapi:"vcpus,optional"` // QOM paths; all if they are absent
}

// StatsFilter is the arguments of query-stats.
type StatsFilter struct {
	Target    StatsTarget      `qapi:"target,discriminator"`
	Providers StatsRequestList `qapi:"providers,optional"` // all if they are absent
	Vcpu      *StatsVCPUFilter `qapi:",branch=vcpu"`
}

// Uint64List is a list of numbers.
type Uint64List []uint64

// StatsValue is the value of a statistic.
type StatsValue struct {
	Scalar  *uint64     `qapi:"scalar,alternate"`
	Boolean *bool       `qapi:"boolean,alternate"`
	List    *Uint64List `qapi:"list,alternate"` // of a histogram
}

// Stats is a statistic.
type Stats struct {
	Name  string     `qapi:"name"`
	Value StatsValue `qapi:"value"`
}

// StatsList is a list of statistics.
type StatsList []Stats

// StatsResult is the statistics of one object.
type StatsResult struct {
	Provider StatsProvider `qapi:"provider"`
	QomPath  *string       `qapi:"qom-path"` // of a vCPU
	Stats    StatsList     `qapi:"stats"`
}

// StatsResultList is a list of statistics by object.
type StatsResultList []StatsResult

// CmdQueryStats returns statistics.
var CmdQueryStats = Command[StatsFilter, StatsResultList]{Name: "query-stats"}

// StatsSchemaValue describes a statistic. Its values are multiples of base to the power of
// exponent of the unit.
type StatsSchemaValue struct {
	Name       string     `qapi:"name"`
	Type       StatsType  `qapi:"type"`
	Unit       *StatsUnit `qapi:"unit"` // a plain number if it is absent
	Base       *int8      `qapi:"base"` // absent if the exponent is 0
	Exponent   int16      `qapi:"exponent"`
	BucketSize *uint32    `qapi:"bucket-size"` // of a linear histogram
}

// StatsSchemaValueList is a list of descriptions.
type StatsSchemaValueList []StatsSchemaValue

// StatsSchema describes the statistics of a kind of object.
type StatsSchema struct {
	Provider StatsProvider        `qapi:"provider"`
	Target   StatsTarget          `qapi:"target"`
	Stats    StatsSchemaValueList `qapi:"stats"`
}

// StatsSchemaList is a list of schemas.
type StatsSchemaList []StatsSchema

// QueryStatsSchemasArgs is the arguments of query-stats-schemas.
type QueryStatsSchemasArgs struct {
	Provider *StatsProvider `qapi:"provider"` // all if it is absent
}

// CmdQueryStatsSchemas describes all statistics.
var CmdQueryStatsSchemas = Command[QueryStatsSchemasArgs, StatsSchemaList]{Name: "query-stats-schemas"}
