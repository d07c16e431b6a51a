package surface

import (
	"testing"

	"hv/qmp/client"
	"hv/qmp/qapi"
)

// ownKeys are keys of options that QEMU has not, or does not tell.
var ownKeys = map[string]string{
	"drive.cache": "old", "drive.readonly": "old", "drive.serial": "old", "drive.locking": "a property of QEMU's file driver",
}

// TestOptionsBesideQEMU compares the types of the keys of options.
func TestOptionsBesideQEMU(t *testing.T) {
	there := map[string]qapi.CommandLineParameterType{}
	options := map[string]bool{}
	list, err := client.Call(patience(t), theirs(t), qapi.CmdQueryCommandLineOptions, qapi.QueryCommandLineOptionsArgs{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		options[o.Option] = true
		for _, p := range o.Parameters {
			there[o.Option+"."+p.Name] = p.Type
		}
	}
	mine, err := client.Call(patience(t), ours(t), qapi.CmdQueryCommandLineOptions, qapi.QueryCommandLineOptionsArgs{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range mine {
		if !options[o.Option] {
			t.Errorf("QEMU has no option %s", o.Option)
		}
		for _, p := range o.Parameters {
			key := o.Option + "." + p.Name
			if o.Option == "machine" && there[key] == "" {
				continue // a property of the board, which QEMU tells elsewhere
			}
			if ownKeys[key] == "" && there[key] != p.Type {
				t.Errorf("%s is a %s, with QEMU a %s", key, p.Type, there[key])
			}
		}
	}
}
