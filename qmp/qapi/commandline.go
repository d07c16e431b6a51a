//qapi:schema

package qapi

// CommandLineParameterType is what an option's key takes.
type CommandLineParameterType string

// The types.
const (
	CommandLineParameterTypeString  CommandLineParameterType = "string"
	CommandLineParameterTypeBoolean CommandLineParameterType = "boolean" // on or off
	CommandLineParameterTypeNumber  CommandLineParameterType = "number"
	CommandLineParameterTypeSize    CommandLineParameterType = "size" // bytes, with an optional suffix
)

// CommandLineParameterInfo describes a key of an option.
type CommandLineParameterInfo struct {
	Name    string                   `qapi:"name"`
	Type    CommandLineParameterType `qapi:"type"`
	Help    *string                  `qapi:"help"`    // for humans
	Default *string                  `qapi:"default"` // value if the key is absent
}

// CommandLineParameterInfoList is a list of keys.
type CommandLineParameterInfoList []CommandLineParameterInfo

// CommandLineOptionInfo describes an option of the command line.
type CommandLineOptionInfo struct {
	Option     string                       `qapi:"option"`
	Parameters CommandLineParameterInfoList `qapi:"parameters"` // none for options whose keys depend on a kind
}

// CommandLineOptionInfoList is a list of options.
type CommandLineOptionInfoList []CommandLineOptionInfo

// QueryCommandLineOptionsArgs is the arguments of query-command-line-options.
type QueryCommandLineOptionsArgs struct {
	Option *string `qapi:"option"` // the one that is wanted; all if absent
}

// CmdQueryCommandLineOptions describes the options of the command line that take
// keys.
var CmdQueryCommandLineOptions = Command[QueryCommandLineOptionsArgs, CommandLineOptionInfoList]{
	Name: "query-command-line-options", Preconfig: true, Concurrent: true,
}
