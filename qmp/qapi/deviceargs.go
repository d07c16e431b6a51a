package qapi

// DeviceAddArgs is the arguments of device_add: besides these members any property of the
// driver.
type DeviceAddArgs struct {
	Driver string  // name of the driver
	Bus    *string // ID of the bus; the machine chooses if it is absent
	Id     *string // of the device
	// All is all members, these and the properties.
	All Value
}

// DecodeQAPI implements Decodable.
func (x *DeviceAddArgs) DecodeQAPI(v Value) error {
	o, err := v.object()
	if err != nil {
		return err
	}
	driver, ok := o.take("driver")
	if !ok {
		return missing("driver")
	}
	if err := decodeString(driver, &x.Driver); err != nil {
		return within("driver", err)
	}
	for name, to := range map[string]**string{"bus": &x.Bus, "id": &x.Id} {
		if m, ok := o.take(name); ok {
			*to = new(string)
			if err := decodeString(m, *to); err != nil {
				return within(name, err)
			}
		}
	}
	x.All = v.Clone()
	return nil
}

// EncodeQAPI implements Encodable.
func (x *DeviceAddArgs) EncodeQAPI(e *Encoder) { e.Value(x.All) }
