package devqmp

import (
	"context"

	"hv/devices/qom"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Tree is a VM with objects.
type Tree interface {
	// Objects returns the root of the tree as it is now.
	Objects() *qom.Object
	Types() *qom.Types
	AddObject(o qapi.ObjectOptions) error
	RemoveObject(id string) error
}

// RegisterQOM adds the commands about objects to a table.
func RegisterQOM(t *dispatch.Table, vm Tree) {
	dispatch.Register(t, qapi.CmdQomList, func(_ context.Context, a qapi.QomListArgs) (qapi.ObjectPropertyInfoList, error) {
		o, err := vm.Objects().Resolve(a.Path)
		if err != nil {
			return nil, err
		}
		return describe(o.List(), false), nil
	})
	dispatch.Register(t, qapi.CmdQomGet, func(_ context.Context, a qapi.QomGetArgs) (qapi.Value, error) {
		o, err := vm.Objects().Resolve(a.Path)
		if err != nil {
			return qapi.Value{}, err
		}
		return o.Get(a.Property)
	})
	dispatch.Register(t, qapi.CmdQomSet, func(_ context.Context, a qapi.QomSetArgs) (qapi.Empty, error) {
		o, err := vm.Objects().Resolve(a.Path)
		if err != nil {
			return qapi.Empty{}, err
		}
		return qapi.Empty{}, o.Set(a.Property, a.Value)
	})
	dispatch.Register(t, qapi.CmdObjectAdd, func(_ context.Context, o qapi.ObjectOptions) (qapi.Empty, error) {
		return qapi.Empty{}, vm.AddObject(o)
	})
	dispatch.Register(t, qapi.CmdObjectDel, func(_ context.Context, a qapi.ObjectDelArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.RemoveObject(a.Id)
	})
	registerTypes(t, vm.Types())
}

func registerTypes(t *dispatch.Table, types *qom.Types) {
	dispatch.Register(t, qapi.CmdQomListTypes, func(_ context.Context, a qapi.QomListTypesArgs) (qapi.ObjectTypeInfoList, error) {
		ancestor := ""
		if a.Implements != nil {
			ancestor = *a.Implements
		}
		list := qapi.ObjectTypeInfoList{}
		for _, x := range types.List(ancestor, a.Abstract != nil && *a.Abstract) {
			info := qapi.ObjectTypeInfo{Name: x.Name}
			if x.Parent != "" {
				info.Parent = &x.Parent
			}
			if x.Abstract {
				info.Abstract = &x.Abstract
			}
			list = append(list, info)
		}
		return list, nil
	})
	dispatch.Register(t, qapi.CmdQomListProperties, func(_ context.Context, a qapi.TypenameArgs) (qapi.ObjectPropertyInfoList, error) {
		props, err := types.Properties(a.Typename)
		return describe(props, true), err
	})
	dispatch.Register(t, qapi.CmdDeviceListProperties, func(_ context.Context, a qapi.TypenameArgs) (qapi.ObjectPropertyInfoList, error) {
		props, err := types.DeviceProperties(a.Typename)
		return describe(props, true), err
	})
}

// describe lists properties, those of types with what is known of them in general.
func describe(props []qom.Property, general bool) qapi.ObjectPropertyInfoList {
	list := qapi.ObjectPropertyInfoList{}
	for _, p := range props {
		info := qapi.ObjectPropertyInfo{Name: p.Name, Type: p.Type}
		if general && p.Desc != "" {
			info.Description = &p.Desc
		}
		if general && p.Default != nil {
			info.DefaultValue = qapi.NewValue(p.Default)
		}
		list = append(list, info)
	}
	return list
}
