package cpuqmp

import (
	"errors"
	"maps"
	"slices"

	"hv/hypervisor/cpuid"
	"hv/qmp/qapi"
)

// definitions lists the processor models, each with what the host lacks of it.
func definitions(host cpuid.Host, latest bool) (qapi.CpuDefinitionInfoList, error) {
	var out qapi.CpuDefinitionInfoList
	for _, m := range cpuid.Models(latest) {
		spec, err := cpuid.NewSpec(m.Name)
		if err != nil {
			return nil, err
		}
		spec.Latest = latest
		b, err := cpuid.New(host, spec, cpuid.Topology{})
		if err != nil {
			return nil, err
		}
		safe := m.MigrationSafe()
		d := qapi.CpuDefinitionInfo{
			Name: m.Name, Typename: cpuid.TypeName(m.Name), Static: m.Static(), MigrationSafe: &safe,
			UnavailableFeatures: append(qapi.CpuUnavailableFeatures{}, b.Unavailable...),
		}
		if m.AliasOf != "" {
			d.AliasOf = &m.AliasOf
		}
		out = append(out, d)
	}
	return out, nil
}

// expand spells a model out.
func expand(host cpuid.Host, latest bool, a qapi.CpuModelExpansionArgs) (qapi.CpuModelInfo, error) {
	none := qapi.CpuModelInfo{}
	spec, err := cpuid.NewSpec(a.Model.Name)
	if err != nil {
		return none, qapi.Errorf(qapi.QapiErrorClassGenericError, "CPU model '%s' not found", a.Model.Name)
	}
	spec.Latest = latest
	if k := a.Model.Props.Kind(); k != qapi.Object && k != qapi.None {
		return none, qapi.Errorf(qapi.QapiErrorClassGenericError, "Invalid parameter type for 'model.props', expected: object")
	}
	for k, v := range a.Model.Props.Members() {
		if err := set(&spec, string(k.Text()), v); err != nil {
			return none, err
		}
	}
	b, err := cpuid.New(host, spec, cpuid.Topology{})
	if err != nil {
		return none, err
	}
	if a.Type == qapi.CpuModelExpansionTypeStatic {
		return qapi.CpuModelInfo{Name: "base", Props: object(b.Properties(false))}, nil
	}
	return qapi.CpuModelInfo{Name: a.Model.Name, Props: object(b.Properties(true))}, nil
}

// set sets a property of the model that is to be expanded.
func set(spec *cpuid.Spec, name string, v qapi.Value) error {
	if name == "hv-passthrough" && v.Kind() == qapi.Bool {
		return nil // all of Hyper-V's enlightenments that there are: none
	}
	var err error
	switch v.Kind() {
	case qapi.Bool:
		err = spec.Set(name, v.Bool())
	case qapi.Int:
		n, _ := v.Int64()
		err = spec.Set(name, n)
	case qapi.Uint:
		n, _ := v.Uint64()
		err = spec.Set(name, int64(n)) // negative there, and refused unless it is what there is
	case qapi.String:
		err = spec.Set(name, string(v.Text()))
	default:
		err = spec.Set(name, nil)
	}
	if unknown := (*cpuid.UnknownError)(nil); errors.As(err, &unknown) {
		return qapi.Errorf(qapi.QapiErrorClassGenericError, "Property '%s.%s' not found", cpuid.TypeName(spec.Model), name)
	}
	return err
}

// object returns properties as a JSON object.
func object(props map[string]any) qapi.Value {
	return qapi.NewValue(func(d *qapi.Document) {
		at := d.Open(qapi.Object)
		for _, name := range slices.Sorted(maps.Keys(props)) {
			d.AddString([]byte(name))
			switch v := props[name].(type) {
			case bool:
				d.AddBool(v)
			case int64:
				d.AddInt(v)
			case uint64:
				d.AddUint(v)
			case string:
				d.AddString([]byte(v))
			}
		}
		d.Close(at, len(props))
	})
}
