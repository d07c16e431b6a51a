package config

import "hv/qmp/qapi"

// Drivers lists the drivers of block nodes, as -blockdev takes them.
func Drivers() []string {
	var names []string
	for _, x := range qapi.Schema([]string{"blockdev-add"}) {
		if o := x.Object; o != nil && o.Tag != nil && *o.Tag == "driver" {
			for _, v := range o.Variants {
				names = append(names, v.Case)
			}
		}
	}
	return names
}
