//qapi:schema

package qapi

// MigrationCapability is an ability that migration can use or not.
type MigrationCapability string

// The capabilities.
const (
	MigrationCapabilityEvents MigrationCapability = "events" // an event tells of each state that a migration comes to
)

// MigrationCapabilityStatus says whether a capability is on.
type MigrationCapabilityStatus struct {
	Capability MigrationCapability `qapi:"capability"`
	State      bool                `qapi:"state"`
}

// MigrationCapabilityStatusList is a list of capabilities.
type MigrationCapabilityStatusList []MigrationCapabilityStatus

// CmdQueryMigrateCapabilities says which capabilities are on. Managers read and set them
// before they know whether they will ever migrate.
var CmdQueryMigrateCapabilities = Command[Empty, MigrationCapabilityStatusList]{Name: "query-migrate-capabilities"}

// CmdMigrateSetCapabilities turns capabilities on or off.
var CmdMigrateSetCapabilities = Command[MigrateSetCapabilitiesArgs, Empty]{Name: "migrate-set-capabilities"}

// MigrateSetCapabilitiesArgs is the arguments of migrate-set-capabilities.
type MigrateSetCapabilitiesArgs struct {
	Capabilities MigrationCapabilityStatusList `qapi:"capabilities"`
}
