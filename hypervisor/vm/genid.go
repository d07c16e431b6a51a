package vm

import (
	"errors"

	"hv/devices/acpi"
	"hv/devices/qdev"
)

// genIDConfig is the properties of vmgenid.
type genIDConfig struct {
	GUID string `prop:"guid" default:"auto" desc:"a UUID, or auto for a random one"`
}

func makeGenID(v *VM, _ *qdev.Instance, c *genIDConfig) error {
	if v.built {
		return errors.New("Device 'vmgenid' does not support hotplugging")
	}
	id, err := acpi.ParseGenerationID(c.GUID)
	if err != nil {
		return err
	}
	return v.hw.board.AddGenerationID(id)
}

// GenerationID returns the identifier of the VM's generation.
func (v *VM) GenerationID() (string, error) {
	id := v.hw.board.GenerationID()
	if id == nil {
		return "", errors.New("VM Generation ID device not found")
	}
	return id.String(), nil
}
