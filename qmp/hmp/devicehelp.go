package hmp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// driverProperty is what device-list-properties says of a property.
type driverProperty struct {
	Name, Type  string
	Description *string
	Default     json.RawMessage `json:"default-value"`
}

// deviceHelp answers "device_add help" and "device_add DRIVER,help". It reports false if
// the options ask for no help.
func (c *call) deviceHelp(options []option) (bool, error) {
	driver, help := "", false
	for i, o := range options {
		if o.key == "driver" {
			driver = o.value
		}
		help = help || i > 0 && o.value == "on" && (o.key == "help" || o.key == "?")
	}
	switch {
	case driver == "help" || driver == "?":
		return c.driverList()
	case !help || driver == "" || !c.m.caller.Has("device-list-properties"):
		return false, nil
	}
	list, err := c.driverProperties(driver)
	if err != nil {
		c.printf("%s\n", err)
		return true, nil
	}
	if len(list) == 0 {
		c.printf("There are no options for %s.\n", driver)
		return true, nil
	}
	c.printf("%s options:\n", driver)
	for _, p := range list {
		c.printf("%s\n", p.help())
	}
	return true, nil
}

func (c *call) driverList() (bool, error) {
	if c.m.informer == nil || c.m.informer.Info("qdm") == nil {
		return false, nil
	}
	text, err := c.m.informer.Info("qdm")(c.ctx)
	c.printf("%s", text)
	return true, err
}

// driverProperties lists the properties of a device model, by name.
func (c *call) driverProperties(driver string) ([]driverProperty, error) {
	var list []driverProperty
	err := c.query("device-list-properties", obj{"typename": driver}, &list)
	slices.SortFunc(list, func(a, b driverProperty) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// help describes the property in a line.
func (p *driverProperty) help() string {
	text := fmt.Sprintf("  %s=<%s>", p.Name, p.Type)
	if p.Description == nil && p.Default == nil {
		return text
	}
	text = fmt.Sprintf("%-24s - ", text)
	if p.Description != nil {
		text += *p.Description
	}
	if p.Default != nil {
		text += fmt.Sprintf(" (default: %s)", p.Default)
	}
	return text
}

// completeDriver completes a device model, and after it its properties.
func completeDriver(c *completion, n int) []string {
	comma := strings.LastIndexByte(c.last(), ',')
	if comma < 0 {
		return completeTypes("device")(c, n)
	}
	driver, _, _ := strings.Cut(c.last(), ",")
	if n != 1 || !c.m.caller.Has("device-list-properties") {
		return nil
	}
	list, _ := c.driverProperties(strings.TrimPrefix(driver, "driver=")) // what is no driver has none
	out := []string{c.last()[:comma+1] + "id="}
	for _, p := range list {
		out = append(out, c.last()[:comma+1]+p.Name+"=")
	}
	return out
}
